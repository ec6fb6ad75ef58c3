import pytest
import torch

from d2c.diffusion.dit import DiT
from d2c.diffusion.guiding import Guided, Plain, Quick, fits, network
from d2c.diffusion.samplers import evaluations, noise_for, sample

CPU = torch.device("cpu")
SHAPE = (3, 8, 8)


class Counted:
    """A network that says how many images it was asked about."""

    def __init__(self, inner):
        self.inner, self.path, self.num_classes, self.asked = inner, inner.path, inner.num_classes, []

    def prepare(self, labels):
        return self.inner.prepare(labels)

    def ask(self, x, t, condition):
        self.asked.append((len(x), float(t)))
        return self.inner.ask(x, t, condition)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": "repa", "align_dim": 8, "align_depth": 1},
        {"learn_sigma": True, "channels": 3},
        {"text_dim": 6, "text_length": 3},
        {"qk_norm": True},
        {"family": "DiT", "learn_sigma": True},
    ],
)
@pytest.mark.parametrize(("solver", "guidance"), [("heun", 2.0), ("euler", 1.0), ("ddim", 1.5)])
def test_the_quick_form_draws_the_module_s_images(tiny, options, solver, guidance):
    model, y = tiny(**options), torch.tensor([3, 0, 3, 1, 2])
    assert fits(model)
    noise = noise_for(0, range(5), SHAPE)
    quick = network(model, CPU, "fp32")
    assert isinstance(quick, Quick)
    ways = [
        sample(each, noise, y, steps=6, solver=solver, guidance=guidance, interval=(0.0, 0.8))
        for each in (Plain(model), quick)
    ]
    assert ways[1].dtype == torch.float32
    torch.testing.assert_close(*ways, rtol=1e-3, atol=1e-4)


def test_in_bf16_the_images_are_near_and_the_latents_stay_fp32(tiny):
    model, y, noise = tiny(), torch.tensor([0, 1, 2]), noise_for(0, range(3), SHAPE)
    exact = sample(Plain(model), noise, y, steps=8, guidance=2.0)
    for quick in (Quick(model, CPU, "bf16"), Plain(model, "bf16")):
        found = sample(quick, noise, y, steps=8, guidance=2.0)
        assert found.dtype == torch.float32
        assert not torch.equal(found, found.bfloat16().float())
        assert (found - exact).norm() / exact.norm() < 0.02


def test_a_model_with_other_weights_is_asked_as_it_is(tiny):
    model = tiny()
    model.registers = torch.nn.Parameter(torch.zeros(2))
    assert not fits(model)
    assert isinstance(network(model, CPU, "fp32"), Plain)

    class Another(DiT):
        def forward(self, x, t, y):
            return super().forward(x, 1 - t, y)

    model = tiny()
    model.__class__ = Another
    assert not fits(model)


@pytest.mark.parametrize("solver", ["euler", "heun", "sde"])
def test_outside_of_the_interval_guidance_costs_and_does_nothing(tiny, solver):
    model, noise, y = tiny(), noise_for(0, range(2), SHAPE), torch.tensor([0, 1])
    counted = Counted(Plain(model))
    sample(counted, noise, y, steps=10, solver=solver, guidance=3.0, interval=(0.3, 0.7))
    assert len(counted.asked) == evaluations(10, solver)
    for size, t in counted.asked:  # SiT's t is 1 − σ; the ends belong to the interval
        assert size == (4 if 0.3 - 1e-5 <= 1 - t <= 0.7 + 1e-5 else 2)
    assert {size for size, _ in counted.asked} == {2, 4}
    if solver != "sde":
        nowhere = sample(model, noise, y, steps=10, solver=solver, guidance=3.0, interval=(0.31, 0.32))
        torch.testing.assert_close(nowhere, sample(model, noise, y, steps=10, solver=solver))


def test_the_interval_is_a_noise_level_on_every_clock(tiny):
    """The same interval means the same steps on SiT's clock and on REPA's; on DiT's it is √(1 − ᾱ)."""
    x, y = torch.zeros(1, *SHAPE), torch.tensor([0])
    for path, options in (("sit", {}), ("repa", {"path": "repa"}), ("dit", {"family": "DiT"})):
        counted = Counted(Plain(tiny(**options)))
        assert counted.path.name == path
        sample(counted, x, y, steps=50, solver="euler", guidance=2.0, interval=(0.0, 0.7))
        times = torch.tensor([t for _, t in counted.asked])
        level = counted.path.sigma(times.long() if path == "dit" else times)
        assert [size == 2 for size, _ in counted.asked] == (level <= 0.7 + 1e-6).tolist()


def test_autoguidance_pulls_away_from_the_guide(tiny):
    good, bad, t = tiny(seed=0), tiny(seed=1), torch.tensor([0.4])
    x, y = torch.randn(2, *SHAPE), torch.tensor([1, 2])
    with torch.inference_mode():
        own, worse = good(x, t, y), bad(x, t, y)
        field = Guided(Plain(good), y, 2.5, guide=Plain(bad))
        torch.testing.assert_close(field(x, t, 0.6), worse + 2.5 * (own - worse))
        torch.testing.assert_close(Guided(Plain(good), y, 2.5, (0.7, 1.0), Plain(bad))(x, t, 0.6), own)
    counted = Counted(Plain(bad))
    sample(good, x, y, steps=4, solver="euler", guidance=2.0, guide=counted)
    assert [size for size, _ in counted.asked] == [2] * 4  # never for no class
