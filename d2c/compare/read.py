"""Reading a comparison, finished or still going on. Free of torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2c.artifacts import Artifact, Workspace
from d2c.compare.write import CURVES, DONE, FAILED, GRID, SUMMARY, TABLE
from d2c.errors import D2CError
from d2c.naming import slug

if TYPE_CHECKING:
    import pandas as pd


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

    @property
    def workspace(self) -> Workspace:
        """Where its artifacts lie."""
        return Workspace(self.folder.parents[1])

    def grid(self) -> dict[str, Any]:
        """Name, title, axes, and the cells of each seed with their state, commands and artifacts."""
        return dict(self._json())

    def cells(self, state: str = "") -> list[dict[str, Any]]:
        """The cells of each seed; with a state (done, failed, missing) only those."""
        return [cell for cell in self._json()["cells"] if not state or cell["state"] == state]

    def counts(self) -> tuple[int, int, int]:
        """Cells done, failed, and in all."""
        states = [cell["state"] for cell in self.cells()]
        return states.count(DONE), states.count(FAILED), len(states)

    def table(self) -> pd.DataFrame:
        """A row for each cell, seed and moment (`when`: end, best)."""
        return self._parquet(TABLE)

    def summary(self) -> pd.DataFrame:
        """A row for each cell and moment: n seeds, and mean, low, high, rank of each metric."""
        return self._parquet(SUMMARY)

    def curves(self) -> pd.DataFrame:
        """What the runs measured over their steps: cell, label, seed, run, step, images_seen, name, value."""
        return self._parquet(CURVES)

    def _json(self) -> Mapping[str, Any]:
        try:
            found = json.loads((self.folder / GRID).read_text())
        except (OSError, ValueError) as problem:
            raise D2CError(
                f"{self.folder / GRID} cannot be read ({problem}): give the same `d2c compare` again"
            ) from None
        if not isinstance(found, dict) or not isinstance(found.get("cells"), list):
            raise D2CError(f"{self.folder / GRID} is no grid of cells: give the same `d2c compare` again")
        return found

    def _parquet(self, name: str) -> pd.DataFrame:
        import pandas as pd

        try:
            return pd.read_parquet(self.folder / name)
        except (OSError, ValueError) as problem:
            why = str(problem).splitlines()[0][:120]
            raise D2CError(f"{self.folder / name} cannot be read ({why}): give the same `d2c compare` again") from None


def unequal(table: pd.DataFrame) -> tuple[int, int] | None:
    """Least and most steps of the runs in table.parquet at the end, where they differ: runs that were there may."""
    if not len(table):
        return None
    steps = table.loc[(table["when"] == "end") & (table["run"].fillna("") != ""), "step"]
    return (int(steps.min()), int(steps.max())) if steps.nunique() > 1 else None


def read(artifact: Artifact) -> Comparison:
    """A finished comparison."""
    return Comparison(artifact.path)


def comparisons(workspace: Workspace | Path | str | None = None, *, going: bool = True) -> list[Comparison]:
    """The comparisons of a workspace, newest last; with `going` those that are unfinished too, first of all."""
    ws = Workspace.at(workspace)
    partial = sorted((ws.root / "comparisons").glob(f".partial-*/{GRID}")) if going else []
    return [*(Comparison(path.parent) for path in partial), *(read(a) for a in ws.list("comparisons"))]


def find(workspace: Workspace | Path | str | None, name: str) -> Comparison | None:
    """The comparison of a name, finished or not; None where there is none."""
    ws = Workspace.at(workspace)
    for folder in (ws.folder("comparisons", slug(name)), ws.partial("comparisons", slug(name))):
        if (folder / GRID).is_file():
            return Comparison(folder)
    return None
