"""Text-to-image models as scorers: a pipeline of diffusers behind the interface that the estimator asks.

    scorer.path                the path that its scheduler describes
    scorer.condition(captions) what the network is told: encoded once, then used at every timestep
    scorer.null(n)             the same for no caption, as the pipeline's own guidance has it
    scorer(x_t, t, cond)       the network's raw output; `prediction(out)` is its first C channels

Prompts are encoded by the pipeline's own `encode_prompt`: padded to the tokenizer's full length, so a pair's score
does not depend on which others share its batch. Longer prompts are cut there.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path as Folder
from typing import Any

import torch
from torch import Tensor, nn

from d2c.diffusion.paths import Path
from d2c.diffusion.pipelines import KINDS, Text2ImageConfig, config_of, fetch, kind_of, parts_of, read_json, variant_of
from d2c.diffusion.schedules import CHAINS, FLOW, path_of
from d2c.errors import D2CError

#: what conditions a batch: by the network's own argument names, every tensor with one row a caption.
Condition = dict[str, Tensor]


class TextToImage(nn.Module):
    """A frozen pipeline as a scorer; see the module. `parameters()` are those of the denoising network alone."""

    def __init__(self, pipe: Any, config: Text2ImageConfig, path: Path, dtype: torch.dtype) -> None:
        super().__init__()
        self.net: nn.Module = getattr(pipe, KINDS[config.name].net)
        self.net.eval().requires_grad_(False)
        self.pipe, self.config, self.path = pipe, config, path
        self.dtype = dtype
        self.clock = float(pipe.scheduler.config.num_train_timesteps)
        self._nothing: Condition = {}

    @property
    def device(self) -> torch.device:
        """Where the network and the text encoders are."""
        return next(self.net.parameters()).device

    @torch.no_grad()
    def condition(self, captions: Sequence[str]) -> Condition:
        """Encode n ≥ 1 captions, once for all timesteps: tensors of n rows."""
        with _quiet():
            return self._encode(list(captions))

    def null(self, n: int) -> Condition:
        """Conditions of n rows, all the empty prompt."""
        if not self._nothing:
            self._nothing = self._encode_nothing()
        return {key: value.expand(n, *value.shape[1:]) for key, value in self._nothing.items()}

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """The raw output (B, C or 2·C, S, S) at x_t (B, C, S, S) and times t, [B] or [1], on the path's clock."""
        out: Tensor = self._ask(x_t.to(self.dtype), t.expand(len(x_t)), cond)
        return out

    def prediction(self, out: Tensor) -> Tensor:
        """(B, C, S, S) in the convention of `path`: without the variance that PixArt learns beside it."""
        return out[:, : self.config.channels]

    def _encode(self, captions: list[str]) -> Condition:
        raise NotImplementedError

    def _encode_nothing(self) -> Condition:
        return self.condition([""])

    def _ask(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        out: Tensor = self.net(x_t, t, return_dict=False, **cond)[0]
        return out


class StableDiffusion(TextToImage):
    """SD 1 and 2: a UNet and one CLIP text encoder."""

    def _encode(self, captions: list[str]) -> Condition:
        return {"encoder_hidden_states": self.pipe.encode_prompt(captions, self.device, 1, False)[0]}


class StableDiffusionXL(TextToImage):
    """SDXL: two text encoders, a pooled embedding, and the size of the image, as if uncropped."""

    def _encode(self, captions: list[str]) -> Condition:
        text, _, pooled, _ = self.pipe.encode_prompt(captions, None, self.device, 1, False)
        side = self.config.image_size * self.config.factor
        size = torch.tensor([[side, side, 0, 0, side, side]], dtype=text.dtype, device=self.device)
        return {"encoder_hidden_states": text, "text_embeds": pooled, "time_ids": size.expand(len(text), -1)}

    def _encode_nothing(self) -> Condition:
        nothing = self.condition([""])
        if self.pipe.config.force_zeros_for_empty_prompt:  # what the released model was trained to take for it
            nothing |= {k: torch.zeros_like(nothing[k]) for k in ("encoder_hidden_states", "text_embeds")}
        return nothing

    def _ask(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        added = {key: cond[key] for key in ("text_embeds", "time_ids")}
        text = cond["encoder_hidden_states"]
        out: Tensor = self.net(x_t, t, text, added_cond_kwargs=added, return_dict=False)[0]
        return out


class PixArt(TextToImage):
    """PixArt-α and -Σ: a transformer and T5; told the image's size and shape where its configuration wants them."""

    def _encode(self, captions: list[str]) -> Condition:
        text, mask, _, _ = self.pipe.encode_prompt(captions, False, device=self.device)
        cond = {"encoder_hidden_states": text, "encoder_attention_mask": mask}
        if self.net.use_additional_conditions:
            side = float(self.config.image_size * self.config.factor)
            cond["resolution"] = text.new_full((len(text), 2), side)
            cond["aspect_ratio"] = text.new_ones((len(text), 1))
        return cond

    def _ask(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        added = {key: cond.get(key) for key in ("resolution", "aspect_ratio")}
        text = {key: cond[key] for key in ("encoder_hidden_states", "encoder_attention_mask")}
        out: Tensor = self.net(x_t, timestep=t, added_cond_kwargs=added, return_dict=False, **text)[0]
        return out


class StableDiffusion3(TextToImage):
    """SD 3 and 3.5: rectified flow, two CLIP text encoders and, where it is there, T5."""

    def _encode(self, captions: list[str]) -> Condition:
        text, _, pooled, _ = self.pipe.encode_prompt(captions, None, None, self.device, 1, False)
        return {"encoder_hidden_states": text, "pooled_projections": pooled}

    def _ask(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        # the network's clock runs to 1000, the path's to 1
        out: Tensor = self.net(x_t, timestep=self.clock * t, return_dict=False, **cond)[0]
        return out


SCORERS: dict[str, type[TextToImage]] = {
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
    "PixArtAlphaPipeline": PixArt,
    "PixArtSigmaPipeline": PixArt,
    "StableDiffusion3Pipeline": StableDiffusion3,
}


def open_text2image(
    reference: Folder | str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    quiet: bool = True,
) -> TextToImage:
    """The scorer of a pipeline's folder, or of `hf:ORG/NAME[@REVISION]`, on a device, its weights as `dtype`.

    The network and the text encoders are loaded, from safetensors alone; not the autoencoder, which
    `config.autoencoder` names, and no safety checker.

    Raises D2CError when the pipeline is of an unknown kind, its scheduler cannot be interpreted, or its
    weights are not there or do not fit.
    """
    folder = fetch(reference, quiet=quiet)
    kind, config = kind_of(folder), config_of(folder)
    try:
        import diffusers
        import transformers  # noqa: F401, diffusers goes on without it and fails later in many lines
    except ImportError as problem:
        raise D2CError(f"text-to-image scorers need the package {problem.name}: pip install {problem.name}") from None
    scheduler = _scheduler(folder)
    path = path_of(type(scheduler).__name__, scheduler.config, f"{folder}/scheduler")
    pipeline = getattr(diffusers, kind)
    passed: dict[str, Any] = {"scheduler": scheduler, "vae": None}
    passed |= dict.fromkeys(
        set(pipeline._optional_components) & {"safety_checker", "feature_extractor", "image_encoder"}
    )
    passed |= dict.fromkeys(set(KINDS[kind].optional) - set(parts_of(folder)))
    if kind == "StableDiffusionPipeline":
        passed["requires_safety_checker"] = False
    try:
        with _quiet():
            pipe = pipeline.from_pretrained(
                folder,
                torch_dtype=dtype,
                variant=variant_of(folder) or None,
                local_files_only=True,
                use_safetensors=True,
                **passed,
            )
            net = getattr(pipe, KINDS[kind].net)
            if net.dtype != dtype:  # without the package accelerate, some of them stay as they were saved
                net.to(dtype)
    except Exception as problem:  # a damaged file fails in as many ways as there are libraries below
        said = " ".join(str(problem).split())[:240]
        raise D2CError(f"no pipeline can be read from {folder} ({type(problem).__name__}: {said})") from None
    try:
        pipe.to(device)
    except torch.OutOfMemoryError:
        parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
        size = sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
        raise D2CError(
            f"the {size / 1e9:.1f} GB of {folder} do not fit into the memory of {device}: give a smaller pipeline"
        ) from None
    return SCORERS[kind](pipe, config, path, dtype)


def _scheduler(folder: Folder) -> Any:
    """The scheduler itself, for the defaults that its configuration leaves out."""
    import diffusers

    file = folder / "scheduler" / "scheduler_config.json"
    config = read_json(file)
    kind = str(config.get("_class_name", ""))
    if kind not in (*CHAINS, FLOW):
        path_of(kind, config, str(file))
    return getattr(diffusers, kind).from_config(config)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' progress bars, and without a line for every prompt that is longer than its encoder."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    bars = [lib for lib in (of_diffusers, of_transformers) if lib.is_progress_bar_enabled()]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    for lib in bars:
        lib.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # diffusers is renaming torch_dtype
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for lib in bars:
            lib.enable_progress_bar()
