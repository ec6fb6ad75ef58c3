"""What a class is called in a prompt: its own name, or the English one of a WordNet id (n01440764 → tench).

The table is timm's: 21,841 synsets with their lemmas and definitions, read without importing timm.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_ID = re.compile(r"n\d{8}")


def names_of(classes: Sequence[str]) -> list[str]:
    """One name a class: the first lemma for a WordNet id, otherwise the class's own name.

    Ids that share it (two kinds of crane, of maillot) are told apart by the first lemma that no other of these
    classes has, else by their definitions: a name that two classes had would give them the same text. An id that is
    not in the table, or without timm, stays as it is.
    """
    known = [_table().get(name) if _ID.fullmatch(name) else None for name in classes]
    found = [entry[0][0] if entry else name for name, entry in zip(classes, known, strict=True)]
    said = Counter(name.casefold() for name in found)
    every = Counter(lemma.casefold() for entry in known if entry for lemma in entry[0])
    for i, entry in enumerate(known):
        if entry and said[found[i].casefold()] > 1:
            lemmas, definition = entry
            own = [lemma for lemma in lemmas if every[lemma.casefold()] == 1]
            short = re.split(r"[;:(]", definition)[0].strip()
            found[i] = own[0] if own else f"{lemmas[0]}, {short}" if short else f"{lemmas[0]} ({classes[i]})"
    return found


@functools.cache
def _table() -> dict[str, tuple[list[str], str]]:
    """Lemmas and definition by WordNet id; {} without timm."""
    spec = importlib.util.find_spec("timm")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        place = Path(folder) / "data" / "_info"
        if (place / "imagenet_synset_to_lemma.txt").is_file():
            lemmas, definitions = (_rows(place / f"imagenet_synset_to_{kind}.txt") for kind in ("lemma", "definition"))
            return {
                name: ([part.strip() for part in text.split(",")], definitions.get(name, ""))
                for name, text in lemmas.items()
            }
    return {}


def _rows(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines if "\t" in line)
