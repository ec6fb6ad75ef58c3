"""What of a map is looked at: filters that all must hold, as one bit an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from d2c.errors import UsageError
from d2c.explore.lasso import points_in_polygon
from d2c.explore.points import Points

# Of one chosen set, A: in it or not. Of two, A and B: "second" is B as "chosen" is A.
ONE = ("all", "chosen", "rest")
TWO = ("second", "both", "neither", "only_first", "only_second", "only_one")
AMONG = (*ONE, *TWO)
Shape = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class View:
    """Filters of a map; the empty view holds all images.

    `shapes` are polygons of (x, y), an image lies in one of them; `only` are labels; `low` and `high` are
    per cent from the easiest image to the hardest; `among` is all, chosen, or rest (those not chosen), and of
    two chosen sets A and B: second (B), both, neither, only_first, only_second or only_one (in one of them).
    `hits` are sample_ids that a search found; `alike` keeps images that have another within this 1 − cosine.
    """

    shapes: tuple[Shape, ...] = ()
    only: tuple[int, ...] = ()
    low: float = 0.0
    high: float = 100.0
    among: str = "all"
    hits: tuple[int, ...] | None = None
    alike: float | None = None

    def __post_init__(self) -> None:
        if self.among not in AMONG:
            raise UsageError(f"{self.among!r} is not one of {', '.join(AMONG)}")
        if not 0 <= self.low <= self.high <= 100:
            raise UsageError(f"a range of difficulty lies in 0 … 100 %, not {self.low} … {self.high}")
        if self.alike is not None and not 0 <= self.alike <= 2:
            raise UsageError(f"1 − cosine lies in 0 … 2, not {self.alike}")

    @property
    def paired(self) -> bool:
        """Whether two chosen sets are asked for."""
        return self.among in TWO

    @property
    def narrowed(self) -> bool:
        """Whether anything is filtered."""
        return self != View()

    @property
    def ranged(self) -> bool:
        """Whether difficulty is filtered."""
        return self.low > 0 or self.high < 100


def mask(
    points: Points,
    view: View,
    *,
    percent: NDArray[np.float32] | None = None,
    chosen: NDArray[np.bool_] | None = None,
    second: NDArray[np.bool_] | None = None,
    twins: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Which points a view holds, [N].

    `percent` [N] is each point's place from easy to hard (`points.percent_from_easy`): an image without one
    is in no narrowed range. `chosen` and `second` [N] mark the chosen sets A and B, `twins` [N] the images that
    have a near-duplicate. A filter whose column is not given does nothing.
    Cost at 1.28M points: a lasso round everything a tenth of a second, the other filters a few ms each.
    """
    held = np.ones(len(points), bool)
    if view.only:
        wanted = np.zeros(int(max(points.label.max(), *view.only)) + 1, bool)
        wanted[list(view.only)] = True
        held &= wanted[points.label]
    if view.ranged and percent is not None:
        held &= (percent >= view.low) & (percent <= view.high)
    if view.among in ("chosen", "rest") and chosen is not None:
        held &= chosen if view.among == "chosen" else ~chosen
    if view.paired and chosen is not None and second is not None:
        held &= parts(chosen, second)[view.among]
    if view.hits is not None:
        rows = points.rows_of(view.hits)
        found = np.zeros(len(points), bool)
        found[rows[rows >= 0]] = True
        held &= found
    if view.alike is not None and twins is not None:
        held &= twins
    if view.shapes:
        held &= np.logical_or.reduce([points_in_polygon(points.x, points.y, shape) for shape in view.shapes])
    return held


def parts(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Which points lie where of two chosen sets [N] each, by the words of `View.among`."""
    return {
        "second": second,
        "both": first & second,
        "neither": ~(first | second),
        "only_first": first & ~second,
        "only_second": second & ~first,
        "only_one": first ^ second,
    }


def bits(held: NDArray[np.bool_]) -> bytes:
    """A mask as bytes of eight images each, the first in the lowest bit; 160 kB for 1.28M."""
    return np.packbits(held, bitorder="little").tobytes()


def written(shape: Sequence[Sequence[float]]) -> str:
    """A polygon as it stands in a link: x_y~x_y~…"""
    return "~".join(f"{x:.5g}_{y:.5g}" for x, y in shape)


def read(text: str) -> Shape | None:
    """A polygon of a link, or None for what is none."""
    try:
        shape = np.array([[float(n) for n in corner.split("_")] for corner in text.split("~")])
    except ValueError:
        return None
    if shape.ndim != 2 or shape.shape[1] != 2 or len(shape) < 3 or not np.isfinite(shape).all():
        return None
    return tuple((float(x), float(y)) for x, y in shape)
