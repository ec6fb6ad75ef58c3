"""From a grid and the data at hand to its cells: values resolved, budgets bounded, equal cells met, controls added."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from d2c.attach.verb import AttachConfig
from d2c.compare.grids import ATTACHED, SCALED, Block, Grid
from d2c.compare.settings import Data, Setting
from d2c.config import options_of
from d2c.errors import UsageError
from d2c.naming import slugify
from d2c.select.base import AUTO, SelectConfig
from d2c.select.registry import STRATEGIES
from d2c.train.verb import TrainConfig

SELECT = ("strategy", "per_class", "interval", "offset", "window")
ATTACH = ("text", "vision")
TRAIN = ("model", "condition")
AXES = (*SELECT, "segment", *ATTACH, *TRAIN)  # every axis a grid can have, in the order in which labels name them
SEGMENTS = 5
PAPER_K = {10: 96, 50: 16, 100: 10}  # by images a class, of classes of about 1,300 (the paper's §4)
PAPER_CLASS = 1300
RANDOM, COPIES, FULL = "random", "copies", "full"  # kinds of controls


@dataclasses.dataclass(frozen=True)
class Cell:
    """One row of a comparison, whatever its seed. `axes` leaves out what the cell does not read.

    `control` is "" for a cell that was asked for, or what it controls for. A copy machine trains nothing: it is read
    from the report of the cell `of`.
    """

    id: str
    label: str
    axes: Mapping[str, Any]
    control: str = ""
    of: str = ""


def cells_of(
    grid: Grid, data: Data, setting: Setting, given: Mapping[str, Sequence[Any]], *, full: bool = False
) -> tuple[list[Cell], list[str]]:
    """The cells of a grid on scores, controls last, and what had to be fitted to the data, in a line each.

    `given` replaces the values of axes; one encoder for `text` or `vision` replaces what "attached" means instead.
    Raises UsageError for a value that no option takes.
    """
    axes = {name: list(values) for name, values in given.items()}
    meant = {"text": setting.text, "vision": setting.vision}
    for name in ATTACH:
        if (
            len(axes.get(name, ())) == 1
            and axes[name] != ["none"]
            and any(ATTACHED in b.get(name, ()) for b in grid.blocks)
        ):
            meant[name] = axes.pop(name)[0]
    notes: list[str] = []
    found: list[dict[str, Any]] = []
    for block in grid.blocks:
        found += _product({**block, **axes}, data, meant, notes)
    found = _distinct(found)
    controls = _distinct(_random(found, meant, setting))
    rows = [(axes_, "") for axes_ in found]
    marked = [(a, RANDOM if a in controls else "") for a, _ in rows]
    marked += [(a, RANDOM) for a in controls if a not in found]
    varying = {name for name in AXES if len({a.get(name) for a, _ in marked}) > 1}
    cells = [_cell(a, varying, control) for a, control in marked]
    return [*cells, *_copies(cells), *(_full(cells) if full else [])], list(dict.fromkeys(notes))


def _product(block: Block, data: Data, meant: Mapping[str, str], notes: list[str]) -> Iterable[dict[str, Any]]:
    defaults: Block = {
        "strategy": ["interval"],
        "per_class": [10],
        "interval": [SCALED],
        "text": [ATTACHED],
        "vision": [ATTACHED],
    }
    block = {**defaults, **block}
    for values in itertools.product(*block.values()):
        yield _resolved(dict(zip(block, values, strict=True)), data, meant, notes)


def _resolved(axes: dict[str, Any], data: Data, meant: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    """One combination with the words resolved and what it does not read left out."""
    for name in ATTACH:
        axes[name] = meant[name] if axes[name] == ATTACHED else axes[name]
    for name, value in axes.items():
        _check(name, value)
    if axes["per_class"] > data.smallest:
        notes.append(f"{axes['per_class']} per class lowered to {data.smallest}, the images of the smallest class")
        axes["per_class"] = data.smallest
    budget, uses = axes["per_class"], STRATEGIES[axes["strategy"]].uses
    if "segment" in axes:
        window = max(data.smallest // SEGMENTS, budget)
        step = max(0, data.smallest - window) // (SEGMENTS - 1)
        axes |= {"offset": (axes["segment"] - 1) * step, "window": window}
    if "interval" not in uses:
        for name in ("interval", "offset", "window"):
            axes.pop(name, None)
    elif axes["interval"] != AUTO:
        span = axes.get("window") or data.smallest - int(axes.get("offset", 0))
        most = max((span - 1) // (budget - 1), 1) if budget > 1 else 1
        if axes["interval"] == SCALED:
            axes["interval"] = min(scaled_k(budget, data.usual), most)
        elif axes["interval"] > most:
            notes.append(f"k = {axes['interval']} lowered to {most}: {budget} per class do not fit at a larger one")
            axes["interval"] = most
    return {name: axes[name] for name in AXES if name in axes}


def scaled_k(budget: int, images: float) -> int:
    """The paper's k for a budget (of the nearest one by ratio), so that the same share of a class is spanned.

    With classes of 1,300 images 96, 16 and 10 for 10, 50 and 100 per class; between them by 1 / budget.
    """
    near = min(PAPER_K, key=lambda b: abs(math.log(b / budget)))
    return max(1, round(PAPER_K[near] * near / budget * images / PAPER_CLASS))


def _check(name: str, value: Any) -> None:
    """Raise UsageError for what the option of an axis would not take."""
    if name == "segment":
        if not (isinstance(value, int) and 1 <= value <= SEGMENTS):
            raise UsageError(f"segment {value!r} is not one of 1 … {SEGMENTS}")
        return
    if name == "interval" and value == SCALED:
        return
    config = SelectConfig if name in SELECT else AttachConfig if name in ATTACH else TrainConfig
    from d2c.config import configure

    configure(config, None, {name: value}, flags=True)
    if name in ATTACH:
        from d2c.attach.text import describe_text
        from d2c.attach.vision import describe_vision

        (describe_text if name == "text" else describe_vision)(value)


def read_axis(name: str, text: str) -> list[Any]:
    """The values of a comma list for an axis, each as its option reads it. Raises UsageError."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"--{name.replace('_', '-')} {text}: there is no value in it; leave it out, or give some")
    config = SelectConfig if name in SELECT else AttachConfig if name in ATTACH else TrainConfig
    spec = next(o for o in options_of(config) if o.name == name)
    found = []
    for word in words:
        try:
            value = word if word == SCALED and name == "interval" else spec.read(word)
        except ValueError:
            raise UsageError(f"--{name.replace('_', '-')} {text}: {word!r} is no {spec.type.__name__}") from None
        found.append(value)
    return found


