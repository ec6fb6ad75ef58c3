"""Everything a report says about copying: the gap, the measures of each space, the verdict, and the closest pairs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from d2c.artifacts import Build
from d2c.data.store import labels_of
from d2c.device import pick
from d2c.evaluate.classifier import read as read_features
from d2c.evaluate.copying import measures, verdict
from d2c.evaluate.copying.bank import Read, flat, forms_of
from d2c.evaluate.copying.distances import Near, near, near_by_class, of_training
from d2c.evaluate.copying.gap import held_out_gap
from d2c.evaluate.copying.principal import principal
from d2c.evaluate.fitting import open_classifier
from d2c.evaluate.pairs import pairs_sheet
from d2c.train.snapshots import end_of, weights_of

if TYPE_CHECKING:
    from d2c.evaluate.groups import Group, Subjects
    from d2c.evaluate.verb import EvaluateConfig

PAIRS = 32  # on grid.webp
Floats = NDArray[np.float32]


def judge_copying(
    build: Build,
    subjects: Subjects,
    samples: Group,
    control: Group,
    train: Group,
    config: EvaluateConfig,
    *,
    read: Read | None = None,
) -> dict[str, Any]:
    """The `copying` of report.json, by `d2c.evaluate.copying`; docs/judging.md says what each number means.

    `control` are real images that were not trained on, in no order. Writes into the build's folder `nearest.parquet`
    (a row a sample), `control.parquet` (the same distances of real held-out images: label, distance_pixels,
    distance_features) and `grid.webp`. `read` gives the features that the groups have of other images; without it
    the judge does.
    """
    device = pick(config.device)
    run, trained_on = subjects.run, subjects.trained_on
    gap = held_out_gap(
        run,
        weights_of(run, config.step),
        trained_on,
        seed=config.seed,
        device=device,
        precision=str(subjects.samples.recipe["precision"]),
        progress=build.progress,
    )
    flips = config.flips or bool(run.recipe.get("flip", False))
    forms, missing = forms_of(train.images, run, trained_on, device, flips=flips, progress=build.progress)
    read = read or _reader(subjects, device)
    extra = [read(images) for name, images in forms.items() if name != "images"]
    build.progress.stage("nearest training images", 2, "space")
    found: dict[str, Space] = {}
    pixels = [flat(form) for form in forms.values()]
    for name, ours, real, bank in (
        ("pixels", flat(samples.images), flat(control.images), pixels),
        ("features", samples.features, control.features, [train.features, *extra]),
    ):
        found[name] = Space(ours, real, bank, samples.labels, control.labels, train.labels, device, config.seed)
        build.progress.advance()
    said = verdict.verdict(
        {name: space.evidence for name, space in found.items()},
        len(samples),
        len(control),
        gap if gap["why"] == "" else None,
    )
    _write_pairs(build, subjects, samples, control, train, found)
    return {
        "verdict": said.word,
        "text": said.text,
        "reasons": list(said.reasons),
        "rule": verdict.RULE,
        "step": config.step or end_of(run),
        "held_out_images": len(control),
        "training_images": len(train),
        "samples": len(samples),
        "bank": list(forms),
        "bank_lacks": missing,
        "flips": flips,
        "spaces": {name: space.said for name, space in found.items()},
        "gap": gap,
    }


def nearest_of(copying: dict[str, Any]) -> dict[str, Any]:
    """The `nearest` of report.json: how near the training images lie, by space, beside held-out ones."""
    names = [f.name for f in dataclasses.fields(measures.Closeness)]
    spaces = {space: {name: said[name] for name in names} for space, said in copying["spaces"].items()}
    return spaces | {name: copying[name] for name in ("held_out_images", "training_images", "flips")}


def facts_of(copying: dict[str, Any]) -> dict[str, Any]:
    """What a table of reports can sort by. AuthPct and C_T are those of the features, the rest of the pixels."""
    pixels, features, gap = copying["spaces"]["pixels"], copying["spaces"]["features"], copying["gap"]
    return {
        "nearest_ratio": pixels["ratio"],
        "share_below": pixels["share_below"],
        "memorised": pixels["memorised"],
        "hit": pixels["hit"],
        "auth_pct": features["auth_pct"],
        "ct": features["ct"],
        "gap": gap.get("mean"),
        "step": copying["step"],
        "verdict": copying["verdict"],
    }


class Space:
    """One space: the distances of samples and of held-out images to the training images, and what they say."""

    def __init__(
        self,
        samples: Floats,
        control: Floats,
        forms: list[Floats],
        labels: NDArray[np.int64],
        held: NDArray[np.int64],
        trained: NDArray[np.int64],
        device: torch.device,
        seed: int,
    ) -> None:
        """Rows [N, D] of the samples, [H, D] of the held-out images and, form by form, [M, D] of the training ones."""
        self.labels, self.held, self.trained, self.device, self.seed = labels, held, trained, device, seed
        self.ours, self.real = (near(rows, forms, measures.FIFTY, device) for rows in (samples, control))
        self.copies, self.real_copies = verdict.copied(
            self.ours.first, self.ours.second, self.real.first, self.real.second
        )
        own = of_training(forms, np.concatenate([self.ours.index[:, 0], self.real.index[:, 0]]), device)
        close = measures.closeness(self.ours.first, self.real.first, self.ours.index[:, 0])
        self.said: dict[str, Any] = {
            **dataclasses.asdict(close),
            **self._shares(self.ours, self.real),
            "copies": int(self.copies.sum()),
            "copies_held_out": int(self.real_copies.sum()),
            "copied_images": len(np.unique(self.ours.index[self.copies, 0])),
            "hit_held_out": self._hit(),
            "auth_pct": measures.authenticity(self.ours.first, self.ours.index[:, 0], own),
            "auth_pct_held_out": self._of_real(measures.authenticity, self.real.first, self.real.index[:, 0], own),
            **self._relative(),
            **self._ct(samples, control, forms),
            "by_class": self._by_class(samples, control, forms),
        }
        self.evidence = verdict.Evidence(
            self.said["copies"], self.said["copies_held_out"], close.ratio, close.share_below
        )

    def _of_real(self, measure: Any, *of: Any) -> Any:
        """A measure of the held-out images, None where there are none."""
        return measure(*of) if len(of[0]) else None

    def _shares(self, ours: Near, real: Near) -> dict[str, float | None]:
        def share(first: Floats, second: Floats) -> float:
            return float(measures.memorised(first, second).mean())

        return {
            "memorised": share(ours.first, ours.second),
            "memorised_held_out": self._of_real(share, real.first, real.second),
        }

    def _relative(self) -> dict[str, Any]:
        found = {"neighbours": self.ours.distance.shape[1]}
        for name, of in (("", self.ours), ("_held_out", self.real)):
            relative = measures.relative_distance(of.distance) if len(of.distance) else None
            found["relative" + name] = None if relative is None else float(np.median(relative))
            found["extracted" + name] = None if relative is None else float(np.mean(relative < 1))
        return found

    def _hit(self) -> int | None:
        """How many training images are nearest to one of as many held-out images as there are samples."""
        n, there = len(self.labels), len(self.held)
        if there < n:
            return None
        rows = np.random.default_rng((self.seed, 5)).permutation(there)[:n]
        return len(np.unique(self.real.index[rows, 0]))

    def _ct(self, samples: Floats, control: Floats, forms: list[Floats]) -> dict[str, Any]:
        """C_T after PCA, which is fitted on the real images, held-out and training ones alike."""
        if len(control) < 2:
            return {"ct": None, "ct_cells": "pooled", "ct_count": 0, "ct_dimensions": 0}
        centre, directions = principal(np.concatenate([control, forms[0]]), device=self.device)
        ours, real, *bank = (
            np.asarray((rows - centre) @ directions, np.float32) for rows in (samples, control, *forms)
        )
        pooled = tuple(near(rows, bank, 1, self.device).first for rows in (ours, real))
        inside = [
            near_by_class(rows, of, bank, self.trained, 1, self.device)
            for rows, of in ((ours, self.labels), (real, self.held))
        ]
        (a, has_a), (b, has_b) = inside
        found = measures.data_copying(a.first, self.labels[has_a], b.first, self.held[has_b], (pooled[0], pooled[1]))
        return {
            "ct": found.value,
            "ct_cells": found.cells,
            "ct_count": found.count,
            "ct_dimensions": int(directions.shape[1]),
        }

    def _by_class(self, samples: Floats, control: Floats, forms: list[Floats]) -> dict[str, Any]:
        """The distances to training images of one's own class alone."""
        ours, has = near_by_class(samples, self.labels, forms, self.trained, 2, self.device)
        real, _ = near_by_class(control, self.held, forms, self.trained, 2, self.device)
        if not has.any():
            return {"samples": 0}
        close = measures.closeness(ours.first, real.first, ours.index[:, 0])
        return {"samples": int(has.sum()), **dataclasses.asdict(close), **self._shares(ours, real)}


