"""Does it copy? One word from a stated rule, with the reasons in plain words. Torch-free."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from d2c.evaluate.copying.measures import ENOUGH, memorised, singled_out, wilson

SUSPECT = 0.05  # share of copies above which a model copies
LEAST = 0.02  # and above which it is not cleared, where real images have fewer
NEAR, FAR = 0.7, 1.5  # ratio of median distances, samples to held-out images, between which a model is cleared
OPEN = 0.25  # held-out loss above training loss, as a share of it, from which it is not
RULE = (
    "A sample is a copy when its nearest training image is less than a third as far as the second nearest, or when it "
    "is nearer to one than 99 % of real held-out images are and singled out (d1/d2) as only 5 % of them are. "
    "copies: with 95 % confidence more than 5 % of the samples are copies, by pixels or by features, and more than of "
    "real held-out images. generalises: there are 100 samples and 100 held-out images or more, no more copies among "
    "the samples than real images explain, median distances 0.7 to 1.5 times those of real images, no more than 5 % "
    "of the samples below their 1st percentile, and a held-out loss at most a quarter above the training loss. "
    "unclear: anything else."
)
WORDS = {
    "copies": "It copies its training images",
    "generalises": "No copying found",
    "unclear": "Unclear whether it copies",
}
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What one space (pixels, features) says: copies among samples and among held-out images, and how near they lie."""

    copies: int
    real_copies: int
    ratio: float | None
    below: float | None  # share of samples under the held-out images' 1st percentile


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`word` is copies, generalises or unclear; `reasons` say why, as sentences without their full stop."""

    word: str
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """The word as a sentence."""
        return WORDS[self.word]


def copied(first: Floats, second: Floats, real_first: Floats, real_second: Floats) -> tuple[Bools, Bools]:
    """Which samples [N], and which held-out images [H], are copies by `RULE`, from their distances d1 and d2.

    With fewer than 100 held-out images by d1/d2 < 1/3 alone.
    """
    ours, theirs = memorised(first, second), memorised(real_first, real_second)
    if len(real_first) < ENOUGH:
        return ours, theirs
    close, alone = np.quantile(real_first, 0.01), np.quantile(singled_out(real_first, real_second), 0.05)
    return (
        ours | ((first < close) & (singled_out(first, second) < alone)),
        theirs | ((real_first < close) & (singled_out(real_first, real_second) < alone)),
    )


def verdict(spaces: Mapping[str, Evidence], samples: int, held_out: int, gap: Mapping[str, Any] | None) -> Verdict:
    """Apply `RULE`. `samples` and `held_out` count images; `gap` is what `d2c.evaluate.copying.gap` found."""
    guilty = [
        f"{found.copies:,} of {samples:,} samples are copies by {space}"
        + (f", {found.real_copies:,} of {held_out:,} real held-out images" if held_out else "")
        for space, found in spaces.items()
        if wilson(found.copies, samples)[0] > max(SUSPECT, _of_real(found, held_out))
    ]
    if guilty:
        return Verdict("copies", tuple(guilty))
    doubts = []
    if held_out == 0:
        doubts.append("no real image was held out to compare with")
    elif held_out < ENOUGH:
        doubts.append(f"only {held_out} real images were held out: too few to say how near they lie")
    if samples < ENOUGH:
        doubts.append(f"only {samples} samples")
    for space, found in spaces.items():
        doubts += _doubts(space, found, samples, held_out)
    relative = (gap or {}).get("relative")
    if relative is not None and relative > OPEN:
        doubts.append(f"held-out images are {relative:.0%} harder to denoise than training images: it has learnt them")
    if doubts:
        return Verdict("unclear", tuple(doubts))
    return Verdict(
        "generalises",
        (f"the samples lie no nearer to single training images than {held_out:,} real held-out images do",),
    )


def _of_real(found: Evidence, held_out: int) -> float:
    """What share of copies real images may explain: few of them without a copy say nothing."""
    return wilson(found.real_copies, held_out)[1] if held_out >= ENOUGH or found.real_copies else 0.0


def _doubts(space: str, found: Evidence, samples: int, held_out: int) -> list[str]:
    said = []
    if wilson(found.copies, samples)[0] > max(LEAST, _of_real(found, held_out)):
        said.append(f"{found.copies:,} of {samples:,} samples are copies by {space}, more than real images explain")
    if found.below is not None and wilson(round(found.below * samples), samples)[0] > SUSPECT:
        said.append(f"{found.below:.0%} of the samples are nearer by {space} than 99 % of real images are")
    if found.ratio is not None and found.ratio < NEAR:
        said.append(f"the samples lie {found.ratio:.2f} times as far by {space} as real images: near, or of one kind")
    if found.ratio is not None and found.ratio > FAR:
        said.append(f"the samples lie {found.ratio:.1f} times as far by {space} as real images: they look unlike them")
    return said
