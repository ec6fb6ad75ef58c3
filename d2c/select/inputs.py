"""What strategies read beside difficulty, found for scores: features of a map, measures of a training or of none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.select.base import SelectConfig
from d2c.select.registry import STRATEGIES, needs_of
from d2c.select.rows import TRAINED, missing

FEATURES, MEASURES = "features.safetensors", "measures.parquet"


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """For a `Ranking` of the scores' table: row i of each belongs to row i of the table.

    `features` [N, d] is a memory map of the file of `map`, or `Rows` of it; None where not asked for.
    `measures` are float32 [N] by name.
    """

    features: Any = None
    measures: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    map: Artifact | None = None
    trained: Artifact | None = None  # of kind "measures"


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """An array seen in another order of rows, without a copy: row i is row `at[i]` of `whole`."""

    whole: np.ndarray
    at: np.ndarray

    def __len__(self) -> int:
        return len(self.at)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, and the shape of one."""
        return (len(self.at), *self.whole.shape[1:])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The rows asked for, copied."""
        found: np.ndarray = self.whole[self.at[rows]]
        return found


def find_map(scores: Artifact, name: str = "") -> Artifact | None:
    """The map whose features are read for these scores: the named one, or the newest of the same data set.

    None where there is none. Raises D2CError for a name that is not there, or is of another data set.
    """
    entry = _dataset(scores)
    if name:
        made = scores.workspace.resolve(name, "maps")
        if not _of(made, entry["fingerprint"]):
            raise D2CError(
                f"maps/{made.name} is not of {entry['name']}, which the scores are of: `d2c map {entry['name']}`"
            )
        return made
    maps = [a for a in scores.workspace.list("maps") if _of(a, entry["fingerprint"])]
    return next((a for a in reversed(maps) if (a.path / FEATURES).is_file()), None)


def find_measures(scores: Artifact, name: str = "") -> Artifact | None:
    """The measures of a training that are read for these scores: the named ones, or the newest of the same data set.

    None where there are none. Raises D2CError for a name that is not there, or is of another data set.
    """
    entry = _dataset(scores)
    if name:
        made = scores.workspace.resolve(name, "measures")
        if not _of(made, entry["fingerprint"]):
            raise D2CError(
                f"measures/{made.name} are not of {entry['name']}, which the scores are of: "
                f"`d2c measure {entry['name']}`"
            )
        return made
    return next((a for a in reversed(scores.workspace.list("measures")) if _of(a, entry["fingerprint"])), None)


def of_training(needs: Sequence[str]) -> list[str]:
    """The measures among some needs that take a training, by their names."""
    return [name for name in TRAINED if f"measures:{name}" in needs]


def parents_of(scores: Artifact, config: SelectConfig) -> list[Artifact]:
    """What a subset is made from: the scores, and the map or the measures of a training that its strategy or k reads.

    Raises D2CError when one is needed and there is none of the data set.
    """
    needs, parents, stem = needs_of(config), [scores], str(_dataset(scores)["name"])
    if "features" in needs:
        made = find_map(scores, config.features)
        if made is None:
            who = config.strategy if "features" in STRATEGIES[config.strategy].needs else "interval auto"
            raise D2CError(missing(who, "features", stem))
        parents.append(made)
    if names := of_training(needs):
        made = find_measures(scores, config.measures)
        if made is None:
            raise D2CError(missing(config.strategy, f"measures:{names[0]}", stem))
        parents.append(made)
    return parents


def load(scores: Artifact, config: SelectConfig, sample_ids: np.ndarray | None = None) -> Inputs:
    """What the strategy of a configuration needs, memory-mapped where it is large. Free of torch.

    `sample_ids` [N] are those of the scores' table, in its order, for a caller that has read them. Raises D2CError,
    in one line with the command that helps, for what is missing.
    """
    needs = needs_of(config)
    if not needs:
        return Inputs()
    if sample_ids is None:
        sample_ids = scores.table("scores.parquet", ["sample_id"])["sample_id"].to_numpy()
    found = {made.kind: made for made in parents_of(scores, config)}
    features = features_of(found["maps"], sample_ids) if "maps" in found else None
    measures = measured(found["measures"], of_training(needs), sample_ids) if "measures" in found else {}
    for need in needs:
        name = need.removeprefix("measures:")
        if name != need and name not in measures:
            values = measure(scores, name, sample_ids)
            if values is None:
                raise D2CError(missing(config.strategy, need, str(_dataset(scores)["name"])))
            measures[name] = values
    return Inputs(features, measures, found.get("maps"), found.get("measures"))


def measured(made: Artifact, names: Sequence[str], sample_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Measures [N] float32 of a training, by name, in the order of `sample_ids`.

    Raises D2CError when they are of other images, or cannot be read.
    """
    table = made.table(MEASURES, ["sample_id", *names])
    ids = table["sample_id"].to_numpy()
    order = np.argsort(ids)
    at = np.searchsorted(ids, sample_ids, sorter=order).clip(max=len(ids) - 1)
    rows = order[at]
    if not np.array_equal(ids[rows], sample_ids):
        raise D2CError(f"measures/{made.name} has not all images of the scores: measure the same data set")
    return {name: table[name].to_numpy(np.float32)[rows] for name in names}


def features_of(made: Artifact, sample_ids: np.ndarray) -> Any:
    """A map's features in the order of `sample_ids` [N]: a memory map [N, d], or `Rows` of one."""
    from d2c.score.parts import open_table

    if not (made.path / FEATURES).is_file():
        raise D2CError(f"maps/{made.name} lacks {FEATURES}: make it again with --force")
    arrays, _ = open_table(made.path / FEATURES)
    if "features" not in arrays:
        raise D2CError(f"{made.path / FEATURES} holds no features: make the map again with --force")
    whole = arrays["features"]
    if len(sample_ids) and not 0 <= int(sample_ids.min()) <= int(sample_ids.max()) < len(whole):
        raise D2CError(f"maps/{made.name} has {len(whole)} images, the scores others: map the same data set")
    same = len(sample_ids) == len(whole) and np.array_equal(sample_ids, np.arange(len(whole)))
    return whole if same else Rows(whole, sample_ids)


def measure(scores: Artifact, name: str, sample_ids: np.ndarray) -> np.ndarray | None:
    """A measure [N] float32 of each image of the scores, in their order; None where it was not kept.

    `file_bytes` is what the data set's images.parquet says; the others lie beside the scores' errors.
    """
    if name == "file_bytes":
        table = scores.parent("datasets").table("images.parquet", ["sample_id", "length"])
        length = table["length"].to_numpy()  # row i is sample i
        return None if (length < 0).any() else length[sample_ids].astype(np.float32)
    from d2c.score.parts import open_table

    arrays, _ = open_table(scores.path / "errors.safetensors")
    found = arrays.get(name)
    return None if found is None or len(found) != len(sample_ids) else np.asarray(found, np.float32)


def _dataset(scores: Artifact) -> Mapping[str, Any]:
    for entry in scores.record["parents"]:
        if entry["kind"] == "datasets":
            found: Mapping[str, Any] = entry
            return found
    raise D2CError(f"scores/{scores.name} do not say what data set they are of: score it again")


def _of(made: Artifact, fingerprint: str) -> bool:
    return any(p["kind"] == "datasets" and p["fingerprint"] == fingerprint for p in made.record["parents"])
