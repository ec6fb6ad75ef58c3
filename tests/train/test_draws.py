import torch
from hypothesis import given
from hypothesis import strategies as st

from d2c.diffusion.paths import PATHS
from d2c.train.draws import draw, indices, seed_of

CPU = torch.device("cpu")
SIT = PATHS["sit"]


@given(n=st.integers(1, 40), start=st.integers(0, 200), count=st.integers(0, 90), cut=st.integers(0, 90))
def test_indices_do_not_depend_on_how_they_are_asked_for(n, start, count, cut):
    cut = min(cut, count)
    whole = indices(3, n, start, count)
    parts = torch.cat([indices(3, n, start, cut), indices(3, n, start + cut, count - cut)])
    assert torch.equal(whole, parts)


@given(n=st.integers(1, 40), epoch=st.integers(0, 5), seed=st.integers(0, 2**32))
def test_each_epoch_reads_every_image_once(n, epoch, seed):
    assert sorted(indices(seed, n, epoch * n, n).tolist()) == list(range(n))


def test_epochs_and_seeds_differ():
    first = indices(0, 50, 0, 50)
    assert not torch.equal(first, indices(0, 50, 50, 50))
    assert not torch.equal(first, indices(1, 50, 0, 50))


def test_seeds_are_distinct_and_fit_a_generator():
    seeds = {seed_of(s, stream, i) for s in range(5) for stream in range(2) for i in range(50)}
    assert len(seeds) == 500
    assert all(0 <= s < 2**63 for s in seeds)


def test_draw_depends_on_seed_and_step_alone():
    def one(seed, step):
        return draw(seed, step, SIT, (4, 1, 8, 8), drop=0.5, flip=True, posterior=True, device=CPU)

    first, again, other = one(0, 3), one(0, 3), one(0, 4)
    for name in ("t", "noise", "dropped", "flipped", "posterior"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.noise, other.noise)
    assert not torch.equal(first.noise, first.posterior)


def test_flip_and_posterior_do_not_move_the_other_draws():
    plain = draw(0, 3, SIT, (64, 1, 2, 2), drop=0.1, flip=False, posterior=False, device=CPU)
    full = draw(0, 3, SIT, (64, 1, 2, 2), drop=0.1, flip=True, posterior=True, device=CPU)
    assert torch.equal(plain.noise, full.noise)
    assert torch.equal(plain.dropped, full.dropped)
    assert not plain.flipped.any()
    assert plain.posterior is None
    assert full.flipped.any()


def test_drop_rate():
    drops = torch.cat(
        [draw(0, s, SIT, (100, 1, 1, 1), drop=0.1, flip=False, posterior=False, device=CPU).dropped for s in range(50)]
    )
    assert 0.08 < drops.float().mean() < 0.12
