import pytest
import torch

from d2c.diffusion.projector import projector


@pytest.mark.parametrize(("width", "hidden"), [(192, 768), (384, 1536), (512, 2048), (1152, 2048)])
def test_three_layers_as_in_repa(width, hidden):
    net = projector(width, 10)
    assert [tuple(net[i].weight.shape) for i in (0, 2, 4)] == [(hidden, width), (hidden, hidden), (10, hidden)]
    assert net(torch.zeros(2, 3, width)).shape == (2, 3, 10)
