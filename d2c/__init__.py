"""Diffusion dataset condensation: score, select, attach, train and judge."""

__version__ = "0.1.0"
