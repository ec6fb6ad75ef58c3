"""Processes that torchrun starts train what one trains; a killed one is replaced and they go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from d2c.artifacts import Workspace
from d2c.train import train
from d2c.train.metrics import read_metrics
from d2c.train.snapshots import steps_of

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
OPTIONS = {"batch": 8, "steps": 12, "log_every": 2, "checkpoint_every": 4, "sample_every": 0, "precision": "fp32"}
OPTIONS["snapshots"] = 3

# A process of the team that dies at a step, once: what a lost node looks like to the others.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from d2c.train import train
from d2c.train.step import Trainer
mark, step = Path(sys.argv[3]), Trainer.step
def dying(self, number):
    if number == 7 and os.environ["RANK"] == "1" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, number)
if sys.argv[3] != "-":
    Trainer.step = dying
train("tiny", workspace=sys.argv[1], name="many", **eval(sys.argv[2]))
"""


def together(shop: Workspace, script: Path, options: dict, mark: str = "-", restarts: int = 0) -> None:
    script.write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launch, str(script), str(shop.root), repr(options), mark]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "FutureWarning" not in done.stderr


def curve(path: Path):
    table = read_metrics(path)
    return table[table["name"].isin(["loss", "grad_norm", "alignment"])].set_index(["step", "name"])["value"]


def test_two_give_the_curve_of_one_and_a_killed_one_is_replaced(made, tiny, shop, tmp_path):
    options = {**tiny, **OPTIONS}
    alone = train(made(), name="alone", **options)
    want = curve(alone.path)
    alone.path.rename(shop.root / "alone")  # else it would be found, and not made again
    together(shop, tmp_path / "go.py", options)
    many = shop.resolve("runs/many", "runs")
    assert many.fingerprint == alone.fingerprint
    assert many.facts["devices"] == 2
    assert steps_of(many) == [4, 8, 12]
    got = curve(many.path)
    assert list(want.index) == list(got.index)
    assert got.to_numpy() == pytest.approx(want.to_numpy(), rel=2e-4)

    options["seed"] = 1  # another run, in which the second process dies at step 7
    straight = train(made(), name="straight", **options)
    want = curve(straight.path)
    straight.path.rename(shop.root / "straight")
    many.path.rename(shop.root / "many")
    together(shop, tmp_path / "go.py", options, str(tmp_path / "died"), restarts=1)
    assert (tmp_path / "died").is_file()
    again = shop.resolve("runs/many", "runs")
    assert steps_of(again) == [4, 8, 12]
    assert curve(again.path).to_numpy() == pytest.approx(want.to_numpy(), rel=2e-4)


def test_a_batch_that_cannot_be_shared_is_refused(made, tiny, shop, tmp_path):
    made()
    script = tmp_path / "go.py"
    with pytest.raises(AssertionError, match="cannot be shared by 2 processes"):
        together(shop, script, {**tiny, **OPTIONS, "batch": 7})
