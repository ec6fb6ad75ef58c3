"""What can be seen of a map before UMAP is done with it: the images by their principal components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from d2c.artifacts import Artifact, Workspace

FILE = "preview.parquet"
MOST = 5_000  # images shown


def keep_preview(folder: Path, points: NDArray[np.float32], label: NDArray[np.integer[Any]], dataset: Artifact) -> None:
    """Write so many of the points [N, 2] into a map's partial folder, the same share of each class.

    `label` is [N], the class of each point. Written beside and renamed: whoever reads it finds all or nothing.
    """
    order = np.argsort(label, kind="stable")
    rows = np.sort(order[np.linspace(0, len(order) - 1, min(MOST, len(order))).astype(np.int64)])
    names = np.asarray([str(name) for name in dataset.json("classes.json")], dtype=object)
    table = pd.DataFrame({"sample_id": rows, "x": points[rows, 0], "y": points[rows, 1], "label": label[rows]})
    table["class"] = names[label[rows]]
    table.to_parquet(folder / f"{FILE}.new", index=False)
    (folder / f"{FILE}.new").replace(folder / FILE)


def previews(workspace: Workspace) -> dict[str, Path]:
    """The previews of maps that are being made, by the name of the map."""
    found = sorted((workspace.root / "maps").glob(f".partial-*/{FILE}"))
    return {path.parent.name.removeprefix(".partial-"): path for path in found}
