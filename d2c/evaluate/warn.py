"""What a reader of a report must know before believing its numbers, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENOUGH = 1000  # samples below which FD says more about their number than about the model
PROTOCOL = (10_000, 50_000)  # samples that published FIDs are of
POOR = 0.8  # accuracy on held-out images below which the judge is no judge


def warnings_of(report: Mapping[str, Any], names: Sequence[str], per_class: NDArray[np.int64]) -> list[str]:
    """The warnings of a report (see `write_report`); `per_class` [C] counts the samples."""
    rows = {row["row"]: row for row in report["rows"]}
    said = []
    count = rows["samples"]["images"]
    if count < ENOUGH:
        said.append(
            f"{count} samples: FD is biased upwards below {ENOUGH:,}; compare it only with reports of as many samples"
        )
    absent = [name for name, n in zip(names, per_class.tolist(), strict=True) if n == 0]
    if absent:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        said.append(f"no samples of {', '.join(absent[:5])}{more}: nothing is said about them")
    said += _of_judge(report["extractor"]["held_out_accuracy"])
    said += _of_inception(report, count)
    said += _of_copying(report, rows)
    return said


def _of_judge(accuracy: float | None) -> list[str]:
    if accuracy is None:
        return ["the classifier could not be tested: no class has two images"]
    if accuracy < POOR:
        return [
            f"the classifier reads only {accuracy:.0%} of held-out real images as they are: "
            "its accuracy and its distances mean little here"
        ]
    return []


def _of_inception(report: Mapping[str, Any], count: int) -> list[str]:
    said = []
    for of in report.get("extractors", []):
        if of.get("kind") != "inception":
            continue
        if of["name"] != "Inception":
            said.append(f"{of['name']} has other weights than the published Inception: its numbers are no FID")
        elif count not in PROTOCOL:
            said.append(f"FID is of {count:,} samples: published numbers are of 50,000 or 10,000, and lower for it")
    return said


def _of_copying(report: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    copying, said = report["copying"], []
    if copying["verdict"] == "copies":
        said.append(f"it copies: {'; '.join(copying['reasons'])}")
    elif copying["held_out_images"] == 0:
        said.append("the run was trained on every real image: there are no held-out ones to tell copying from learning")
    elif copying["verdict"] == "unclear":
        said.append(f"unclear whether it copies: {'; '.join(copying['reasons'])}")
    fd, copies = rows["samples"]["fd"], rows["copies"]["fd"]
    if fd is not None and copies is not None and fd > copies:
        said.append(
            f"showing the training images again would score better (FD {copies:.1f}) than these samples (FD {fd:.1f})"
        )
    return said
