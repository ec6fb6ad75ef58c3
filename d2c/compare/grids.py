"""The ready-made grids: the paper's tables and figures (arXiv 2507.05914), and what its readers doubt first.

A grid is a few blocks, each the product of its axes. What a block leaves out is D2C with everything attached at the
smallest budget: interval, k as the paper scales it, text, visual features. `ATTACHED` stands for the setting's encoder.
The controls (random with everything attached, the copy machine) are added by `d2c.compare.cells`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

ATTACHED, SCALED = "attached", "scaled"
Block = Mapping[str, Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class Grid:
    """A question, the blocks of cells that answer it, and the data it is meant for. `train` is the same for all."""

    name: str
    title: str
    asks: str
    meant: str
    blocks: tuple[Block, ...]
    train: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    least: int = 0  # px: on smaller images it says so, and is refused if it is trained at a size of its own


_NOTHING: Block = {"text": ["none"], "vision": ["none"]}
_OTHERS = ["random", "kcenter", "herding"]
_IMAGENET = "ImageNet-1K at 256 px with a pretrained scorer; budgets and k are fitted to other data"

_TABLE = (
    Grid(
        "ablation",
        "Select × text × visual",
        "What does each part of D2C add, alone and with the others? (the paper's ablation, DiT-L/2 at 10 per class)",
        "any data set; on the digits from one command in 40 minutes on two cores",
        ({"strategy": ["random", "interval"], "text": ["none", ATTACHED], "vision": ["none", ATTACHED]},),
    ),
    Grid(
        "table1",
        "Selection at three budgets",
        "Random, K-Center and herding with nothing attached against D2C, at 10, 50 and 100 per class (Table 1)",
        _IMAGENET,
        (
            {"strategy": _OTHERS, "per_class": [10, 50, 100], **_NOTHING},
            {"per_class": [10, 50, 100]},
        ),
    ),
    Grid(
        "synthesis",
        "Made images against chosen ones",
        "RDED and SRe2L make images, D2C chooses some: which can a diffusion model learn from?",
        _IMAGENET,
        ({"strategy": ["rded", "sre2l"], **_NOTHING}, {}),
    ),
    Grid(
        "512px",
        "Twice the resolution",
        "Does D2C hold at 512 px against random images? (10 per class)",
        "images of 512 px or more, with a GPU",
        ({"strategy": ["random"], **_NOTHING}, {}),
        {"image_size": 512},
        512,
    ),
    Grid(
        "encoders",
        "Encoders of the visual part",
        "Which frozen encoder should the visual features come from?",
        "images of 224 px or more; weights are downloaded, MoCo v3 in its base size, for no larger one was published",
        ({"vision": ["none", "mae-vit-l-16", "moco-v3-vit-b-16", "clip-vit-l-14", "dinov2-vit-l-14"]},),
        least=224,
    ),
    Grid(
        "cifar10",
        "A small data set",
        "Does D2C help where classes have 5,000 images of 32 px? (100 per class)",
        "CIFAR-10",
        ({"strategy": ["random"], "per_class": [100], **_NOTHING}, {"per_class": [100]}),
    ),
    Grid(
        "intervals",
        "The interval k",
        "How far apart should the chosen ranks be? Small k is easy and alike, large k comes near to random",
        "any data set; k that do not fit its classes are lowered, and meet in one row",
        ({"interval": [1, 2, 4, 8, 16, 32, 64, 96]},),
    ),
    Grid(
        "segments",
        "Segments of difficulty",
        "Is the middle of the ranking nearer to real images than both its ends, as the paper's U says?",
        "any data set",
        ({"segment": [1, 2, 3, 4, 5]},),
    ),
    Grid(
        "conditioning",
        "Conditioning alone",
        "What does the text add to the class vector, with no visual features?",
        "any data set; hashed text tells classes apart and carries no meaning: take an encoder that reads",
        ({"condition": ["class", "text", "both"], "vision": ["none"]},),
    ),
    Grid(
        "first-select",
        "First doubt: does Select matter once Attach is on?",
        "Everything attached to all of them: D2C's choice against random, the easiest, the middle and the hardest",
        "any data set; ask for several --seeds",
        ({"strategy": ["random", "interval", "easiest", "medium", "hardest"]},),
    ),
    Grid(
        "first-selectors",
        "Second doubt: are stronger selectors better?",
        "CCS, D2, Moderate, SemDeDup, TDDS and GraNd against interval, everything attached to all of them",
        "any data set; a map and measures of a training are made where there are none",
        ({"strategy": ["interval", "ccs", "d2", "moderate", "semdedup", "tdds", "grand"]},),
    ),
    Grid(
        "first-copying",
        "Third doubt: is so small a set memorised?",
        "The same model on ever more images: how near do its samples lie to them, and to held-out ones?",
        "any data set",
        ({"per_class": [5, 10, 20, 50, 100]},),
    ),
)

GRIDS: dict[str, Grid] = {grid.name: grid for grid in _TABLE}


def grid_names() -> tuple[str, ...]:
    """Names of the ready-made grids, and "" for axes of one's own."""
    return ("", *GRIDS)
