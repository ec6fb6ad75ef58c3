"""One checkpoint on one device: noise → latents → pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2c.device import compiles
from d2c.diffusion.autoencoders import load
from d2c.diffusion.checkpoints import load_model
from d2c.diffusion.config import ModelConfig, read_header
from d2c.diffusion.dit import DiT, split
from d2c.diffusion.guiding import Plain, Quick, network
from d2c.diffusion.sample import SampleConfig
from d2c.diffusion.samplers import Chance, FreshNoise, evaluations, noise_for, to_uint8
from d2c.diffusion.samplers import sample as integrate
from d2c.errors import D2CError

#: Multiply-adds of a whole job from which compiling (a quarter of a minute) pays on a GPU.
COMPILE_FROM = 1e16
UINT8 = "clamp(127.5 x + 128, 0, 255)"


@dataclasses.dataclass(frozen=True)
class Job:
    """What is drawn: the samples i = 0 … with these labels, by a checkpoint, guided by another where one is given."""

    checkpoint: Path
    guide: Path | None
    config: SampleConfig
    labels: Sequence[int]
    device: torch.device


class Pipeline:
    """noise → latents → pixels, on one device."""

    def __init__(self, job: Job) -> None:
        config, self.job = job.config, job
        model = load_model(job.checkpoint, "cpu")
        self.model_config: ModelConfig = model.config
        self.compiled = _long(job, model) and compiles(job.device)
        self.network = network(model, job.device, config.precision, compile=self.compiled)
        self.guide: Plain | Quick | None = None
        if job.guide is not None:
            worse = load_model(job.guide, "cpu")
            self.guide = network(worse, job.device, config.precision, compile=self.compiled)
        self.autoencoder = load(model.config.autoencoder, job.device)
        self.batch = config.batch_size
        quick = isinstance(self.network, Quick)
        self.facts: dict[str, Any] = {
            "network": ("frozen" if quick else "module") + (", compiled" if self.compiled and quick else ""),
        }

    def images(self, indices: Sequence[int], *, alive: Callable[[int], object] | None = None) -> np.ndarray:
        """uint8 pixels (len(indices), H, W, C) of these samples. `alive(steps done)` is called after each step.

        A batch that does not fit into the device's memory is halved, and the smaller one kept to.
        """
        out, at = [], 0
        while at < len(indices):
            part = indices[at : at + self.batch]
            try:
                out.append(self._pixels(part, alive))
            except torch.OutOfMemoryError:
                self._smaller(len(part))
                continue
            at += len(part)
        return np.concatenate(out)

    def _pixels(self, indices: Sequence[int], alive: Callable[[int], object] | None) -> np.ndarray:
        config, shape = self.job.config, self.model_config.state_shape
        # A compiled network is compiled for each size of a batch, so the last one is filled up.
        padded = [*indices, *[indices[0]] * (self.batch - len(indices))] if self.compiled else list(indices)
        latents = integrate(
            self.network,
            noise_for(config.seed, padded, shape).to(self.job.device),
            torch.tensor([self.job.labels[i] for i in padded], device=self.job.device),
            steps=config.steps,
            solver=config.solver,
            guidance=config.guidance,
            interval=(config.guidance_low, config.guidance_high),
            guide=self.guide,
            chance=Chance(config.eta, config.diffusion, config.diffusion_norm, config.last_step, config.last_step_size),
            fresh=FreshNoise(config.seed, padded, shape, self.job.device),
            progress=alive,
        )[: len(indices)]
        images = split(self.model_config, latents)[0]
        parts = torch.split(images, config.decode_batch or len(indices))
        return np.concatenate([self._decoded(part) for part in parts])

    @torch.inference_mode()
    def _decoded(self, latents: Tensor) -> np.ndarray:
        x = self.autoencoder.decode(latents)
        if not bool(torch.isfinite(x).all()):
            raise D2CError(
                f"{self.model_config.name} gave images that are not finite: lower the guidance, or use precision fp32"
            )
        return to_uint8(x).permute(0, 2, 3, 1).cpu().numpy()

    def _smaller(self, size: int) -> None:
        if size == 1:
            raise D2CError(f"one image does not fit into the memory of {self.job.device}: use another --device")
        self.batch = max(size // 2, 1)
        torch.cuda.empty_cache()


def _long(job: Job, model: DiT) -> bool:
    """Whether so much is to be computed on a GPU that compiling pays."""
    config = job.config
    asked = len(job.labels) * evaluations(config.steps, config.solver) * (1 + (config.guidance != 1))
    work = sum(p.numel() for p in model.parameters()) * model.config.tokens * asked
    return job.device.type == "cuda" and work > COMPILE_FROM


def facts_of(job: Job) -> dict[str, Any]:
    """Everything about how samples are drawn that moves a FID, as plain values."""
    (model, said), config = read_header(job.checkpoint), job.config
    own: dict[str, tuple[str, ...]] = {
        "ddim": ("eta",),
        "sde": ("diffusion", "diffusion_norm", "last_step", "last_step_size"),
    }
    return {
        "count": len(job.labels),
        "guidance": config.guidance,
        "guidance_interval": [config.guidance_low, config.guidance_high],
        "guide": config.guide,
        "solver": config.solver,
        "steps": config.steps,
        "nfe": evaluations(config.steps, config.solver),
        **{name: getattr(config, name) for name in own.get(config.solver, ())},
        "seed": config.seed,
        "noise": "torch's CPU generator, seeded by (seed, index)",
        "uint8": UINT8,
        "model": model.name,
        "path": model.path,
        "autoencoder": model.autoencoder,
        "precision": config.precision,
        "latents": "fp32",
        "decoder": "fp32",
        "step": said.get("steps"),
        "format": config.format,
    }
