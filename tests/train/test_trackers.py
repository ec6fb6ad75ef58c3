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


def test_a_tracker_that_is_not_installed_is_one_line(tmp_path, monkeypatch):
    real = importlib.import_module("accelerate.tracking").TrackioTracker

    def missing(*args, **options):
        raise ImportError("trackio")

    monkeypatch.setattr(real, "__init__", missing)
    with pytest.raises(UsageError, match="pip install trackio"):
        Trackers(TrainConfig(trackers="trackio"), tmp_path)


def test_a_tracker_that_fails_does_not_stop_the_run(tmp_path, capsys):
    with Trackers(TrainConfig(trackers="tensorboard"), tmp_path) as trackers:
        (tracker,) = trackers._trackers

        def gone(*args, **options):
            raise OSError("the network is gone")

        tracker.log = gone
        trackers.log(1, {"loss": 1.0})
        trackers.log(2, {"loss": 1.0})
    assert capsys.readouterr().err.count("no longer follows this run (the network is gone)") == 1
