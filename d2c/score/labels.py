"""Which class of the scorer each class of a data set is. Free of torch.

A scorer that names its classes is matched by name, so that a data set with some of them, in any order, can be
scored. A scorer of 1,000 classes without names is taken for one of ImageNet-1K, in the usual order of WordNet ids:
its classes are matched by id (n01440764), by any lemma of the synset ("English springer", "cassette_player") or, when
all of a data set's names are integers, by index (0 … C − 1 of fewer classes number the data set's own). The table is
timm's, read without importing timm. A scorer with neither must have as many classes as the data set, which are then
taken in order.

A name that two classes of the scorer share (crane, maillot) is not decided here, unless only one of them is left by
the data set's other classes. Two classes of a data set on one of the scorer's are refused, unless a class map says so.
"""

from __future__ import annotations

import csv
import functools
import importlib.util
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from d2c.errors import D2CError

if TYPE_CHECKING:
    from d2c.score.scorers import Located

FLAG = "--class-map"
IMAGENET = 1000
_ID = re.compile(r"(n\d{8})(?![0-9a-zA-Z])")
_SHOWN = 5
#: how many of 1,000 names must be those of the table for a scorer's classes to be ImageNet's.
_ENOUGH = 990


def fit(scorer: Located, names: Sequence[str], class_map_file: Path | str = "", autoencoder: str = "") -> np.ndarray:
    """The scorer's class of each of a data set's classes, int64 [C]; see `class_map`.

    `autoencoder` is the name of one in place of the scorer's own.
    Raises D2CError in one line when the scorer cannot judge this data set: its classes, or its input's channels.
    """
    model = scorer.config
    used = autoencoder or model.autoencoder
    if not used or (used == "identity" and model.channels not in (1, 3)):
        raise D2CError(
            f"scorer {scorer.name} takes {model.channels} channels, images have 1 or 3: "
            "it was trained on latents, so name its autoencoder (--autoencoder)"
        )
    try:
        return class_map(names, scorer.classes or None, model.num_classes, class_map_file)
    except D2CError as problem:
        raise D2CError(f"scorer {scorer.name}: {problem}") from None


def class_map(
    names: Sequence[str], scorer_classes: Sequence[str] | None, num_classes: int, given: Path | str = ""
) -> np.ndarray:
    """The scorer's class index of each name, int64 [C].

    `scorer_classes` are the scorer's own names by label, None when it has none. `given` is a class map that
    overrides and completes: a CSV with two columns class,target or a JSON object; a target is an index, a WordNet
    id or a name. Raises D2CError in one line for names that match nothing, two things, or the same thing.
    """
    own = list(scorer_classes or ())
    if own and len(own) != num_classes:
        raise D2CError(f"the checkpoint names {len(own)} classes and has {num_classes}: it is damaged")
    table = _Table(own, num_classes)
    said = _said(given, names, table)
    if not said and list(names) == own:
        return np.arange(num_classes, dtype=np.int64)
    found = [{said[name]} if name in said else table.find(name) for name in names]
    if not own and _are_indices(names, num_classes):
        found = [{said.get(name, int(name))} for name in names]
        for name, (index,) in zip(names, found, strict=True):
            table.check(index, f"class {name!r} of the data set")
    elif not table.names and len(names) == num_classes:  # nothing is known of the scorer's but their number
        found = [{said.get(name, i)} for i, name in enumerate(names)]
    _eliminate(found)
    _refuse(names, found, table)
    targets = [next(iter(candidates)) for candidates in found]
    _refuse_shared(names, targets, said, table)
    return np.array(targets, dtype=np.int64)


def _are_indices(names: Sequence[str], num_classes: int) -> bool:
    """Whether all names are the scorer's indices. 0 … C − 1 of fewer classes only count the data set's own."""
    if not all(re.fullmatch(r"\d+", name) for name in names):
        return False
    return len(names) == num_classes or sorted(map(int, names)) != list(range(len(names)))


class _Table:
    """The scorer's classes by every name they go by; `names` is empty when nothing is known of them."""

    def __init__(self, own: Sequence[str], count: int) -> None:
        self.count, self.ids, self.names = count, [], list(own)
        ids, lemmas = imagenet() if count == IMAGENET else ([], [])
        if ids and (not own or list(own) == ids or _is_imagenet(own, lemmas)):
            self.ids, self.names = ids, [*lemmas]
        self.exact = {name: i for i, name in enumerate(own)}
        self.by_id = {name: i for i, name in enumerate(self.ids)}
        self.by_word: dict[str, set[int]] = {}
        for i, name in enumerate(self.names):
            for word in {*_words(name), *_words(own[i] if own else "")}:
                self.by_word.setdefault(word, set()).add(i)

    def find(self, name: str) -> set[int]:
        """The classes that a name may mean: none, one, or several."""
        if name in self.exact:
            return {self.exact[name]}
        by_id = _ID.match(name)
        if by_id and self.ids:
            return {self.by_id[by_id[1]]} if by_id[1] in self.by_id else set()
        each = [self.by_word[word] for word in _words(name) if word in self.by_word]
        return (set.intersection(*each) or set.union(*each)) if each else set()

    def check(self, index: int, what: str) -> int:
        """The index itself. Raises D2CError when the scorer has no such class."""
        if not 0 <= index < self.count:
            raise D2CError(f"{what} is index {index}, the scorer has classes 0…{self.count - 1}")
        return index

    def show(self, index: int) -> str:
        """A class as an error shows it."""
        name = f" ({' '.join([*self.ids[index : index + 1], self.names[index]])})" if self.names else ""
        return f"{index}{name}"


