"""From a job to the artifact: the shards are streamed, merged, and what they say is concluded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from d2c.artifacts import Artifact, Build
from d2c.data.spans import write_table
from d2c.errors import D2CError
from d2c.progress import Progress
from d2c.score.grid import uniform
from d2c.score.parts import MEASURED, is_table, merge, open_table, part_file
from d2c.score.reliability import rank_shift, within_class
from d2c.score.stream import AGAIN, PARTS, Job, Stream
from d2c.score.weighting import scored
from d2c.team import Team

#: images a class that interval sampling chooses when two noise banks are compared, and at least so many ranks apart.
OVERLAP_PER_CLASS, OVERLAP_INTERVAL = 10, 2


def write_scores(build: Build, job: Job, weighting: str, twin: Artifact | None, team: Team) -> None:
    """Fill the artifact's folder; `twin` holds the same table under another weighting. See `d2c.score`."""
    file = build.folder / "errors.safetensors"
    cuda = job.device.type == "cuda"
    if twin is None:
        build.used(job.device, team.size if cuda else 0)
    if twin is not None:
        shutil.copyfile(twin.path / file.name, file)
        build.note(images_per_second=None, evaluations_per_second=None, idle_share=None, table_of=twin.name)
    elif not is_table(file):
        build.progress.stage("prepare", unit="image")
        stream = Stream(job, build.folder, build.progress)
        team.tell({"folder": str(build.folder), "precision": job.precision})
        stream.run(team)
        team.wait()
        _merge(stream, file)
        build.note(**stream.facts(), devices=[str(job.device)] * team.size)
    for folder in (PARTS, AGAIN):
        shutil.rmtree(build.folder / folder, ignore_errors=True)
    (build.folder / "grid.safetensors").unlink(missing_ok=True)
    _conclude(build, job, file, weighting)


def assist(job: Job, folder: Path, team: Team, quiet: bool) -> None:
    """The part of a process that is not the first: its shards, into the folder that the first one made."""
    progress = Progress(None, quiet=quiet)
    try:
        Stream(job, folder, progress).run(team)
    finally:
        progress.close()
    team.wait()


def _merge(stream: Stream, file: Path) -> None:
    """One table from all parts, with what re-weighting it needs."""
    files, again = (
        [part_file(stream.folder / name, i) for i in range(len(cut))]
        for name, cut in ((PARTS, stream.shards), (AGAIN, stream.shards_again))
    )
    if missing := [f.name for f in (*files, *again) if not f.is_file()]:
        raise D2CError(f"{len(missing)} shards of the scores are missing ({missing[0]} …): give the same command again")
    path, t = stream.judge.path, stream.estimator.timesteps
    extra = {"timesteps": t, "alpha": path.alpha(t), "sigma": path.sigma(t)}
    arrays = {name: values.float().numpy() for name, values in extra.items()}
    arrays["quadrature"] = stream.estimator.grid.quadrature.astype(np.float32)
    even = np.allclose(stream.estimator.grid.places, uniform(stream.job.evaluations).places, atol=1e-4)
    metadata = {"weighting": path.weighting, "grid": "uniform" if even else "pilot"}
    if stream.latents is not None:
        metadata["autoencoder"] = str(stream.latents.facts["digest"])
    merge(files, again, arrays, metadata, file)


def _conclude(build: Build, job: Job, file: Path, weighting: str) -> None:
    """From the table of errors: the scores, and how far to trust their order."""
    build.progress.stage("conclude")
    table, metadata = open_table(file)
    native = metadata["weighting"]
    score = scored(table, native, weighting)
    samples = job.dataset.table("samples.parquet", ["sample_id", "label"])
    ids, labels = samples["sample_id"].to_numpy(np.int64), samples["label"].to_numpy(np.int32)
    write_table(build.folder / "scores.parquet", {"sample_id": ids, "label": labels, "difficulty": score})
    measured = {name: within_class(score, table[name], labels) for name in MEASURED if name in table}
    facts: dict[str, Any] = {
        "images": len(score),
        "evaluations": job.evaluations,
        "weighting": weighting,
        "grid": metadata.get("grid", job.grid),
        "contrast": job.contrast,
        "scorer": {
            "name": job.scorer.name,
            "digest": job.scorer.digest,
            "model": job.scorer.model.name,
            "licence": job.scorer.licence,
            "source": job.scorer.source,
        },
        "autoencoder": {"name": _shown(job.autoencoder.name), "digest": metadata.get("autoencoder", "")},
        "controls": {name: float(np.mean(list(by.values()))) for name, by in measured.items() if by} or None,
        "banks": 1,
        "reliability": None,
        "reliability_by_class": {},
        "rank_check": None,
        "overlap": None,
    }
    if len(table.get("sample_ids_b", ())):
        at = np.searchsorted(ids, table["sample_ids_b"])
        facts |= _repeat(ids[at], labels[at], score[at], scored(table, native, weighting, "_b"))
    build.note(**facts)


def _repeat(ids: np.ndarray, labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """What the two noise banks agree on, within the class."""
    from d2c.explore.compare import in_common, pair

    by_class = within_class(first, second, labels)
    sizes = np.bincount(labels)[labels]
    enough = sizes > 2 * OVERLAP_INTERVAL  # of a smaller class there is nothing to choose
    overlap = None
    if enough.any():
        columns = {"sample_id": ids[enough], "label": labels[enough]}
        tables = [pd.DataFrame({**columns, "difficulty": s[enough]}) for s in (first, second)]
        smallest = int(sizes[enough].min())
        per_class = min(OVERLAP_PER_CLASS, (smallest - 1) // OVERLAP_INTERVAL)
        found = in_common(pair(*tables), per_class, max(OVERLAP_INTERVAL, (smallest - 1) // max(per_class - 1, 1)))
        overlap = {
            "per_class": found.per_class,
            "interval": found.interval,
            "overlap": found.share,
            "chance": found.chance,
        }
    return {
        "banks": 2,
        "reliability": float(np.mean(list(by_class.values()))) if by_class else None,
        "reliability_by_class": {str(c): r for c, r in by_class.items()},
        "rank_check": {"images": len(ids), "mean_shift": rank_shift(first, second, labels)},
        "overlap": overlap,
    }


def _shown(autoencoder: str) -> str:
    """An autoencoder's name without the folders of this machine."""
    local = Path(autoencoder.removeprefix("taef2:")).expanduser()
    if not local.exists():
        return autoencoder
    return f"{'taef2:' if autoencoder.startswith('taef2:') else ''}{local.parent.name}/{local.name}".lstrip("/")