def _distinct(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for axes in found:
        if axes not in kept:
            kept.append(axes)
    return kept


def _random(found: Sequence[Mapping[str, Any]], meant: Mapping[str, str], setting: Setting) -> list[dict[str, Any]]:
    """Random with everything attached, once for each budget and each way of training."""
    every = {name: next((a[name] for a in found if a[name] != "none"), meant[name]) for name in ATTACH}
    rows = []
    for axes in found:
        row = {"strategy": "random", "per_class": axes["per_class"], **every}
        row |= {name: axes[name] for name in ("model",) if name in axes}
        if "condition" in axes:
            row["condition"] = "both"
        rows.append({name: row[name] for name in AXES if name in row})
    return rows


def _copies(cells: Sequence[Cell]) -> list[Cell]:
    """A copy machine for each budget: what D2C chose, with most attached, is shown again instead of samples."""

    def weight(cell: Cell) -> tuple[bool, int]:
        return cell.axes["strategy"] == "interval", sum(cell.axes[name] != "none" for name in ATTACH)

    found: dict[int, Cell] = {}
    for cell in cells:
        best = found.get(cell.axes["per_class"])
        if best is None or weight(cell) > weight(best):
            found[cell.axes["per_class"]] = cell
    many = len(found) > 1
    return [
        Cell(
            f"copies-{budget}",
            "copy machine" + (f" · {budget} per class" if many else ""),
            {name: cell.axes[name] for name in SELECT if name in cell.axes},
            COPIES,
            cell.id,
        )
        for budget, cell in found.items()
    ]


def _full(cells: Sequence[Cell]) -> list[Cell]:
    """Every image of the data set, nothing attached, the same steps: once for each model."""
    models = list(dict.fromkeys(cell.axes.get("model") for cell in cells))
    return [
        Cell(
            slugify(f"full-{model}" if model else "full"),
            "every image" + (f" · {model}" if len(models) > 1 else ""),
            {"model": model} if model else {},
            FULL,
        )
        for model in models
    ]


def _cell(axes: Mapping[str, Any], varying: Iterable[str], control: str) -> Cell:
    text = json.dumps(axes, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:4]
    words = [str(axes[name]) for name in AXES if name in axes and name not in ("offset", "window")]
    return Cell(f"{slugify('-'.join(words))[:50]}-{digest}", label_of(axes, set(varying)), axes, control)


def label_of(axes: Mapping[str, Any], varying: set[str]) -> str:
    """What a cell is, in the words in which it differs from the others: `interval k = 13 · no text · visual`."""
    parts = []
    strategy = axes.get("strategy")
    if strategy is not None and (varying & {"strategy", "interval"} or not varying):
        parts.append(f"{strategy} k = {axes['interval']}" if "interval" in axes else str(strategy))
    if "per_class" in varying and "per_class" in axes:
        parts.append(f"{axes['per_class']} per class")
    if "segment" in axes:
        parts.append(f"segment {axes['segment']} of {SEGMENTS} (1 = easiest)")
    elif "offset" in varying and axes.get("offset"):
        parts.append(f"from rank {axes['offset']}")
    for name, word in (("text", "text"), ("vision", "visual")):
        if name in varying and name in axes:
            value = axes[name]
            parts.append(f"no {word}" if value == "none" else f"{word} {value}")
    if "condition" in varying and "condition" in axes:
        parts.append({"class": "class vector", "text": "text alone", "both": "class and text"}[axes["condition"]])
    if "model" in varying and "model" in axes:
        parts.append(str(axes["model"]))
    return " · ".join(parts) or str(strategy)
