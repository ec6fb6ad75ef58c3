"""Averages along a run's way: when, what, and that a stop or a rollback leaves none of another path."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import d2c
from d2c.data.store import pixels
from d2c.diffusion.checkpoints import load_model
from d2c.errors import UsageError
from d2c.train import read_metrics, train
from d2c.train.best import matched
from d2c.train.draws import seed_of
from d2c.train.snapshots import best_snapshot, end_of, file_of, moments, settled, steps_of, weights_of
from d2c.train.step import Losses, Trainer
from tests.train.test_further import chosen_from


@given(st.integers(1, 5000), st.integers(0, 60))
def test_moments_are_even_and_end_at_the_end(steps, count):
    found = moments(steps, count)
    assert len(found) == min(count, steps)
    assert found == sorted(set(found))
    if found:
        assert found[-1] == steps
        gaps = np.diff([0, *found])
        assert gaps.max() - gaps.min() <= 1


@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.integers(0, 2), min_size=1, max_size=20))
def test_matched_takes_the_same_class_and_each_image_in_turn(wanted, pool):
    wanted, pool = np.array(wanted, np.int64), np.array(pool, np.int64)
    rows = matched(wanted, pool, 0)
    for label in np.unique(wanted):
        mine, there = rows[wanted == label], np.flatnonzero(pool == label)
        if len(there):
            assert set(mine) <= set(there)
            counts = np.bincount(mine, minlength=len(pool))[there]
            assert counts.max() - counts.min() <= 1


def weights(file):
    return load_model(file).state_dict()


def table_of(run):
    table = read_metrics(run.path)
    return {(int(r.step), r.name): r.value for r in table.itertuples(index=False) if r.name in ("held_out", "seen")}


def test_snapshots_are_the_averages_of_their_steps(shop, tiny, tmp_path):
    data, whole = chosen_from(shop)
    run = train(data, snapshots=4, **tiny)
    assert steps_of(run) == run.facts["snapshots"] == [3, 6, 9, 12]
    end, last = weights(run.path / "ema.safetensors"), weights(file_of(run.path, 12))
    assert all(torch.equal(end[k], last[k]) for k in end)
    short = train(data, workspace=tmp_path / "short", **{**tiny, "steps": 6})
    at, alone = weights(weights_of(run, 6)), weights(short.path / "ema.safetensors")
    assert all(torch.equal(at[k], alone[k]) for k in at)
    assert train(data, workspace=tmp_path / "none", **tiny).fingerprint != run.fingerprint
    found = table_of(run)
    assert sorted(found) == [(s, n) for s in (3, 6, 9, 12) for n in ("held_out", "seen")]
    assert best_snapshot(run) == min((3, 6, 9, 12), key=lambda s: found[s, "held_out"])
    # Both losses of one snapshot again, from the files alone.
    model, draw = load_model(weights_of(run, 9)), seed_of(0, 3, 0)
    held = np.arange(12, 24)
    of = held // 8
    ids, labels = np.arange(12), np.repeat(range(3), 4)
    for name, x, y in (
        ("held_out", pixels(whole, held, 16, 1), of),
        ("seen", pixels(data, (rows := ids[matched(of, labels, 0)]), 16, 1), labels[rows]),
    ):
        generator, total = torch.Generator().manual_seed(draw), 0.0
        for _ in range(4):
            t = torch.rand(12, generator=generator)
            noise = torch.randn(12, 1, 16, 16, generator=generator)
            x_, s = torch.from_numpy(x).float() / 127.5 - 1, t[:, None, None, None]
            with torch.no_grad():
                v = model(s * x_ + (1 - s) * noise, t, torch.from_numpy(y))
            total += float((v - (x_ - noise)).square().mean()) / 4
        assert found[9, name] == pytest.approx(total, rel=1e-4)


def test_stopped_and_resumed_keeps_the_same_snapshots(shop, tiny, tmp_path, monkeypatch):
    data, _ = chosen_from(shop)
    options = {**tiny, "snapshots": 6, "checkpoint_every": 5}
    straight = train(data, workspace=tmp_path / "straight", **options)
    original = Trainer.step

    def killed(self, n):
        original(self, n)
        if n == 9:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(data, name="run", **options)
    partial = shop.partial("runs", "run")
    assert steps_of(partial) == [2, 4, 6, 8]
    file_of(partial, 8).write_bytes(b"of another path")  # later than the checkpoint of step 5: made again
    monkeypatch.setattr(Trainer, "step", original)
    resumed = train(data, name="run", **options)
    assert steps_of(resumed) == [2, 4, 6, 8, 10, 12]
    assert table_of(resumed) == table_of(straight)
    for step in steps_of(resumed):
        assert file_of(resumed.path, step).read_bytes() == file_of(straight.path, step).read_bytes()


def test_a_rollback_and_a_time_limit_leave_only_what_was_trained(shop, tiny, monkeypatch):
    data, _ = chosen_from(shop)
    original, failed = Losses.forward, []

    def poisoned(self, *batch):
        losses = original(self, *batch)
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 8 and not failed:
            failed.append(True)
            return tuple(v * float("nan") for v in losses)
        return losses

    monkeypatch.setattr(Losses, "forward", poisoned)
    run = train(data, snapshots=4, rollback=1, **{**tiny, "log_every": 1})
    assert failed
    assert steps_of(run) == [3, 6, 9, 12]
    assert sorted(s for s, n in table_of(run) if n == "seen") == [3, 6, 9, 12]
    monkeypatch.setattr(Losses, "forward", original)
    stopped = train(data, snapshots=2, **{**tiny, "steps": 100_000, "time_limit": 0.01})
    assert steps_of(stopped) == [stopped.facts["steps"]]  # the moments of the whole were never reached


def test_with_the_best_average_kept_every_look_counts_for_it(shop, tiny):
    data, _ = chosen_from(shop)
    run = train(data, snapshots=3, keep_best=5, **tiny)
    found = table_of(run)
    assert sorted(s for s, n in found if n == "held_out") == [4, 5, 8, 10, 12]
    assert sorted(s for s, n in found if n == "seen") == [4, 8, 12]
    assert run.facts["best_step"] == end_of(run)


def test_without_held_out_images_there_is_no_gap_to_show(made, tiny):
    run = train(made("datasets"), snapshots=2, **tiny)
    assert {n for _, n in table_of(run)} == {"seen"}
    assert (steps_of(run), best_snapshot(run)) == ([6, 12], 0)
    assert run.facts["held_out"]["seen_in_training"]


def test_going_on_takes_the_snapshots_along(shop, tiny):
    data, _ = chosen_from(shop)
    first = train(data, snapshots=2, keep_state=True, **{**tiny, "steps": 6})
    more = train(data, snapshots=3, continue_from=first.name, **tiny)
    assert steps_of(more) == [3, 6, 8, 12]  # 4 was passed by the first run, which did not keep it
    assert file_of(more.path, 3).read_bytes() == file_of(first.path, 3).read_bytes()


def test_a_snapshot_is_sampled_and_a_step_that_is_not_there_is_refused(shop, tiny):
    data, _ = chosen_from(shop)
    run = train(data, snapshots=3, **tiny)
    common = {"count": 3, "steps": 1, "solver": "euler", "device": "cpu", "precision": "fp32", "quiet": True}
    early, end = d2c.sample(run, step=4, **common), d2c.sample(run, **common)
    assert (early.facts["step"], end.facts["step"]) == (4, 12)
    assert early.recipe["step"] == 4
    assert "step" not in end.recipe
    assert (early.path / "grid.webp").read_bytes() != (end.path / "grid.webp").read_bytes()
    assert d2c.sample(run, step=12, **common).fingerprint == end.fingerprint  # the last snapshot is the end
    assert d2c.sample(run, step=4, **common).path == early.path
    with pytest.raises(UsageError, match="no snapshot of step 5; there is: 4, 8, 12"):
        settled(run, 5)
    bare = train(data, **tiny)
    with pytest.raises(UsageError, match="no snapshots \\(train with --snapshots\\)"):
        d2c.sample(bare, step=4, **common)


def test_a_reg_model_keeps_snapshots_and_measures_nothing(made, tiny):
    """Held-out images have no class tokens, which such a model denoises too."""
    run = train(made(), reg=0.03, snapshots=2, **{**tiny, "steps": 2})
    assert (steps_of(run), table_of(run), best_snapshot(run)) == ([1, 2], {}, 0)
