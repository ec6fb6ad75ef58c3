"""Which few evaluations rank images best: errors of a scorer on a dense grid, collected once, studied afterwards.

    python benchmarks/estimator_study.py collect DATASET --scorer RUN --out table.npz [--workspace W] [--per-class 60]
    python benchmarks/estimator_study.py study table.npz …

`collect` stores, for some images of each class, the error at 64 midpoints of the clock under 8 shared noise draws and
their negatives (1,024 evaluations, the reference), and 512 evaluations with a time and a noise of each image's own
(the naive estimator). `study` compares designs of 1 to 64 evaluations by Spearman’s ρ within a class, as in
docs/estimator.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from d2c.artifacts import Workspace
from d2c.data.store import labels_of, pixels
from d2c.device import pick
from d2c.diffusion.autoencoders import load
from d2c.diffusion.frozen import FrozenDiT
from d2c.score import grid as grids
from d2c.score.reliability import spearman
from d2c.score.scorers import open_scorer
from d2c.score.weighting import error_weights

GRID, DRAWS, NAIVE = 64, 8, 512


@torch.inference_mode()
def collect(given: argparse.Namespace) -> None:
    """Ask the scorer and store what it says."""
    device = pick(given.device)
    workspace = Workspace.at(given.workspace)
    data = workspace.resolve(given.dataset, "datasets")
    model = open_scorer(given.scorer, workspace, str(device))
    autoencoder = load(model.config.autoencoder, device)
    ids, labels = labels_of(data)
    kept = np.concatenate([np.flatnonzero(labels == c)[: given.per_class] for c in np.unique(labels)])
    side, channels = model.config.image_size * autoencoder.factor, (autoencoder.channels and 3) or model.config.channels
    images = pixels(data, ids[kept], side, channels)
    x = torch.cat(
        [
            autoencoder.encode(torch.from_numpy(images[a : a + 64]).to(device).float() / 127.5 - 1)[0]
            for a in range(0, len(kept), 64)
        ]
    ).float()
    y, path = torch.from_numpy(labels[kept]).long().to(device), model.path
    grid = path.timesteps(GRID)
    draws = [
        torch.from_numpy(np.random.default_rng((7, d)).standard_normal(x.shape[1:], np.float32)).to(device)
        for d in range(DRAWS)
    ]

    def ask(frozen: FrozenDiT, t: torch.Tensor, eps: torch.Tensor, rows: slice) -> torch.Tensor:
        z = x[rows]
        eps = eps.expand_as(z)
        t = t.to(device)
        if len(t) == 1:
            classes, at = y[rows].unique(return_inverse=True)
            conditions = frozen.condition(t, classes)[at]
        else:
            conditions = frozen.condition(t, y[rows])
        return path.squared_error(frozen(path.interpolate(z, eps, t), conditions), z, eps, t)

    batches = [slice(a, a + given.batch) for a in range(0, len(kept), given.batch)]
    frozen = FrozenDiT(model, device, "bf16" if device.type == "cuda" else "fp32")
    table = np.empty((len(kept), GRID, DRAWS, 2), np.float32)
    for j, t in enumerate(grid):
        for d, draw in enumerate(draws):
            for s, sign in enumerate((1, -1)):
                table[:, j, d, s] = torch.cat([ask(frozen, t[None], sign * draw, b) for b in batches]).cpu()
    generator = torch.Generator(device).manual_seed(11)
    naive, times = np.empty((len(kept), NAIVE), np.float32), np.empty((len(kept), NAIVE), np.float32)
    for i in range(NAIVE):
        t = path.sample_t(len(kept), generator, device)
        eps = torch.randn(x.shape, generator=generator, device=device)
        naive[:, i] = torch.cat([ask(frozen, t[b], eps[b], b) for b in batches]).cpu()
        times[:, i] = t.float().cpu()
    checks = {}
    for precision in ("fp32", "bf16", "fp8") if device.type == "cuda" else ():
        one = FrozenDiT(model, device, precision)
        if precision == "fp8":
            seen = [
                one.observe(
                    path.interpolate(x[b], draws[0], t[None].to(device)), one.condition(t[None].to(device), y[b])
                )
                for t in grid[::8]
                for b in batches
            ]
            one.quantise(torch.stack(seen).amax(0))
        noise = [draws[j // 2] * (1 if j % 2 == 0 else -1) for j in range(8)]
        checks[precision] = (
            torch.stack(
                [
                    torch.cat([ask(one, t[None], e, b) for b in batches])
                    for t, e in zip(path.timesteps(8), noise, strict=True)
                ],
                1,
            )
            .cpu()
            .numpy()
        )
    np.savez_compressed(
        given.out,
        table=table,
        labels=labels[kept],
        naive=naive,
        naive_alpha=path.alpha(torch.from_numpy(times)).numpy().astype(np.float32),
        naive_sigma=path.sigma(torch.from_numpy(times)).numpy().astype(np.float32),
        alpha=path.alpha(grid).double().numpy(),
        sigma=path.sigma(grid).double().numpy(),
        native=path.weighting,
        total_variation=((x.diff(dim=-1).abs().mean((1, 2, 3)) + x.diff(dim=-2).abs().mean((1, 2, 3))) / 2)
        .cpu()
        .numpy(),
        **{f"check_{k}": v for k, v in checks.items()},
    )
    for kind in ("eps", "v"):
        weights = path.error_weights(path.timesteps(8), kind).numpy()
        for other, against in (("bf16", "fp32"), ("fp8", "bf16")) if checks else ():
            a, b = checks[against] @ weights, checks[other] @ weights
            found = [spearman(a[y_ == c], b[y_ == c]) or 0.0 for y_ in (labels[kept],) for c in np.unique(labels)]
            print(
                f"{given.scorer} {kind}: {other} ranks as {against}: {np.mean(found):.5f}, worst {min(found):.5f}",
                flush=True,
            )


DESIGNS = ("naive", "uniform times, one noise a time", "uniform times, pairs", "pilot's times, pairs")
COUNTS = (1, 2, 4, 8, 16, 32, 64)


def study(given: argparse.Namespace) -> None:
    """Spearman's ρ within a class against the reference, for every table, design and number of evaluations."""
    for kind in given.weighting:
        print(f"\n{kind} error\n\n| scorer | design | {' | '.join(map(str, COUNTS))} |")
        print("|---|---|" + "---|" * len(COUNTS))
        for file in given.tables:
            for design, row in zip(DESIGNS, _rows(np.load(file), kind, given.repeats), strict=True):
                print(f"| {file.stem} | {design} | {' | '.join(f'{v:.3f}'.lstrip('0') for v in row)} |", flush=True)


