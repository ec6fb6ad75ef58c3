"""A scored data set without a scorer, and a stand-in for the verbs that take a model."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import option

SIZES = (30, 20, 25)  # images of each class

# `select` is the real one; attach, train and evaluate make artifacts of their kinds whose numbers come from their flags
# alone. A line of the file `fail` that is in a command's words fails it; `train` waits while `hold` is there.
STUB = """
import hashlib, json, os, sys, time
from pathlib import Path

root = Path(sys.argv[sys.argv.index("--workspace") + 1])
words = sys.argv[1:sys.argv.index("--workspace")]
with (root / "starts.txt").open("a") as handle:
    handle.write(" ".join(words) + chr(10))
if words[0] == "select":
    from d2c.cli import main
    sys.exit(main(sys.argv[1:]))
from dataclasses import dataclass
from d2c.artifacts import Workspace, produce
from d2c.config import option
from d2c.errors import D2CError
from d2c.progress import cancel_on_sigterm
from d2c.verbs import VERBS

@dataclass(frozen=True)
class Said:
    what: str = option("", "what")

cancel_on_sigterm()
ws = Workspace(root)
verb, subject, flags = words[0], words[1], words[2:]
parent = ws.resolve(subject, VERBS[verb].takes)
given = dict(flag[2:].partition("=")[::2] for flag in flags)
number = int(hashlib.sha256(" ".join([verb, parent.fingerprint, *flags]).encode()).hexdigest()[:4], 16) / 65536

def write(build):
    if (root / "fail").exists() and any(line in " ".join(words) for line in (root / "fail").read_text().split()):
        raise D2CError("asked to fail: take the file away")
    if verb == "train":
        import pandas as pd
        build.progress.stage("train", 2, "step")
        counter = build.folder / "counter"
        done = int(counter.read_text()) if counter.exists() else 0
        while done < 2:
            while done == 1 and (root / "hold").exists():
                (root / "held").touch()
                build.progress.check()
                time.sleep(0.01)
            done += 1
            counter.write_text(str(done))
            build.progress.advance()
        steps = int(given["steps"])
        build.note(task="generate", steps=steps, images_seen=steps * 64, model="SiT-Ti/4", images_per_second=1000.0)
        for step in (4, 8) if "snapshots" in given else ():
            (build.folder / "snapshots").mkdir(exist_ok=True)
            (build.folder / "snapshots" / f"{step:09d}.safetensors").touch()
        rows = [(1, 64, 0.1, "loss", number), (steps, steps * 64, 0.2, "loss", number / 2)]
        rows += [(4, 256, 0.1, "held_out", 0.5), (steps, steps * 64, 0.2, "held_out", 0.75)]
        rows += [(4, 256, 0.1, "seen", 0.25), (steps, steps * 64, 0.2, "seen", 0.125)]
        pd.DataFrame(rows, columns=["step", "images_seen", "wall_seconds", "name", "value"]).to_parquet(
            build.folder / "metrics.parquet")
    if verb == "evaluate":
        build.note(fd=number, step=int(given.get("step", 8)), accuracy=1 - number, count=4)
        rows = [{"row": "copies", "images": 4, "fd": 0.5, "kid": 0.25, "accuracy": 1.0}]
        metric = {"name": "FD-classifier", "of": "samples", "value": number, "low": number / 2, "high": 2 * number}
        said = {"rows": rows, "metrics": [metric], "nearest": {"pixels": {"ratio": 0.75, "hit": 3}}}
        (build.folder / "report.json").write_text(json.dumps(said))

parents = [parent]
if verb == "evaluate":
    parents.append(produce(ws, "samples", Said(" ".join(flags)), lambda build: None, stem="s", parents=[parent]))
made = produce(ws, VERBS[verb].makes, Said(" ".join([verb, *flags])), write, stem=verb, parents=parents, quiet=True)
print(json.dumps({"kind": made.kind, "name": made.name}))
"""

# What the stand-in ends with when it is refused, as `d2c` itself does
MAIN = """
import sys
from d2c.errors import D2CError
try:
    exec(compile(open(sys.argv.pop(1)).read(), "stub", "exec"))
except D2CError as wrong:
    print(f"d2c: {wrong}", file=sys.stderr)
    sys.exit(1)
"""


@dataclass(frozen=True)
class Made:
    """The recipe of an artifact made by hand."""

    what: str = option("", "what")


@pytest.fixture
def scores(workspace: Workspace) -> Artifact:
    """Scores of 75 images in three classes, with the data set that they are of."""
    label = np.repeat(np.arange(len(SIZES)), SIZES).astype(np.int32)
    table = pd.DataFrame({"sample_id": np.arange(len(label)), "label": label, "width": 8, "height": 8})

    def dataset(build: Build) -> None:
        table.to_parquet(build.folder / "samples.parquet", index=False)
        (build.folder / "classes.json").write_text(json.dumps(["a", "b", "c"]))
        build.note(channels=1)

    def scored(build: Build) -> None:
        difficulty = np.random.default_rng(0).random(len(table)).astype(np.float32)
        table[["sample_id", "label"]].assign(difficulty=difficulty).to_parquet(build.folder / "scores.parquet")

    of = produce(workspace, "datasets", Made("data"), dataset, stem="data", quiet=True)
    return produce(workspace, "scores", Made("scores"), scored, stem="scores", parents=[of], quiet=True)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands of a comparison be the stand-in's."""
    (tmp_path / "stub.py").write_text(STUB)
    (tmp_path / "main.py").write_text(MAIN)
    words = [sys.executable, "-P", str(tmp_path / "main.py"), str(tmp_path / "stub.py")]
    monkeypatch.setenv("D2C_JOB_COMMAND", json.dumps(words))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
