"""Choosing a subset by difficulty: one file a strategy, one registry, one signature. Free of torch."""

from d2c.select.base import ClassView, Picks, SelectConfig, Strategy
from d2c.select.choice import Choice
from d2c.select.ranking import Ranking, choose
from d2c.select.registry import STRATEGIES
from d2c.select.verb import select

__all__ = [
    "STRATEGIES",
    "Choice",
    "ClassView",
    "Picks",
    "Ranking",
    "SelectConfig",
    "Strategy",
    "choose",
    "select",
]
