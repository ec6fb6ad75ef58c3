"""What of a map is looked at: filters that all must hold, as one bit an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from d2c.errors import UsageError
from d2c.explore.lasso import points_in_polygon
from d2c.explore.points import Points

AMONG = ("all", "chosen", "rest")
Shape = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class View:
    """Filters of a map; the empty view holds all images.

    `shapes` are polygons of (x, y), an image lies in one of them; `only` are labels; `low` and `high` are
    per cent from the easiest image to the hardest; `among` is all, chosen, or rest (those not chosen).
    """

    shapes: tuple[Shape, ...] = ()
    only: tuple[int, ...] = ()
    low: float = 0.0
    high: float = 100.0
    among: str = "all"

    def __post_init__(self) -> None:
        if self.among not in AMONG:
            raise UsageError(f"{self.among!r} is not one of {', '.join(AMONG)}")
        if not 0 <= self.low <= self.high <= 100:
            raise UsageError(f"a range of difficulty lies in 0 … 100 %, not {self.low} … {self.high}")

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
) -> NDArray[np.bool_]:
    """Which points a view holds, [N].

    `percent` [N] is each point's place from easy to hard (`points.percent_from_easy`): an image without one
    is in no narrowed range. `chosen` [N] marks a chosen set. A filter whose column is not given does nothing.
    Cost at 1.28M points: a lasso round everything a tenth of a second, the other filters a few ms each.
    """
    held = np.ones(len(points), bool)
    if view.only:
        wanted = np.zeros(int(max(points.label.max(), *view.only)) + 1, bool)
        wanted[list(view.only)] = True
        held &= wanted[points.label]
    if view.ranged and percent is not None:
        held &= (percent >= view.low) & (percent <= view.high)
    if view.among != "all" and chosen is not None:
        held &= chosen if view.among == "chosen" else ~chosen
    if view.shapes:
        held &= np.logical_or.reduce([points_in_polygon(points.x, points.y, shape) for shape in view.shapes])
    return held


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
