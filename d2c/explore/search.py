"""Images by words or by an image: the ones of a map that fit best, in order. Exact, and free of torch but for words."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from d2c.artifacts import Artifact, Workspace
from d2c.config import configure, option
from d2c.errors import D2CError, UsageError
from d2c.explore.clip import NAMES, is_clip

if TYPE_CHECKING:
    import pandas as pd

    from d2c.explore.towers import ClipWords

FILE = "features.safetensors"
ROWS = 1_024  # of features read at a time
MOST = 1000


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """What is looked for on a map: words, or what is like an image."""

    text: str = option("", "Words that say what to look for; the map's features must be CLIP's")
    like: int = option(-1, "Image (sample_id) to which alike ones are looked for; -1: none", minimum=-1)
    most: int = option(60, "Images given back", minimum=1, maximum=MOST)
    weights: str = option("", "File of CLIP's weights (default: the map's, else the hub's cache or the hub)")


@dataclasses.dataclass(frozen=True, eq=False)
class Hits:
    """What a search found: `table` has rank (0 = best), sample_id int64, similarity float32, label, class, key.

    Similarity is a cosine: of words with CLIP's image vector; of an image with the features less their mean.
    """

    map: str
    config: SearchConfig
    table: pd.DataFrame


def search(
    made: Artifact | Path | str,
    config: SearchConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    **options: Any,
) -> Hits:
    """The images of a map that fit a text or an image best, the best first. Compares with every image.

    Raises UsageError unless one of `text` and `like` is given; D2CError, in one line with the command that helps,
    when the map's features are not CLIP's, its weights are not there or are not those of the map, or the image
    is not on the map.
    """
    if isinstance(made, Artifact) and workspace is None:
        workspace = made.workspace
    plan = Workspace.at(workspace).resolve(made, "maps")
    config = configure(SearchConfig, config, options)
    text = config.text.strip()
    if bool(text) == (config.like >= 0):
        raise UsageError("say what to look for: a text, or --like with the number of an image, one of the two")
    found = by_text(plan, text, config.most, config.weights) if text else by_image(plan, config.like, config.most)
    samples = plan.parent("datasets").table("samples.parquet", ["sample_id", "label", "key"]).set_index("sample_id")
    names = np.asarray(plan.parent("datasets").json("classes.json"), dtype=object)
    rows = samples.loc[found["sample_id"]]
    label = rows["label"].to_numpy()
    more = {"label": label, "class": names[label], "key": rows["key"].to_numpy()}
    return Hits(plan.name, config, found.assign(**more).rename_axis("rank").reset_index())


def said(hits: Hits, *, as_json: bool = False) -> str:
    """The hits for a terminal: a line each (rank, image, similarity, class, key), or one JSON object."""
    if as_json:
        query = {"text": hits.config.text.strip()} if hits.config.text.strip() else {"like": hits.config.like}
        return json.dumps({"map": hits.map, **query, "hits": json.loads(hits.table.to_json(orient="records"))})
    columns = (hits.table[name].tolist() for name in ("rank", "sample_id", "similarity", "class", "key"))
    return "\n".join(
        f"{rank + 1:>4}  image {sample_id}  {similarity:.4f}  {name}  {key}"
        for rank, sample_id, similarity, name, key in zip(*columns, strict=True)
    )


def by_image(made: Artifact, sample_id: int, most: int = 60) -> pd.DataFrame:
    """The images most like one of a map, itself left out: sample_id int64, similarity float32 (cosine).

    Raises D2CError for an image that is not on the map, or a map without features.
    """
    stored = features_of(made)
    rows = len(stored["features"])
    if not 0 <= sample_id < rows:
        raise D2CError(f"maps/{made.name} has images 0 to {rows - 1}, not {sample_id}")
    cosine = products(stored["features"], np.asarray(stored["features"][sample_id], np.float32))
    cosine[sample_id] = -np.inf
    return best(cosine, min(most, rows - 1))


def by_text(made: Artifact, text: str, most: int = 60, weights: str = "") -> pd.DataFrame:
    """The images that CLIP finds to fit a text best: sample_id int64, similarity float32 (cosine).

    Raises D2CError as `search` does.
    """
    if reason := wordless(made):
        raise D2CError(reason)
    vector = words_of(made, weights).encode(text)
    stored = features_of(made)
    # The features are (image − mean) / length, so this is the cosine of the vectors that CLIP gave.
    cosine = products(stored["features"], vector) * stored["length"] + np.float32(stored["mean"] @ vector)
    return best(cosine, most)


def wordless(made: Artifact) -> str:
    """Why a map cannot be searched by words, with the command that makes one that can; empty when it can."""
    if is_clip(str(made.facts.get("features", ""))):
        return ""
    dataset = next((p["name"] for p in made.record["parents"] if p["kind"] == "datasets"), "DATASET")
    return (
        f"maps/{made.name} has no features that know words: make one that has by "
        f"`d2c map {dataset} --features {NAMES[0]}`"
    )


def features_of(made: Artifact) -> dict[str, np.ndarray]:
    """The arrays of a map's features as memory maps: features [N, D], and of CLIP's mean [D] and length [N]."""
    from d2c.score.parts import open_table

    if not (made.path / FILE).is_file():
        raise D2CError(f"maps/{made.name} lacks {FILE}: make it again with --force")
    return open_table(made.path / FILE)[0]


def products(features: np.ndarray, vector: np.ndarray) -> NDArray[np.float32]:
    """The inner product of each row of features [N, D] with a vector [D], some rows at a time: [N] float32."""
    found = np.empty(len(features), np.float32)
    part = np.empty((min(ROWS, len(features)), features.shape[1]), np.float32)
    for start in range(0, len(features), ROWS):
        rows = features[start : start + ROWS]
        wide = part[: len(rows)]
        if rows.dtype == np.float16:  # looked up by its bits: nine times as fast as NumPy's own conversion
            np.take(_halves(), rows.view(np.uint16), out=wide, mode="clip")
        else:
            wide[:] = rows
        found[start : start + ROWS] = wide @ vector
    return found


@functools.cache
def _halves() -> NDArray[np.float32]:
    """Every float16 as a float32, by its bits."""
    return np.arange(65_536, dtype=np.uint16).view(np.float16).astype(np.float32)


def best(similarity: NDArray[np.float32], most: int) -> pd.DataFrame:
    """The highest numbers with their rows, the highest first; of equals the lower row."""
    most = min(most, len(similarity))
    edge = np.partition(similarity, len(similarity) - most)[len(similarity) - most] if most else np.inf
    rows = np.flatnonzero(similarity >= edge)
    rows = rows[np.argsort(-similarity[rows], kind="stable")][:most].astype(np.int64)
    import pandas as pd

    return pd.DataFrame({"sample_id": rows, "similarity": similarity[rows]})


def words_of(made: Artifact, weights: str = "") -> ClipWords:
    """The text tower that belongs to a map's features: of the file given, else of the file the map was made with.

    Without either it comes from the hub's cache or the hub. Raises D2CError when it is not there, or is another.
    """
    from d2c.attach.weights import local_file

    wanted = str(made.recipe.get("weights", ""))  # digest of a file that was given; empty for the hub's
    kept = str(made.record.get("execution", {}).get("weights", ""))
    if not weights and wanted and not Path(kept).expanduser().is_file():
        raise D2CError(
            f"the weights that maps/{made.name} was made with are not at {kept or 'any known place'}: give the file "
            f"with --weights FILE"
        )
    file = local_file(weights or (kept if wanted else ""), "--weights")
    stat = file.stat() if file else None
    stamp = (stat.st_mtime_ns, stat.st_size) if stat else None
    return _opened(str(made.facts["features"]), file, stamp, wanted, f"maps/{made.name}")


@functools.lru_cache(maxsize=1)
def _opened(features: str, file: Path | None, stamp: tuple[int, int] | None, wanted: str, owner: str) -> ClipWords:
    from d2c.attach.weights import digest
    from d2c.explore.towers import ClipWords

    if file is not None and wanted and digest(file) != wanted:
        raise D2CError(f"{file} does not hold the weights that {owner} was made with ({wanted[:12]})")
    return ClipWords(features, weights=file)
