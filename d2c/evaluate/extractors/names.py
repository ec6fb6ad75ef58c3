"""Which extractors are asked for, by a comma list: classifier, inception, timm:NAME. Free of torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from d2c.download import digest
from d2c.errors import D2CError, UsageError

KINDS = ("classifier", "inception", "timm:NAME")
OPTION = "--extractors"
_SHORT = {"vit_large_patch14_dinov2": "DINOv2"}  # the one that FD-DINOv2 means (Stein et al. 2023)


@dataclasses.dataclass(frozen=True)
class Asked:
    """One extractor of the list: its kind, the network of timm that it names, and the file of weights or None.

    Written `classifier`, `inception`, `inception:FILE`, `timm:NAME` or `timm:NAME=FILE`.
    """

    kind: str
    network: str = ""
    file: Path | None = None

    @property
    def label(self) -> str:
        """What stands behind FD- in the names of its numbers. That of Inception is settled by its weights."""
        if self.kind != "timm":
            return {"classifier": "classifier", "inception": "Inception"}[self.kind]
        architecture = self.network.rpartition("/")[2].partition(".")[0]
        return _SHORT.get(architecture, self.network.rpartition("/")[2])


def plain(text: str) -> str:
    """A comma list as a recipe keeps it, so that spaces and empty words make no report of their own."""
    return ",".join(filter(None, (w.strip() for w in text.split(",")))) or "classifier"


def extractors_of(text: str) -> list[Asked]:
    """The extractors that a comma list names, our classifier first whether it is named or not.

    It reads whether samples show what was asked for, so every report has it. Raises UsageError for what is no
    extractor and for one named twice, D2CError for a file that is not there.
    """
    found = [Asked("classifier")]
    for word in filter(None, (w.strip() for w in text.split(","))):
        kind, _, rest = word.partition(":")
        if word == "classifier":
            continue
        if kind == "inception":
            asked = Asked("inception", file=_file(word, rest) if rest else None)
        elif kind == "timm" and rest:
            network, _, file = rest.partition("=")
            asked = Asked("timm", network, _file(word, file) if file else None)
        else:
            raise UsageError(
                f"{OPTION}: no extractor {word!r}; known: {', '.join(KINDS)}, the last two with a file too"
            )
        if any(asked.label == other.label for other in found):
            raise UsageError(f"{OPTION}: {asked.label} is named twice")
        found.append(asked)
    return found


def files_of(asked: list[Asked], reference: str) -> dict[str, str]:
    """SHA-256 of each file that a report is made with, by what it is for; the recipe holds it beside the name."""
    found = {f"weights of {one.label}": digest(one.file)[:12] for one in asked if one.file is not None}
    if reference:
        if not any(one.kind == "inception" for one in asked):
            raise UsageError(f"--reference holds statistics of Inception's features: add inception to {OPTION}")
        found["reference"] = digest(_file("--reference", reference))[:12]
    return found


def ready(asked: list[Asked], reference: str) -> None:
    """See that all there is to open can be opened, and fetch what the web has, before any image is drawn for it.

    Raises D2CError in one line for what is missing.
    """
    if len(asked) > 1:
        from d2c.evaluate.extractors.base import prepare

        for one in asked[1:]:
            prepare(one)
    if reference:
        from d2c.evaluate.extracting import open_reference

        open_reference(_file("--reference", reference)).close()


def _file(word: str, path: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise D2CError(f"{word}: no file {path}")
    return file
