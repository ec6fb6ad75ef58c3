"""What an artifact was made from, and what else was made from the same; by fingerprint. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from d2c.artifacts import Artifact


def lineage(subject: Artifact, known: Mapping[str, Artifact]) -> tuple[list[Artifact], list[str]]:
    """An artifact and all it was made from, each once, the first of the way first; and names of what is not here."""
    found: dict[str, Artifact] = {}
    lost: list[str] = []

    def walk(artifact: Artifact) -> None:
        if artifact.fingerprint in found:
            return
        for entry in artifact.record["parents"]:
            parent = known.get(str(entry["fingerprint"]))
            if parent is not None:
                walk(parent)
            elif (name := f"{entry['kind']}/{entry['name']}") not in lost:
                lost.append(name)
        found.setdefault(artifact.fingerprint, artifact)

    walk(subject)
    return list(found.values()), lost


def model_of(subject: Artifact, known: Mapping[str, Artifact]) -> Artifact | None:
    """The trained diffusion model that a receipt is about: the artifact itself, or the nearest by first parents."""
    each: Artifact | None = subject
    while each is not None:
        if each.kind == "runs":
            return each if each.facts.get("task", "generate") == "generate" else None
        entry = next(iter(each.record["parents"]), None)
        each = known.get(str(entry["fingerprint"])) if entry else None
    return None


def users_of(known: Mapping[str, Artifact], of: Iterable[Artifact], kind: str) -> dict[str, set[tuple[str, str]]]:
    """For each artifact, (fingerprint, name) of those of a kind in whose lineage it is. Classifiers are no users."""
    wanted, found = {a.fingerprint for a in of}, dict[str, set[tuple[str, str]]]()
    for user in known.values():
        if user.kind == kind and user.facts.get("task", "generate") == "generate":
            for each in lineage(user, known)[0]:
                if each.fingerprint in wanted and each.fingerprint != user.fingerprint:
                    found.setdefault(each.fingerprint, set()).add((user.fingerprint, f"{kind}/{user.name}"))
    return found
