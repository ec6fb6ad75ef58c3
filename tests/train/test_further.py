import dataclasses
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from d2c.artifacts import produce
from d2c.config import configure
from d2c.diffusion.checkpoints import load_model
from d2c.diffusion.sample import _guide as guide_of
from d2c.errors import D2CError, UsageError
from d2c.train import TrainConfig, further, read_metrics, train
from d2c.train.best import METRIC, Best, _balanced, best_step, held_out
from d2c.train.metrics import MetricsFile
from tests.train.conftest import make
from tests.train.test_verb import curve, digest


def test_trained_longer_is_as_if_asked_for_at_once(made, tiny, tmp_path):
    data = made()
    straight = train(data, workspace=tmp_path / "straight", **tiny)
    first = train(data, name="first", keep_state=True, **{**tiny, "steps": 5})
    longer = train(data, name="longer", continue_from="first", **tiny)
    # The shorter run also looked at its own last step: the books differ by that one, the weights do not.
    table, whole = read_metrics(longer.path), read_metrics(straight.path)
    assert digest(longer) == digest(straight)
    late = [t[(t["step"] > 6) & (t["name"] == "loss")]["value"].tolist() for t in (table, whole)]
    assert late[0] == late[1]
    assert (longer.facts["steps"], longer.facts["images_seen"]) == (12, 48)
    assert [p["name"] for p in longer.record["parents"]] == ["tiny", "first"]
    assert longer.recipe["continue_from"] == first.fingerprint[:12]
    assert (longer.path / "samples" / "000005.webp").is_file()
    assert longer.facts["warnings"] == []
    average = "state/000000005/ema.safetensors"  # says itself which model it is, so that it can guide
    assert guide_of(average, first, first.workspace).file == first.path / average
    assert load_model(first.path / average).config == load_model(first.path / "ema.safetensors").config
    assert table["wall_seconds"].is_monotonic_increasing


def test_without_a_checkpoint_the_average_is_gone_on_from_and_that_is_said(made, tiny, shop, at_first):
    data = made()
    first = train(data, name="first", **{**tiny, "steps": 6})
    begun = at_first()
    longer = train(data, name="longer", continue_from="first", **{**tiny, "warmup": 4})
    average = load_file(first.path / "ema.safetensors")
    assert all(torch.equal(v, average[k]) for k, v in begun["weights"].items() if k in average)
    assert begun["steps"] == [7, 8, 9, 10, 11, 12]
    rates = [begun["rate"](n) for n in (7, 8, 9, 10, 11)]
    assert np.allclose(np.array(rates) / rates[-1], [0.25, 0.5, 0.75, 1.0, 1.0])
    (said,) = longer.facts["warnings"]
    assert "kept no checkpoint" in said
    assert "step 6" in said
    assert list(read_metrics(longer.path)["step"].unique()) == [3, 6, 9, 12]


@pytest.fixture
def at_first(monkeypatch):
    """What the trainer holds before the first step that it makes."""
    from d2c.train.step import Trainer

    def arrange():
        seen = {"steps": []}
        original = Trainer.step

        def step(self, n):
            if not seen["steps"]:
                seen["weights"] = {k: v.clone() for k, v in self.model.state_dict().items()}
                seen["rate"] = self.rate
            seen["steps"].append(n)
            original(self, n)

        monkeypatch.setattr(Trainer, "step", step)
        return seen

    return arrange


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 4}, "has 4 steps already"),
        ({"steps": 9, "model": "SiT-Ti/4"}, "model: 'SiT-Ti/8' → 'SiT-Ti/4'"),
        ({"steps": 9, "batch": 6}, "batch: 4 → 6"),
        ({"steps": 9, "use_text": False}, "use_text"),
    ],
)
def test_what_cannot_be_gone_on_from_is_one_line(made, tiny, options, said):
    data = made()
    train(data, name="first", **{**tiny, "steps": 4})
    with pytest.raises(UsageError, match="first") as problem:
        train(data, continue_from="first", **{**tiny, **options})
    assert said in str(problem.value)
    assert "\n" not in str(problem.value)


def test_other_data_is_refused_by_name(made, tiny, shop):
    train(made(), name="first", **{**tiny, "steps": 4})
    other = make(shop, "condensed", side=9, name="other")
    with pytest.raises(UsageError, match="was trained on condensed/tiny, not on condensed/other"):
        train(other, continue_from="first", **tiny)


