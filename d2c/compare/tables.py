"""The comparisons of a workspace for who looks at them, finished or still filling; torch-free."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2c.artifacts import Workspace
from d2c.errors import D2CError

if TYPE_CHECKING:
    import pandas as pd

GRID = "grid.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """A comparison's folder: reads a file when it is asked for."""

    folder: Path

    @property
    def name(self) -> str:
        """What it goes by, finished or not."""
        return self.folder.name.removeprefix(".partial-")

    @property
    def finished(self) -> bool:
        """Whether it has come to its end; cells may have failed."""
        return not self.folder.name.startswith(".partial-")

    def grid(self) -> dict[str, Any]:
        """Name, title, axes, and the cells of each seed with their state, commands and artifacts."""
        try:
            return dict(json.loads((self.folder / GRID).read_text()))
        except (OSError, ValueError) as problem:
            raise D2CError(f"{self.folder / GRID} cannot be read ({problem})") from None

    def table(self) -> pd.DataFrame:
        """A row for each cell, seed and moment (`when`: end, best)."""
        return self._parquet("table.parquet")

    def summary(self) -> pd.DataFrame:
        """A row for each cell and moment: n seeds, and mean, low, high, rank of each metric."""
        return self._parquet("summary.parquet")

    def curves(self) -> pd.DataFrame:
        """What the runs measured over their steps: cell, label, seed, run, step, images_seen, name, value."""
        return self._parquet("curves.parquet")

    def _parquet(self, name: str) -> pd.DataFrame:
        import pandas as pd

        try:
            return pd.read_parquet(self.folder / name)
        except (OSError, ValueError) as problem:
            raise D2CError(f"{self.folder / name} cannot be read ({str(problem)[:120]})") from None


def comparisons(workspace: Workspace | Path | str | None = None, *, going: bool = True) -> list[Comparison]:
    """The comparisons of a workspace, newest last; with `going` those that are unfinished too, first of all."""
    ws = Workspace.at(workspace)
    partial = sorted((ws.root / "comparisons").glob(f".partial-*/{GRID}")) if going else []
    return [*(Comparison(path.parent) for path in partial), *(Comparison(a.path) for a in ws.list("comparisons"))]