@functools.cache
def imagenet() -> tuple[list[str], list[str]]:
    """WordNet ids and lemmas ("tench, Tinca tinca") of ImageNet-1K by class index; ([], []) without timm."""
    spec = importlib.util.find_spec("timm")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        place = Path(folder) / "data" / "_info"
        if (place / "imagenet_synsets.txt").is_file():
            ids = (place / "imagenet_synsets.txt").read_text().split()
            rows = (place / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
            lemmas = dict(row.split("\t", 1) for row in rows if "\t" in row)
            return ids, [lemmas[name] for name in ids]
    return [], []


def _words(name: str) -> set[str]:
    """The names in a list of lemmas, each as its letters and digits alone."""
    plain = ("".join(c for c in part.casefold() if c.isalnum()) for part in name.split(","))
    return {word for word in plain if word}


def _is_imagenet(own: Sequence[str], lemmas: Sequence[str]) -> bool:
    return sum(bool(_words(a) & _words(b)) for a, b in zip(own, lemmas, strict=True)) >= _ENOUGH


def _said(given: Path | str, names: Sequence[str], table: _Table) -> dict[str, int]:
    """What a class map says, class → index."""
    if not given:
        return {}
    file = Path(given).expanduser()
    said: dict[str, int] = {}
    for name, target in _rows(file):
        where = f"{FLAG} {file.name}, class {name!r}"
        if name not in names:
            raise D2CError(f"{where} is not in the data set, whose classes are {_few(names)}")
        if re.fullmatch(r"-?\d+", target):
            index = table.check(int(target), where)
        else:
            candidates = table.find(target)
            if len(candidates) != 1:
                shown = " or ".join(table.show(i) for i in sorted(candidates)) or "nothing that the scorer knows"
                raise D2CError(f"{where}: {target!r} is {shown}; write an index 0…{table.count - 1}")
            index = next(iter(candidates))
        if said.setdefault(name, index) != index:
            raise D2CError(f"{where} is there twice, with different targets")
    return said


def _rows(file: Path) -> list[tuple[str, str]]:
    """Class and target of each row of a class map."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("{"):
            found = json.loads(text)
            bad = [name for name, to in found.items() if isinstance(to, bool) or not isinstance(to, int | str)]
            if bad:
                raise D2CError(f"{FLAG} {file.name}: the target of {bad[0]!r} is neither an index nor a name")
            return [(str(name), str(to).strip()) for name, to in found.items()]
        rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if row]
    except OSError:
        raise D2CError(f"{FLAG} {file}: no such file") from None
    except (ValueError, csv.Error) as problem:
        raise D2CError(f"{FLAG} {file.name} is neither a CSV nor a JSON object ({problem})") from None
    wrong = next((i for i, row in enumerate(rows, start=1) if len(row) != 2), 0)
    if wrong:
        raise D2CError(f"{FLAG} {file.name}: row {wrong} is not class,target (quote a name that has a comma)")
    return [(name.strip(), to.strip()) for name, to in rows if (name, to) != ("class", "target")]


def _eliminate(found: list[set[int]]) -> None:
    """Take the classes that are meant for certain from those that could mean several, as long as that decides one."""
    while True:
        sure = {next(iter(c)) for c in found if len(c) == 1}
        open_to = [i for i, c in enumerate(found) if len(c) > 1 and len(c - sure) == 1]
        if not open_to:
            return
        found[open_to[0]] -= sure


def _refuse(names: Sequence[str], found: Sequence[set[int]], table: _Table) -> None:
    open_to = [(name, c) for name, c in zip(names, found, strict=True) if len(c) != 1]
    if not open_to:
        return
    lost = [name for name, c in open_to if not c]
    parts = []
    if lost and not table.names:
        why = "timm's table of ImageNet is not here" if table.count == IMAGENET else "it does not name them"
        parts.append(f"it knows {table.count} classes, the data set has {len(names)} ({why})")
    elif lost:
        parts.append(
            f"{len(lost)} of {len(names)} classes of the data set are not among its {table.count}: {_few(lost)}"
        )
    several = [f"{name!r} may be {' or '.join(table.show(i) for i in sorted(c))}" for name, c in open_to if c]
    if several:
        more = f" and {len(several) - _SHOWN} more" if len(several) > _SHOWN else ""
        parts.append("; ".join(several[:_SHOWN]) + more)
    raise D2CError(
        f"{'; '.join(parts)}; say which they are with {FLAG} FILE (CSV rows class,target; target = index, WordNet id "
        "or name), or train a scorer on this data set (d2c train) and give its run"
    )


def _refuse_shared(names: Sequence[str], targets: Sequence[int], said: Mapping[str, int], table: _Table) -> None:
    groups: dict[int, list[str]] = {}
    for name, target in zip(names, targets, strict=True):
        groups.setdefault(target, []).append(name)
    for target, group in groups.items():
        if len(group) > 1 and any(name not in said for name in group):
            raise D2CError(
                f"classes {_few(group)} of the data set are all {table.show(target)}: if that is meant, say so for "
                f"each with {FLAG} FILE"
            )


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(repr(name) for name in listed[:_SHOWN]) + more
