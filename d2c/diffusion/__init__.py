"""Diffusion transformers: SiT and DiT, their paths, losses, samplers, autoencoders and checkpoints.

Importing this package is cheap and free of torch; the models are in `dit` and `sit`, `build` makes one
from a `ModelConfig`.
"""
