from __future__ import annotations

import pytest

from d2c.attach.vision import default_grid, describe_vision
from d2c.errors import UsageError


def test_grid_follows_the_images() -> None:
    sides = (1, 8, 12, 16, 20, 32, 64, 127, 128, 224, 4000)
    assert [default_grid(s) for s in sides] == [4, 4, 6, 8, 10, 16, 16, 16, 16, 16, 16]


def test_described_by_name() -> None:
    assert (describe_vision("dinov2-vit-b-14").dim, describe_vision("dinov2-vit-b-14").patch) == (768, 14)
    assert describe_vision("timm:resnet18").reference == "resnet18"


@pytest.mark.parametrize("name", ["", "dinov2", "timm:", "hf-hub:name", "clip-vit-b-32"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown vision encoder.*known: scorer, "):
        describe_vision(name)
