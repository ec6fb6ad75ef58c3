"""The held-out loss gap by timestep: how much harder images that were not trained on are to denoise.

It needs no extractor and no samples, and opens before samples become copies. Each held-out image is paired with a
training image of its class, both meet the same timesteps and the same noise, and no image is in two pairs, so that the
differences of the pairs are independent and their mean has an interval.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2c.artifacts import Artifact
from d2c.data.store import labels_of
from d2c.device import autocast
from d2c.diffusion.autoencoders import load
from d2c.diffusion.checkpoints import load_model
from d2c.diffusion.dit import DiT
from d2c.diffusion.losses import diffusion_loss
from d2c.progress import Progress
from d2c.train.best import held_out, inputs

TIMES = 12  # midpoints of equal parts of the clock
PAIRS, LOOKS, PART = 256, 8, 64  # pairs at most; times that few pairs are looked at; images at once
RESAMPLED = 1000
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def pairs(held: Ints, trained: Ints, draw: np.random.Generator, most: int = PAIRS) -> tuple[Ints, Ints]:
    """Rows of two arrays of labels, paired class by class, no row twice; at most `most`, classes in turn."""
    found, turn = [], []
    for label in np.intersect1d(held, trained):
        mine, theirs = (draw.permutation(np.flatnonzero(of == label)) for of in (held, trained))
        n = min(len(mine), len(theirs))
        found.append(np.stack([mine[:n], theirs[:n]], 1))
        turn.append(np.arange(n))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    kept = np.concatenate(found)[np.argsort(np.concatenate(turn), kind="stable")[:most]]
    return kept[:, 0], kept[:, 1]


@torch.inference_mode()
def losses(
    model: DiT,
    x: Tensor,
    labels: Ints,
    places: NDArray[np.float64],
    looks: int,
    seed: int,
    precision: str = "fp32",
    progress: Progress | None = None,
) -> Floats:
    """Diffusion loss [n, T] of images x [n, C, S, S] at T places of the clock (0 … 1), mean of `looks` noises.

    The noise of image i at time j depends on (seed, look, j, i) alone: two sets of images meet the same.
    """
    device = next(model.parameters()).device
    times = model.path.at(torch.from_numpy(places))
    y, out = torch.from_numpy(labels), np.zeros((len(x), len(places)))
    for look in range(looks):
        for j in range(len(places)):
            generator = np.random.default_rng((seed, look, j))
            for start in range(0, len(x), PART):
                part = slice(start, start + PART)
                noise = torch.from_numpy(generator.standard_normal(x[part].shape, np.float32)).to(device)
                t = times[j].to(device).expand(len(noise))
                with autocast(device, precision):
                    each, _ = diffusion_loss(model, x[part].to(device), y[part].to(device), t, noise)
                out[part, j] += each.double().cpu().numpy() / looks
                if progress is not None:
                    progress.advance(len(noise))
    return out


def interval(differences: Floats, draw: np.random.Generator) -> tuple[Floats, Floats]:
    """The 95 % bootstrap interval over rows of the mean of differences [n, …]: low and high, each [T]."""
    n = len(differences)
    weights = draw.multinomial(n, np.full(n, 1 / n), RESAMPLED) / n  # [R, n]
    means = weights @ differences.reshape(n, -1)
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    return low, high


def summary(held: Floats, seen: Floats, draw: np.random.Generator) -> dict[str, Any]:
    """The gap of pairs of losses [n, T]: by timestep and over all of them, with 95 % intervals."""
    differences = held - seen
    low, high = interval(differences, draw)
    (all_low,), (all_high,) = interval(differences.mean(axis=1), draw)
    mean, usual = float(differences.mean()), float(seen.mean())
    return {
        "gap": differences.mean(axis=0).tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "held_out": held.mean(axis=0).tolist(),
        "seen": seen.mean(axis=0).tolist(),
        "mean": mean,
        "mean_low": float(all_low),
        "mean_high": float(all_high),
        "relative": mean / usual if usual > 0 else None,
        "pairs": len(held),
    }


def held_out_gap(
    run: Artifact,
    weights: Path,
    trained_on: Artifact,
    *,
    seed: int,
    device: torch.device,
    precision: str,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The gap of a run's weights, on images that the run did not see and on those that it was trained on.

    `why` says in words why there is none: no held-out images, say. `sigma` is the share of noise at each timestep,
    ascending: 0 is clean.
    """
    if not weights.is_file():
        return {"why": f"runs/{run.name} holds no weights"}
    classes = tuple(str(c) for c in run.json("classes.json"))
    held = held_out(trained_on, classes, seed)
    if held.seen:
        return {"why": held.seen}
    model = load_model(weights, device)
    if model.config.feature_dim:
        return {"why": "a REG model denoises class tokens too, which held-out images have not"}
    draw = np.random.default_rng((seed, 17))
    ids, labels = labels_of(trained_on)
    mine, theirs = pairs(held.labels, labels, draw)
    if len(mine) < 2:
        return {"why": "fewer than two held-out images have a training image of their class"}
    autoencoder = load(model.config.autoencoder, device)
    how = int(run.facts["image_size"]), int(run.facts["channels"]), autoencoder, device, precision
    places = (np.arange(TIMES) + 0.5) / TIMES
    looks = min(max(round(PAIRS / len(mine)), 1), LOOKS)
    if progress is not None:
        progress.stage("held-out loss", 2 * TIMES * looks * len(mine), "look")
    found = [
        losses(model, inputs(source, of[rows], *how), named[rows], places, looks, seed, precision, progress)
        for source, of, named, rows in (
            (held.source, held.ids, held.labels, mine),
            (trained_on, ids, labels, theirs),
        )
    ]
    times = model.path.at(torch.from_numpy(places))
    sigma = model.path.sigma(times).double().numpy()
    order = np.argsort(sigma, kind="stable")
    said = summary(found[0][:, order], found[1][:, order], draw)
    return {
        "timesteps": times[torch.from_numpy(order)].tolist(),
        "sigma": sigma[order].tolist(),
        **said,
        "looks": looks,
        "interval": "95 %, bootstrap over pairs",
        "of": f"{held.source.kind}/{held.source.name}",
        "why": "",
    }
