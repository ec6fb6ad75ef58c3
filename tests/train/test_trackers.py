import importlib

import pytest

from d2c.errors import UsageError
from d2c.train import train
from d2c.train.trackers import Trackers, asked
from d2c.train.verb import TrainConfig

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
pytest.importorskip("accelerate")


def test_tensorboard_reads_what_the_metrics_file_holds(made, tiny):
    from d2c.train.metrics import read_metrics

    run = train(made(), trackers="tensorboard", **tiny)
    events = event_accumulator.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    metrics = read_metrics(run.path)
    for name in ("loss", "lr", "grad_norm"):
        rows = metrics[metrics["name"] == name]
        told = events.Scalars(name)
        assert [e.step for e in told] == rows["step"].tolist()
        assert [e.value for e in told] == pytest.approx(rows["value"].tolist(), rel=1e-5)


def test_an_unknown_tracker_is_refused():
    with pytest.raises(UsageError, match="no tracker 'paper'; known: tensorboard"):
        asked("tensorboard, paper")


def test_a_tracker_that_is_not_there_is_one_line_before_any_work(made, tiny, shop, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "trackio" else find(name))
    for words, said in (("trackio", "pip install trackio"), ("tensorboard,paper", "no tracker 'paper'")):
        with pytest.raises(UsageError, match=said):
            train(made(), name="run", trackers=words, **tiny)
        assert not shop.partial("runs", "run").exists()


def test_a_tracker_that_does_not_start_does_not_stop_the_run(tmp_path, monkeypatch, capsys):
    def gone(*args, **options):
        raise ValueError("no account\nand more of it")

    monkeypatch.setattr(importlib.import_module("accelerate.tracking").TensorBoardTracker, "start", gone)
    with Trackers(TrainConfig(trackers="tensorboard"), tmp_path) as trackers:
        trackers.log(1, {"loss": 1.0})
    assert "d2c: tensorboard does not follow this run (no account)" in capsys.readouterr().err


def test_a_run_that_goes_on_is_one_curve(tmp_path):
    config = TrainConfig(trackers="tensorboard")
    with Trackers(config, tmp_path) as trackers:
        for step in (1, 2, 3, 4):
            trackers.log(step, {"loss": 1.0})
    (tmp_path / "state" / "000000002").mkdir(parents=True)
    with Trackers(config, tmp_path) as trackers:
        trackers.log(3, {"loss": 2.0})
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1.0), (2, 1.0), (3, 2.0)]


def test_wandb_and_trackio_find_the_run_again(tmp_path):
    from d2c.train.trackers import _open

    folder = tmp_path / ".partial-first"
    folder.mkdir()
    one, two = _open("wandb", folder).init_kwargs, _open("wandb", folder).init_kwargs
    assert one == two == {"name": "first", "id": one["id"], "resume": "allow"}
    assert _open("trackio", folder).init_kwargs == {"name": f"first-{one['id']}", "resume": "allow"}


def test_a_tracker_that_fails_does_not_stop_the_run(tmp_path, capsys):
    with Trackers(TrainConfig(trackers="tensorboard"), tmp_path) as trackers:
        (tracker,) = trackers._trackers

        def gone(*args, **options):
            raise OSError("the network is gone")

        tracker.log = gone
        trackers.log(1, {"loss": 1.0})
        trackers.log(2, {"loss": 1.0})
    assert capsys.readouterr().err.count("no longer follows this run (the network is gone)") == 1
