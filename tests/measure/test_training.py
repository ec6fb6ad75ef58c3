import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.evaluate.classifier import read
from d2c.measure.gradients import el2n
from d2c.measure.history import History
from d2c.measure.training import Plan, batches, train


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.integers(2, 70), st.integers(0, 9))
def test_an_epoch_holds_every_image_once_in_parts_of_two_or_more(images, batch, seed):
    parts = batches(images, batch, torch.Generator().manual_seed(seed))
    assert torch.cat(parts).sort().values.tolist() == list(range(images))
    sizes = [len(part) for part in parts]
    assert min(sizes) >= 2
    assert max(sizes) <= max(batch, 3)
    assert max(sizes) - min(sizes) <= 1


def stripes(n, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % 2
    images = draw.integers(0, 80, (n, 1, 8, 8)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 2 + 3 * label : 4 + 3 * label] += 120
    return images, labels


PLAN = Plan(6, 2, 8, 3e-3, 0, "all", "fp32", torch.device("cpu"))


def trained(tmp_path, plan=PLAN, wrong=()):
    images, labels = stripes(40)
    labels[list(wrong)] = 1 - labels[list(wrong)]
    rows = np.arange(2, 40)
    history = History(len(rows), 2, plan.epochs, 5, tmp_path / "last")
    seen, curve = [], []
    model, early = train(
        images,
        rows,
        labels[rows],
        2,
        plan,
        history,
        each=lambda n, loss: seen.append(n),
        epoch_done=lambda *row: curve.append(row),
    )
    return model, early, history, seen, curve


def test_it_learns_and_tells_of_every_step(tmp_path):
    model, early, history, seen, curve = trained(tmp_path)
    assert sum(seen) == 6 * 38
    assert [row[0] for row in curve] == list(range(6))
    assert curve[-1][1] < curve[0][1]
    assert curve[-1][2] > 0.95
    unseen, labels = stripes(40, seed=1)
    assert (read(model, unseen)[1] == labels).mean() > 0.95
    assert early.el2n.shape == early.grand.shape == (38,)
    assert (early.grand > 0).all()
    assert history.learnt.all()
    assert (history.changes[:4] > 0).all()


def test_a_mislabelled_image_stands_out(tmp_path):
    _, early, history, *_ = trained(tmp_path, wrong=[10, 31])
    strange = {8, 29}  # rows of the images trained on
    assert set(np.argsort(-early.el2n)[:2]) == strange
    assert {29} < set(np.argsort(-early.grand)[:10].tolist())
    assert early.grand[[8, 29]].mean() > early.grand.mean()
    assert history.forgetting()[[8, 29]].min() > np.median(history.forgetting())


def test_a_training_repeats_itself_and_another_seed_is_another(tmp_path):
    one, again = (trained(tmp_path) for _ in range(2))
    np.testing.assert_array_equal(one[1].el2n, again[1].el2n)
    np.testing.assert_array_equal(one[2].changes, again[2].changes)
    other = trained(tmp_path, Plan(6, 2, 8, 3e-3, 1, "all", "fp32", torch.device("cpu")))
    assert (other[1].el2n != one[1].el2n).any()


def test_reading_early_changes_nothing_of_the_training(tmp_path):
    soon, late = (
        trained(tmp_path, Plan(6, early, 8, 3e-3, 0, "last", "fp32", torch.device("cpu"))) for early in (1, 6)
    )
    np.testing.assert_array_equal(soon[2].changes, late[2].changes)
    assert soon[1].el2n.mean() > late[1].el2n.mean()
    images, labels = stripes(40)
    with torch.no_grad():
        scores = late[0](torch.from_numpy(images[2:]).float() / 127.5 - 1)
    np.testing.assert_allclose(late[1].el2n, el2n(scores, torch.from_numpy(labels[2:])), rtol=1e-4, atol=1e-6)


def test_bf16_trains_as_well(tmp_path):
    *_, curve = trained(tmp_path, Plan(6, 2, 8, 3e-3, 0, "last", "bf16", torch.device("cpu")))
    assert curve[-1][2] > 0.9


def test_the_global_generator_is_left_alone(tmp_path):
    before = torch.random.get_rng_state()
    trained(tmp_path)
    assert (torch.random.get_rng_state() == before).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_repeats_itself(tmp_path):
    plan = Plan(6, 2, 8, 3e-3, 0, "all", "bf16", torch.device("cuda"))
    one, again = (trained(tmp_path, plan) for _ in range(2))
    np.testing.assert_array_equal(one[1].grand, again[1].grand)
    np.testing.assert_array_equal(one[2].changes, again[2].changes)
