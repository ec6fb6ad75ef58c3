import numpy as np
import pytest
import torch
from torch import nn

from d2c.errors import UsageError
from d2c.train.ema import EMA, gamma


def test_update_equals_the_scalar_recursion():
    model = nn.Linear(3, 2).double()
    ema = EMA(model, 0.9)
    expected = model.weight.detach().clone()
    for step in range(1, 31):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3).double())
        ema.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    assert torch.allclose(ema.model.weight, expected, atol=1e-12)


def test_warm_up_forgets_the_start():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1000.0)
    ema = EMA(model, 0.9999)
    nn.init.constant_(model.weight, 1.0)
    for step in range(1, 201):
        ema.update(step)
    assert abs(ema.model.weight.item() - 1.0) < 1e-3  # without the warm-up 98 % of the start would be left


def test_average_is_apart_from_the_model_and_in_eval_mode():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    ema = EMA(model, 0.99)
    before = ema.model[0].weight.clone()
    nn.init.zeros_(model[0].weight)
    assert torch.equal(ema.model[0].weight, before)
    assert not ema.model.training
    assert not any(p.requires_grad for p in ema.model.parameters())


def test_frozen_parameters_and_buffers_stay():
    model = nn.BatchNorm1d(2)
    model.weight.requires_grad_(False)
    ema = EMA(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(7.0)
        model.bias.fill_(7.0)
    ema.update(1)
    assert ema.model.weight.tolist() == [1.0, 1.0]
    assert ema.model.bias[0] > 0


@pytest.mark.parametrize("width", [0.02, 0.05, 0.1, 0.2])
def test_power_form_has_the_width_asked_for(width):
    """The weights that it gives to the steps, found by running it on one-hot steps, have mean and spread by EDM2."""
    steps = 4000
    model = nn.Linear(1, 1, bias=False)
    average = EMA(model, 0.9999, form="power", width=width)
    weight, mass = np.zeros(steps), 1.0
    for step in range(steps, 0, -1):
        decay = average.at(step)
        weight[step - 1] = mass * (1 - decay)
        mass *= decay
    assert weight.sum() == pytest.approx(1, abs=1e-9)  # nothing is left of the random start
    at = (np.arange(steps) + 0.5) / steps
    mean = (weight * at).sum()
    assert np.sqrt((weight * (at - mean) ** 2).sum()) == pytest.approx(width, rel=0.01)


@pytest.mark.parametrize("width", [0.0, 0.3])
def test_power_form_refuses_what_it_cannot_have(width):
    with pytest.raises(UsageError, match=r"0\.288"):
        gamma(width)
