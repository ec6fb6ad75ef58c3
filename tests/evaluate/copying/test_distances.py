import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.evaluate.copying.distances import near, near_by_class, nearest, of_training
from d2c.evaluate.copying.measures import closeness


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 30), st.integers(1, 40))
def test_equals_all_distances_one_by_one(seed, queries, bank, chunk):
    draw = np.random.default_rng(seed)
    q, b = (draw.normal(size=(n, 5)).astype(np.float32) for n in (queries, bank))
    every = np.sqrt(((q[:, None].astype(np.float64) - b[None]) ** 2).sum(-1))
    index, distance = nearest(q, b, chunk=chunk)
    assert index.tolist() == every.argmin(1).tolist()
    np.testing.assert_allclose(distance, every.min(1), rtol=1e-6)


def test_a_copy_far_from_the_origin_is_found_at_exactly_nothing():
    b = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32) + 1000
    index, distance = nearest(b[[7, 31]], b)
    assert (index.tolist(), distance.tolist()) == ([7, 31], [0.0, 0.0])


def test_ties_go_to_the_lower_index():
    b = np.float32([[9, 9], [0, 2], [2, 0], [1, 9], [0, 2]])
    assert nearest(np.ones((2, 2), np.float32), b, chunk=2)[0].tolist() == [1, 1]


def test_closeness_says_near_one_for_real_and_near_zero_for_copies():
    draw = np.random.default_rng(0)
    held_out = draw.uniform(1, 2, 1000).astype(np.float32)
    real = closeness(draw.uniform(1, 2, 1000).astype(np.float32), held_out, np.arange(1000) % 10)
    assert real.ratio == pytest.approx(1, abs=0.05)
    assert real.share_below == pytest.approx(0.01, abs=0.015)
    assert real.hit == 10
    copies = closeness(np.full(20, 0.01, np.float32), held_out, np.zeros(20, np.int64))
    assert (copies.share_below, copies.hit) == (1.0, 1)
    assert copies.ratio < 0.01


def test_closeness_without_a_control_says_so_instead_of_dividing():
    few = closeness(np.zeros(20, np.float32), np.ones(99, np.float32), np.zeros(20, np.int64))
    assert (few.ratio, few.share_below) == (0.0, None)
    distances, hit = np.ones(3, np.float32), np.arange(3)
    alone = closeness(distances, np.zeros(0, np.float32), hit)
    assert (alone.median, alone.ratio, alone.share_below) == (1.0, None, None)
    assert closeness(distances, np.zeros(4, np.float32), hit).ratio is None


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 20), st.integers(1, 3), st.integers(1, 9), st.booleans()
)
def test_an_image_counts_once_however_many_forms_it_has(seed, queries, images, forms, k, rounded):
    draw = np.random.default_rng(seed)
    q, *bank = (draw.normal(size=(n, 4)).astype(np.float32) for n in (queries, *[images] * forms))
    if rounded:  # many ties
        q, bank = q.round(), [form.round() for form in bank]
    every = np.min([np.linalg.norm(q[:, None].astype(np.float64) - form[None], axis=-1) for form in bank], axis=0)
    found = near(q, bank, k)
    k = min(k, images)
    assert found.index.shape == (queries, k)
    assert all(len(set(row)) == k for row in found.index.tolist())
    np.testing.assert_allclose(found.distance, np.sort(every, axis=1)[:, :k], rtol=1e-5, atol=2e-3)
    np.testing.assert_allclose(found.distance, np.take_along_axis(every, found.index, 1), rtol=1e-5, atol=2e-3)
    np.testing.assert_allclose(found.first, every.min(1), rtol=1e-6)
    second = np.sort(every, axis=1)[:, 1] if k > 1 else found.second
    np.testing.assert_allclose(found.second, second, rtol=1e-6)


def test_by_class_looks_at_training_images_of_that_class_alone():
    draw = np.random.default_rng(0)
    q, bank = (draw.normal(size=(n, 3)).astype(np.float32) for n in (40, 30))
    labels, of = np.arange(40) % 5, np.arange(30) % 4
    of[of == 3] = 2
    of[0] = 3  # a class of one
    found, has = near_by_class(q, labels, [bank], of, 2)
    assert has.tolist() == (labels < 4).tolist()
    for row, i in enumerate(np.flatnonzero(has)):
        theirs = np.flatnonzero(of == labels[i])
        d = np.linalg.norm(q[i].astype(np.float64) - bank[theirs], axis=1)
        assert found.index[row, 0] == theirs[d.argmin()]
        assert found.first[row] == pytest.approx(d.min(), rel=1e-5)
        assert found.second[row] == (pytest.approx(np.sort(d)[1], rel=1e-5) if len(d) > 1 else np.inf)


def test_training_images_do_not_find_themselves_but_do_find_their_twins():
    bank = np.float32([[0, 0], [3, 0], [3, 4], [0, 0]])
    every = np.arange(4)
    assert of_training([bank], every).tolist() == [0, 3, 4, 0]
    mirrored = np.float32([[9, 9], [3, 5], [9, 9], [9, 9]])  # of the second: near the third
    assert of_training([bank, mirrored], every).tolist() == [0, 3, 1, 0]
    assert of_training([bank], np.array([2, 2])).tolist() == [np.inf, np.inf, 4, np.inf]
    assert of_training([bank[:1]], every[:1]).tolist() == [np.inf]
