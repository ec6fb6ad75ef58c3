"""What the columns of a comparison mean: their names, and which way is better."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

QUALITY, COPYING, COST = "quality", "copying", "cost"


@dataclasses.dataclass(frozen=True)
class Measure:
    """One number of a cell. `better` is "low", "high", "near" (the nearer to `target` the better), or "" for none."""

    name: str
    title: str
    better: str
    about: str
    help: str
    form: str = "number"  # number, share, seconds, bytes, kwh
    target: float = 0.0

    def loss(self, value: float) -> float:
        """A number that is lower the better a value is."""
        return {"low": value, "high": -value}.get(self.better, abs(value - self.target))


_TABLE = (
    Measure("accuracy", "Read as asked", "high", QUALITY, "Share of samples read as the class asked for", "share"),
    Measure("fid", "FID", "low", QUALITY, "Fréchet distance in Inception's features"),
    Measure("sfid", "sFID", "low", QUALITY, "Fréchet distance in Inception's spatial features"),
    Measure("fd", "FD", "low", QUALITY, "Fréchet distance to real images, in the features the report names"),
    Measure("kid", "KID", "low", QUALITY, "Kernel distance to real images, in the features the report names"),
    Measure("is", "IS", "high", QUALITY, "Inception score: sure of each image, and of all classes"),
    Measure("precision", "Precision", "high", QUALITY, "Share of samples that lie among real images", "share"),
    Measure("recall", "Recall", "high", QUALITY, "Share of real images that lie among the samples", "share"),
    Measure("density", "Density", "high", QUALITY, "How many real neighbourhoods a sample lies in"),
    Measure("coverage", "Coverage", "high", QUALITY, "Share of real images with a sample near them", "share"),
    Measure("vendi", "Vendi", "high", QUALITY, "How many different images the samples amount to"),
    Measure("fd_held_out", "FD, real", "", QUALITY, "FD of real held-out images: the floor"),
    Measure("fd_copies", "FD, copies", "", COPYING, "FD of the training images shown again: what a copy machine gets"),
    Measure(
        "nearest_ratio",
        "Distance ratio",
        "near",
        COPYING,
        "Median distance to the nearest training image, over that of real held-out images: 0 copies, 1 is like real",
        target=1.0,
    ),
    Measure(
        "share_below", "Too near", "low", COPYING, "Samples nearer to a training image than 99 % of real ones", "share"
    ),
    Measure("memorised", "Memorised", "low", COPYING, "Samples whose nearest training image stands alone", "share"),
    Measure("auth_pct", "AuthPct", "high", COPYING, "Share of samples that are no copies, by Alaa et al."),
    Measure("ct", "C_T", "near", COPYING, "Below 0: samples lie nearer to training images than real ones do"),
    Measure("hit", "Images hit", "", COPYING, "Training images that are nearest to some sample"),
    Measure("gap", "Held-out gap", "low", COPYING, "Held-out loss minus training loss"),
    Measure("device_seconds", "Device time", "low", COST, "Seconds of the devices, along the whole lineage", "seconds"),
    Measure("wall_seconds", "Time", "low", COST, "Seconds by the clock, along the whole lineage", "seconds"),
    Measure("energy_kwh", "Energy", "low", COST, "Along the whole lineage, where the device tells", "kwh"),
    Measure("bytes", "Size", "low", COST, "On disk, along the whole lineage", "bytes"),
)
MEASURES = {measure.name: measure for measure in _TABLE}


def known(columns: Iterable[str]) -> list[Measure]:
    """The measures that are among these columns, in the order of the list."""
    there = set(columns)
    return [measure for measure in _TABLE if measure.name in there]
