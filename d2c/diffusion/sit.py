"""SiT: DiT's network trained on a straight path, predicting a velocity (2401.08740).

Every layer is DiT's; what differs is `path`: time is continuous, t ∈ [0, 1], fed to the embedder as it is
(not times 1000), and the output is the velocity v = x − ε. In a released checkpoint, whose last layer has
2·C channels, v is the first C of them. A model trained as in REPA (2410.06940) has the clock reversed,
path "repa".
"""

from __future__ import annotations

from d2c.diffusion.config import ModelConfig
from d2c.diffusion.dit import DiT


class SiT(DiT):
    """`forward(x, t, y)` with t = 1 at the data (path "sit") or t = 0 at the data (path "repa")."""


def build(config: ModelConfig) -> DiT:
    """A freshly initialised model of the configuration's family, on the current default device."""
    return {"SiT": SiT, "DiT": DiT}[config.family](config)
