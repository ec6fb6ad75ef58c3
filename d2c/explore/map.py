"""dataset → map: a point an image in two dimensions, with its features and nearest neighbours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Build, Workspace, produce, slugify
from d2c.config import configure, option
from d2c.errors import D2CError, UsageError


@dataclasses.dataclass(frozen=True)
class MapConfig:
    """What the map is of and how it is laid out."""

    features: str = option(
        "scorer",
        "Features: scorer, pixels, dinov2-vit-s-14, dinov2-vit-b-14, clip-vit-b-32, clip-vit-l-14, timm:…, hf-hub:…, "
        "open_clip:ARCH/PRETRAINED. Those of CLIP can be searched by words",
    )
    scorer: str = option("digits", "Model whose middle block `scorer` reads: a shipped one, a run, or a path")
    method: str = option("umap", "How to lay out", choices=("umap", "pca"))
    neighbours: int = option(15, "Neighbours kept of each image, and seen by UMAP", minimum=2, maximum=200)
    min_dist: float = option(0.1, "UMAP: how close points may lie", minimum=0, maximum=1, advanced=True)
    seed: int = option(0, "Seed of the layout and of the noise that `scorer` sees", minimum=0, advanced=True)
    weights: str = option("", "File of the vision encoder's weights", identity=False, advanced=True)
    batch_size: int = option(0, "Images per forward pass; 0 = auto", minimum=0, identity=False, advanced=True)
    workers: int = option(0, "Threads that decode images; 0 = auto", minimum=0, identity=False, advanced=True)
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False)
    precision: str = option("auto", "Arithmetic of the forward pass", choices=("auto", "fp32", "bf16"), advanced=True)


def map_(
    parent: Artifact | Path | str,
    config: MapConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Lay a data set out in two dimensions by what a frozen model sees in each image.

    `parent` is a data set of N images. Gives kind "maps", each with row i = sample_id i:
    `map.parquet`: sample_id int64, x, y float32;
    `features.safetensors`: features float16 [N, D], the encoder's tokens averaged over positions (the scorer's in
    4 × 4 cells, then projected to 512 numbers), less their mean over the data set (what all images share would
    make all alike), of unit length; of CLIP's image tower also `mean` float32 [D] and `length` float32 [N], by which
    mean + length · features is the tower's own vector of unit length;
    `neighbours.safetensors`: ids int64 [N, k], distance float32 [N, k] = 1 − cosine, nearest first, self left out.
    Facts: images, method, features, dims, neighbours, exact (whether the neighbours are), note, source, warnings.

    Options that are not read (the scorer of `pixels`, `min_dist` of PCA) are put back to their defaults. An
    interrupted call goes on with the first image that has no features yet.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    dataset = ws.resolve(parent, "datasets")
    config = relevant(configure(MapConfig, config, options))
    extra, parents = _identity(ws, dataset, config)

    def write(build: Build) -> None:
        from d2c.explore.write import write_map

        write_map(build, dataset, config, extra)

    return produce(
        ws,
        "maps",
        config,
        write,
        stem=f"{slugify(dataset.name.removesuffix(f'-{dataset.fingerprint[:6]}'))[:24]}-{slugify(config.features)[:24]}",
        name=name,
        parents=parents,
        extra=extra,
        force=force,
        quiet=quiet,
    )


def relevant(config: MapConfig) -> MapConfig:
    """The same map with the options it does not read put back to their defaults.

    Raises UsageError for features that are not known, or weights where none are read.
    """
    from d2c.attach.vision import describe_vision
    from d2c.explore.clip import described, is_clip

    if config.features == "none":
        raise UsageError("a map needs features: scorer, pixels or a vision encoder")
    if is_clip(config.features):
        reads_weights = bool(described(config.features).reference)
    else:
        reads_weights = config.features != "pixels" and bool(describe_vision(config.features).reference)
    if config.weights and not reads_weights:
        raise UsageError(f"features {config.features!r} read no weights: leave --weights out")
    unread = [] if config.features == "scorer" else ["scorer"]
    unread += ["precision"] if config.features == "pixels" else []
    unread += ["min_dist"] if config.method == "pca" else []
    defaults: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(config) if f.name in unread}
    return dataclasses.replace(config, **defaults)


def _identity(ws: Workspace, dataset: Artifact, config: MapConfig) -> tuple[dict[str, Any], list[Artifact]]:
    """What decides the features beside the options: the scorer's or the weights' digest, and the arithmetic."""
    if config.features == "pixels":
        return {"precision": "fp32"}, [dataset]
    from d2c.device import pick, precision

    extra = {"precision": precision(config.precision, pick(config.device))}
    if config.features == "scorer":
        from d2c.score.scorers import locate

        try:
            scorer = locate(config.scorer, ws)
        except D2CError as problem:
            raise D2CError(f"{problem}; or map by --features pixels, which needs no model") from None
        parents = [dataset, *([scorer.run] if scorer.run else [])]
        return {**extra, "scorer": scorer.name, "scorer_digest": scorer.digest}, parents
    from d2c.attach.weights import digest, local_file

    return {**extra, "weights": digest(local_file(config.weights, "--weights"))}, [dataset]
