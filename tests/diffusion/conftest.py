import pytest
import torch

from d2c.diffusion.config import ModelConfig
from d2c.diffusion.sit import build


@pytest.fixture
def tiny():
    """Make a one-block model whose output is not zero; options override its configuration."""

    def make(family="SiT", seed=0, **options):
        config = ModelConfig(
            **{"family": family, "size": "Ti", "patch": 2, "image_size": 8, "channels": 3, "num_classes": 4}
            | {"layers": 1}
            | options
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = build(config).eval()
            for parameter in model.parameters():  # adaLN-Zero would hide most of the network
                if parameter.detach().abs().sum() == 0:
                    torch.nn.init.normal_(parameter, std=0.05)
        return model

    return make
