"""A map as columns: what a browser draws points from, and what filters are asked of."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from d2c.errors import D2CError

LEVELS = 65_535  # of a coordinate on the wire
UNKNOWN = 255  # the level of an image without a difficulty; the others have 0 … 254


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """The N points of a map in its row order. Shared: the arrays are read-only.

    `sample_id` int64, `x`, `y` float32, `label` int32, each [N]; `order` int64 [N], the rows by (label,
    sample_id); `by_id` int64 [N], the rows by sample_id.
    """

    sample_id: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    label: NDArray[np.int32]
    order: NDArray[np.int64]
    by_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sample_id)

    def rows_of(self, sample_ids: ArrayLike) -> NDArray[np.int64]:
        """The row of each image, −1 for one that is not on the map."""
        wanted = np.asarray(sample_ids, np.int64)
        at = np.searchsorted(self.sample_id, wanted, sorter=self.by_id)
        rows = self.by_id[np.minimum(at, len(self) - 1)]
        return np.where(self.sample_id[rows] == wanted, rows, -1)


def points_of(table: pd.DataFrame, samples: pd.DataFrame) -> Points:
    """The points of a map's table (sample_id, x, y), with the labels of its data set's (sample_id, label).

    Raises D2CError for a map without points, or with images that the data set does not hold.
    """
    if table.empty:
        raise D2CError("the map holds no points: make it again with `d2c map`")
    ids = table["sample_id"].to_numpy(np.int64)
    known, labels = samples["sample_id"].to_numpy(np.int64), samples["label"].to_numpy(np.int32)
    if len(known) == len(ids) and bool((known == ids).all()):
        label = labels
    else:
        sorter = np.argsort(known, kind="stable")
        at = sorter[np.minimum(np.searchsorted(known, ids, sorter=sorter), max(len(known) - 1, 0))]
        if not bool((known[at] == ids).all()):
            raise D2CError("the map shows images that its data set does not hold: make it again with `d2c map`")
        label = labels[at]
    by_id = np.argsort(ids, kind="stable")
    order = by_id[np.argsort(label[by_id], kind="stable")]
    arrays = (ids, table["x"].to_numpy(np.float32), table["y"].to_numpy(np.float32), label, order, by_id)
    return Points(*(read_only(a) for a in arrays))


def read_only(array: NDArray[Any]) -> Any:
    """The same numbers in an array that nobody can write into."""
    view = array.view()
    view.flags.writeable = False
    return view


def percent_from_easy(points: Points, table: pd.DataFrame) -> NDArray[np.float32]:
    """Where each point stands between the easiest image (0) and the hardest (100), of all scored ones on the map.

    `table` has sample_id, difficulty; ties break by sample_id; an image without a score has NaN. [N] float32.
    """
    difficulty = aligned(points, table)
    scored = np.flatnonzero(np.isfinite(difficulty))
    ranked = scored[np.lexsort((points.sample_id[scored], difficulty[scored]))]
    found = np.full(len(points), np.nan, np.float32)
    found[ranked] = np.linspace(0, 100, len(ranked), dtype=np.float32) if len(ranked) > 1 else 0
    return found


def aligned(points: Points, table: pd.DataFrame) -> NDArray[np.float32]:
    """The difficulty of each point [N], NaN for an image that was not scored."""
    ids, values = table["sample_id"].to_numpy(np.int64), table["difficulty"].to_numpy(np.float32)
    rows = points.rows_of(ids)
    found = np.full(len(points), np.nan, np.float32)
    found[rows[rows >= 0]] = values[rows >= 0]
    return found


def pack(points: Points, names: Sequence[str]) -> bytes:
    """The points for a browser: a header in JSON, then columns of little-endian integers.

    Columns: `xy` uint16 [N, 2], 0 … 65,535 from the lowest to the highest coordinate; `label` uint16 [N];
    `id` uint32 [N] where row i is not image i. Header: points, x and y (lowest, highest), names, counts
    (images of each class). Layout: `frame`.
    """
    if len(names) > LEVELS:
        raise D2CError(f"a map can show {LEVELS:,} classes, not {len(names):,}")
    (x, left, right), (y, low, high) = _levels(points.x), _levels(points.y)
    columns: dict[str, NDArray[Any]] = {"xy": np.stack([x, y], 1), "label": points.label.astype("<u2")}
    if not bool((points.sample_id == np.arange(len(points))).all()):
        columns["id"] = points.sample_id.astype("<u4")
    counts = np.bincount(points.label, minlength=len(names)).tolist()
    header = {"points": len(points), "x": [left, right], "y": [low, high], "names": list(names), "counts": counts}
    return frame(header, columns)


def pack_levels(percent: NDArray[np.float32], difficulty: NDArray[np.float32]) -> bytes:
    """How hard each point is, one byte each: `level` 0 (easiest) … 254 (hardest), 255 where it is not known.

    The header's `values` [255] are the difficulties in the middle of each level (null where no image is),
    so that a tooltip and a colour bar can say numbers.
    """
    known = np.isfinite(percent)
    level = np.full(len(percent), UNKNOWN, np.uint8)
    level[known] = np.minimum(percent[known] * (UNKNOWN / 100), UNKNOWN - 1).astype(np.uint8)
    values = np.interp(
        (np.arange(UNKNOWN) + 0.5) * 100 / UNKNOWN, *_ends(percent[known], np.asarray(difficulty)[known])
    )
    return frame({"values": [float(f"{v:.4g}") for v in values]}, {"level": level})


def frame(header: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> bytes:
    """uint32 length of the header, the header (JSON), the columns one after the other, each begun at 8 bytes.

    The header gains `columns`: name, type and count of each. Little-endian.
    """
    listed = [[name, column.dtype.name, int(column.size)] for name, column in columns.items()]
    said = json.dumps({**header, "columns": listed}, ensure_ascii=False, separators=(",", ":")).encode()
    said += b" " * (-(4 + len(said)) % 8)
    parts = [len(said).to_bytes(4, "little"), said]
    for column in columns.values():
        content = np.ascontiguousarray(column).astype(column.dtype.newbyteorder("<"), copy=False).tobytes()
        parts += [content, b"\0" * (-len(content) % 8)]
    return b"".join(parts)


def _levels(values: NDArray[np.float32]) -> tuple[NDArray[np.uint16], float, float]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    high = high if high > low else low + 1.0
    share = (np.nan_to_num(values.astype(np.float64), nan=low) - low) / (high - low)
    return np.rint(np.clip(share, 0, 1) * LEVELS).astype("<u2"), low, high


def _ends(percent: NDArray[np.float32], difficulty: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    order = np.argsort(percent, kind="stable")
    return (percent[order], difficulty[order]) if len(order) else (np.zeros(1), np.zeros(1))