def _reader(subjects: Subjects, device: torch.device) -> Read:
    model = open_classifier(subjects.judge, device)
    return lambda images: read_features(model, images, device=device)[0]


def _write_pairs(
    build: Build, subjects: Subjects, samples: Group, control: Group, train: Group, found: dict[str, Space]
) -> None:
    table = subjects.samples.table("samples.parquet")
    ids = labels_of(subjects.trained_on)[0]
    pixels, features = found["pixels"], found["features"]
    pd.DataFrame(
        {
            "index": table["index"].to_numpy(np.int64),
            "label": table["label"].to_numpy(np.int32),
            "sample_id": ids[pixels.ours.index[:, 0]],
            "distance_pixels": pixels.ours.first,
            "sample_id_features": ids[features.ours.index[:, 0]],
            "distance_features": features.ours.first,
            "copy": pixels.copies | features.copies,
        }
    ).to_parquet(build.folder / "nearest.parquet", index=False)
    pd.DataFrame(
        {
            "label": control.labels.astype(np.int32),
            "distance_pixels": pixels.real.first,
            "distance_features": features.real.first,
        }
    ).to_parquet(build.folder / "control.parquet", index=False)
    order = np.argsort(pixels.ours.first, kind="stable")[:PAIRS]
    sheet = pairs_sheet(samples.images[order], train.images[pixels.ours.index[order, 0]])
    sheet.save(build.folder / "grid.webp", "WEBP", lossless=True)