def _rows(data: np.lib.npyio.NpzFile, kind: str, repeats: int) -> list[list[float]]:
    """ρ by design and count, means over repeats with other noise and other pilot images."""
    native, labels, alpha, sigma = str(data["native"]), data["labels"], data["alpha"], data["sigma"]
    raw = data["table"].astype(np.float64)
    table = raw * error_weights(alpha, sigma, native, kind)[None, :, None, None]
    naive = data["naive"].astype(np.float64) * _each(data["naive_alpha"], data["naive_sigma"], native, kind)
    reference, rng = table.mean((1, 2, 3)), np.random.default_rng(0)

    def within(score: np.ndarray) -> float:
        return float(np.mean([spearman(score[labels == c], reference[labels == c]) or 0 for c in np.unique(labels)]))

    found: list[list[list[float]]] = [[[] for _ in COUNTS] for _ in DESIGNS]
    for _ in range(repeats):
        draws, keys = rng.permutation(DRAWS), rng.integers(0, 2**62, len(labels)).astype(np.uint64)
        chosen = grids.pilot_rows(labels, keys, 1000)
        cells = (np.arange(grids.TIMES) + 0.5) * GRID / grids.TIMES
        single = raw[chosen][:, cells.astype(int), draws[-1], 1]
        mass = grids.density(single, labels[chosen], alpha[cells.astype(int)], sigma[cells.astype(int)], native)
        for at, count in enumerate(COUNTS):
            j = np.arange(count)
            pair, sign = draws[(j // 2) % DRAWS], j % 2
            even = (grids.uniform(count).places * GRID).astype(int)
            tuned = grids.tuned(mass, count)
            places = np.minimum((tuned.places * GRID).astype(int), GRID - 1)
            found[0][at].append(within(naive[:, rng.permutation(NAIVE)[:count]].mean(1)))
            found[1][at].append(within(table[:, even, draws[j % DRAWS], 0].mean(1)))
            found[2][at].append(within(table[:, even, pair, sign].mean(1)))
            found[3][at].append(within(table[:, places, pair, sign] @ tuned.quadrature))
    return [[float(np.mean(values)) for values in design] for design in found]


def _each(alpha: np.ndarray, sigma: np.ndarray, native: str, kind: str) -> np.ndarray:
    """Factors for times of each image's own, [n, K]."""
    flat = error_weights(alpha.reshape(-1).astype(np.float64), sigma.reshape(-1).astype(np.float64), native, kind)
    return flat.reshape(alpha.shape)


def main() -> None:
    """Collect or study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("collect")
    one.add_argument("dataset")
    one.add_argument("--scorer", required=True)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--workspace")
    one.add_argument("--per-class", type=int, default=60)
    one.add_argument("--batch", type=int, default=300)
    one.add_argument("--device", default="auto")
    two = parts.add_parser("study")
    two.add_argument("tables", nargs="+", type=Path)
    two.add_argument("--weighting", nargs="+", default=["eps", "v"])
    two.add_argument("--repeats", type=int, default=16)
    given = parser.parse_args()
    (collect if given.part == "collect" else study)(given)


if __name__ == "__main__":
    main()
