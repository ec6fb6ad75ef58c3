import pytest
import torch

from d2c.diffusion.projector import projector


@pytest.mark.parametrize(("width", "hidden"), [(192, 768), (384, 1536), (512, 2048), (1152, 2048)])
def test_three_layers_as_in_repa(width, hidden):
    net = projector(width, 10)
    assert [tuple(net[i].weight.shape) for i in (0, 2, 4)] == [(hidden, width), (hidden, hidden), (10, hidden)]
    assert net(torch.zeros(2, 3, width)).shape == (2, 3, 10)


def test_the_convolution_of_irepa_written_out():
    """Each token from its 3 × 3 neighbours on the grid, row by row, zeros beyond the edge."""
    torch.manual_seed(0)
    net = projector(6, 4, "conv")
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == {
        "projection_layer.weight": (4, 6, 3, 3),
        "projection_layer.bias": (4,),
    }
    tokens = torch.randn(2, 9, 6)
    found = net(tokens)
    weight, bias = net.projection_layer.weight, net.projection_layer.bias
    for row in range(3):
        for column in range(3):
            want = bias.expand(2, 4).clone()
            for i in (-1, 0, 1):
                for j in (-1, 0, 1):
                    if 0 <= row + i < 3 and 0 <= column + j < 3:
                        want += tokens[:, (row + i) * 3 + column + j] @ weight[:, :, i + 1, j + 1].T
            torch.testing.assert_close(found[:, row * 3 + column], want)


def test_a_model_projects_by_its_own_kind(tiny):
    model = tiny(align_dim=7, align_depth=1, projector="conv")
    assert model.project(torch.randn(2, 16, 192)).shape == (2, 16, 7)
    assert "projectors.0.projection_layer.weight" in model.state_dict()