def test_a_run_that_is_not_there_is_named(made, tiny):
    with pytest.raises(D2CError, match="no runs called 'nowhere'"):
        train(made(), continue_from="nowhere", **tiny)


def test_longer_gives_the_very_command(made, tiny):
    run = train(made(), name="first", time_limit=50.0, **{**tiny, "steps": 4})
    data, config = further.longer(run, 9)
    assert data.name == "tiny"
    assert (config.steps, config.continue_from, config.time_limit) == (9, "first", 0.0)
    assert (config.model, config.batch, config.log_every) == ("SiT-Ti/8", 4, 3)
    settings = dataclasses.asdict(config)
    assert train(data, name="more", **settings).facts["steps"] == 9


def test_a_parent_that_is_gone_is_named(made, tiny, tmp_path):
    run = train(made(), workspace=tmp_path / "elsewhere", name="first", **{**tiny, "steps": 2})
    with pytest.raises(D2CError, match="condensed/tiny, which runs/first was trained on, is not here"):
        further.longer(run, 9)


# ------------------------------------------------------------------------------------------------ the best average


def chosen_from(shop, split="", name="small"):
    """A condensed set that is a part (sample_ids 0, 1, 2 are 0-3 of each) of a data set in the workspace."""
    whole = make(shop, "datasets", labels=[0] * 8 + [1] * 8 + [2] * 8, name="whole")
    if split:
        table = pd.read_parquet(whole.path / "samples.parquet")
        table["split"] = ["train"] * 20 + [split] * 4
        table.to_parquet(whole.path / "samples.parquet", index=False)
    part = make(shop, "condensed", name="part")

    def write(build):
        for file in part.path.iterdir():
            if file.name != "artifact.json":
                target = build.folder / file.name
                (shutil.copy if file.is_file() else shutil.copytree)(file, target)
        build.note(**part.facts)

    return produce(shop, "condensed", TrainConfig(), write, stem=name, name=name, parents=[whole], quiet=True), whole


def test_held_out_images_are_those_that_were_not_chosen(shop):
    data, whole = chosen_from(shop)
    found = held_out(data, ("zero", "one", "two"), 0)
    assert found.source.name == whole.name
    assert found.seen == ""
    assert sorted(found.ids) == list(range(12, 24))
    assert [int(v) for v in found.labels] == [int(i // 8) for i in found.ids]


def test_a_test_split_goes_before_the_rest(shop):
    data, _ = chosen_from(shop, split="test")
    assert sorted(held_out(data, ("zero", "one", "two"), 0).ids) == [20, 21, 22, 23]


def test_without_the_data_set_it_is_training_images_and_says_so(made, tiny):
    data = made()
    found = held_out(data, ("zero", "one", "two"), 0)
    assert (found.source.name, len(found.ids)) == ("tiny", 12)
    assert "is not in the workspace" in found.seen
    run = train(data, keep_best=4, **tiny)
    assert run.facts["held_out"]["seen_in_training"] is True
    assert "is not in the workspace" in run.facts["held_out"]["why"]


def test_balanced_takes_a_first_of_each_class_before_a_second(monkeypatch):
    monkeypatch.setattr(sys.modules["d2c.train.best"], "MOST", 6)
    ids = np.arange(100, 130)
    labels = np.array([0] * 24 + [1] * 4 + [2] * 2)
    kept, of = _balanced(ids, labels, 3)
    assert sorted(of) == [0, 0, 1, 1, 2, 2]
    assert (np.diff(kept) > 0).all()


def test_the_average_that_did_best_is_kept(shop, tiny, monkeypatch):
    """Looks at 3, 6, 9, 12 are given values, of which the second is the best once smoothed."""
    data, _ = chosen_from(shop)
    given = iter([3.0, 1.0, 4.0, 4.0])
    seen = {}

    def measure(self):
        seen[len(seen)] = {k: v.clone() for k, v in self.trainer.average.model.state_dict().items()}
        return next(given)

    monkeypatch.setattr(Best, "measure", measure)
    run = train(data, keep_best=3, **tiny)
    assert run.facts["best_step"] == 6
    assert run.facts["best_loss"] == pytest.approx((1 + 3 / 2) / 1.5)
    assert run.facts["held_out"]["seen_in_training"] is False
    kept = load_model(run.path / "ema.safetensors").state_dict()
    assert all(torch.equal(kept[k], v) for k, v in seen[1].items())
    assert not torch.equal(kept["final_layer.linear.weight"], seen[3]["final_layer.linear.weight"])
    assert not (run.path / "best").exists()
    values = read_metrics(run.path)
    assert values[values["name"] == METRIC]["step"].tolist() == [3, 6, 9, 12]


def test_stopped_and_resumed_keeps_the_same_average(shop, tiny, monkeypatch, tmp_path):
    from d2c import progress
    from d2c.errors import Cancelled
    from d2c.train.step import Trainer

    data, _ = chosen_from(shop)
    straight = train(data, keep_best=2, workspace=tmp_path / "straight", **tiny)
    original = Trainer.step

    def step(self, n):
        original(self, n)
        if n == 7:
            progress._cancel.set()

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(Cancelled):
        train(data, keep_best=2, name="run", **tiny)
    progress._cancel.clear()
    monkeypatch.setattr(Trainer, "step", original)
    resumed = train(data, keep_best=2, name="run", **tiny)
    assert curve(resumed.path) == curve(straight.path)
    assert digest(resumed) == digest(straight)
    assert resumed.facts["best_step"] == straight.facts["best_step"]


def test_the_best_of_a_run_that_was_set_back_outlives_those_of_the_attempt_before(made, tiny, tmp_path):
    run = train(made(), **{**tiny, "steps": 1})
    best = Best.__new__(Best)
    best.folder, best.plan = tmp_path, SimpleNamespace(classes=("a",))
    best.trainer = SimpleNamespace(average=SimpleNamespace(model=load_model(run.path / "ema.safetensors")))
    for step in (100, 200, 210):
        MetricsFile(tmp_path, upto=step).add(step, step, 0.0, {METRIC: 1000.0 - step})
        best.keep(step)
    MetricsFile(tmp_path, upto=150).add(160, 160, 0.0, {METRIC: 700.0})
    best.keep(160)
    assert [int(file.stem) for file in sorted((tmp_path / "best").iterdir())] == [160]


def test_a_run_that_fails_at_its_very_end_keeps_the_best_when_it_goes_on(shop, tiny, monkeypatch):
    from d2c.train import run as running

    data, _ = chosen_from(shop)
    given = iter([1.0, 3.0, 4.0, 4.0])
    monkeypatch.setattr(Best, "measure", lambda self: next(given))

    def full(folder):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(running, "finish_metrics", full)
        with pytest.raises(D2CError, match="is full"):
            train(data, keep_best=3, name="run", **tiny)
    given = iter([4.0, 4.0])
    run = train(data, keep_best=3, name="run", **tiny)
    assert run.facts["best_step"] == 3
    assert not (run.path / "best").exists()


def test_the_held_out_loss_is_that_of_ten_lines(shop, tiny):
    """One look at the end, measured again from the files alone."""
    from d2c.data.store import pixels
    from d2c.train.draws import seed_of

    data, whole = chosen_from(shop)
    run = train(data, keep_best=12, **tiny)
    model = load_model(run.path / "ema.safetensors")
    ids = np.arange(12, 24)
    x = torch.from_numpy(pixels(whole, ids, 16, 1)).float() / 127.5 - 1
    generator = torch.Generator().manual_seed(seed_of(0, 3, 0))
    total = 0.0
    for _ in range(4):
        t = torch.rand(12, generator=generator)
        noise = torch.randn(x.shape, generator=generator)
        s = t[:, None, None, None]
        with torch.no_grad():
            v = model(s * x + (1 - s) * noise, t, torch.from_numpy(ids // 8))
        total += float((v - (x - noise)).square().mean())
    table = read_metrics(run.path)
    assert table[table["name"] == METRIC]["value"].iloc[0] == pytest.approx(total / 4, rel=1e-4)


def test_nothing_looked_at_yet(tmp_path):
    assert best_step(tmp_path)[0] == 0
    MetricsFile(tmp_path, upto=0).add(5, 20, 1.0, {METRIC: 2.0})
    assert best_step(tmp_path) == (5, 2.0)


def test_configure_knows_the_options():
    assert configure(TrainConfig, None, {"keep_best": 10, "continue_from": "x"}).keep_best == 10
    assert {f.name for f in dataclasses.fields(TrainConfig)} >= further.MAY_CHANGE
