"""What scores say of themselves: how far to trust their order, what they cost, and what judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import streamlit as st

from app import state
from app.parts import ranking, scorers, words
from app.parts.scatters import rho
from d2c.artifacts import Artifact

CONTRAST = "The error with the image's label minus the error without one"
STANDARD = "Each time's error in standard deviations over all images, so that every time counts alike"
TRUSTED = 0.8  # rank correlation from which an order is called stable
BEYOND_CHANCE = 0.1  # of what lies between chance and the same set; less is called none
REPEATED = 0.8  # share of the same picks from which they are said to repeat


def order(scores: Artifact) -> str:
    """How far to trust the order, in a few sentences: whether it repeats, and whether the chosen set does."""
    facts, names = scores.facts, state.classes(scores)
    reliability, overlap = facts.get("reliability"), facts.get("overlap")
    if reliability is None:
        return f"How stable the ranking is {_unmeasured(scores)}."
    judged = "stable" if reliability >= TRUSTED else "loose; more evaluations would settle it"
    within, of = (" within a class", "its class's") if len(names) > 1 else ("", "all")
    said = f"The ranking{within} would repeat with ρ = **{rho(reliability)}**: {judged}."
    said += _picks(overlap, (facts.get("rank_check") or {}).get("mean_shift"), of) if overlap else ""
    by_class = {int(label): value for label, value in (facts.get("reliability_by_class") or {}).items()}
    if len({rho(value) for value in by_class.values()}) > 1:  # else none is least
        weakest = min(by_class, key=lambda label: (by_class[label], label))
        said += words.plain(f" Least sure is class {names[weakest]}, with ρ = {rho(by_class[weakest])}.")
    return said


def _unmeasured(scores: Artifact) -> str:
    """Why there is no reliability, as the end of a sentence; more images scored twice help only where they exist."""
    twice = min(ranking.largest(scores), int(scores.recipe.get("reliability_images", 0)))
    none = "no class has three images" if len(state.classes(scores)) > 1 else "there are no three images"
    if only := ranking.alone(scores):
        return f"could not be measured: {none} to score twice. {only}"
    if ranking.largest(scores) < 3:
        return f"could not be measured: {none} to score twice"
    if scores.facts.get("banks") == 2 and twice < 3:
        return f"could not be measured: {none} scored twice; score with more reliability images to know"
    if scores.facts.get("banks") == 2:
        return "could not be measured: the images that were scored twice do not differ in difficulty"
    return "was not measured: score with reliability images to know"


def _picks(overlap: Mapping[str, float], shift: float | None, of: str) -> str:
    """Whether single picks of interval sampling repeat; near chance they do not, and either is said."""
    share, chance, m = overlap["overlap"], overlap["chance"], int(overlap["per_class"])
    every = f"every {words.ordinal(int(overlap['interval']))} of the images scored twice, {m:,} a class"
    repeat = "repeat as well" if share >= REPEATED else "move more"
    if share - chance < BEYOND_CHANCE * (1 - chance):
        repeat = "hardly do"
    said = (
        f" Single picks {repeat}: with other noise, interval sampling ({every}) would choose "
        f"**{words.share(share)}** of the same images, unrelated rankings {words.share(chance)}."
    )
    if shift == 0:
        return said + " No image moves in rank."
    moved = "" if shift is None else words.share(shift) if shift >= 0.005 else "less than 1 %"
    moves = f"an image moves by {moved} of {of} ranks" if moved else ""
    if repeat == "repeat as well":
        return said + f" A{moves[1:]}." * bool(moves)
    why = f"{moves}{', and ' * bool(moves)}neighbours in rank replace each other"
    return said + f" {why[:1].upper()}{why[1:]}; the spread from easy to hard stays."


def cost(scores: Artifact) -> str:
    """What scoring did and took, in a sentence or two."""
    facts, scorer = scores.facts, scores.facts.get("scorer") or {}
    twice = " × 2" * bool(facts.get("contrast"))  # with the label, and without
    what = f"{words.many(facts['images'], 'image')}{twice} × {words.many(facts['evaluations'], 'evaluation')}"
    spent, devices = words.seconds(scores.record["wall_seconds"]), facts.get("devices")
    if facts.get("table_of"):
        said = f"{what}, weighted anew in {spent} from the errors of {facts['table_of']}: no forward pass was needed"
    else:
        said = f"Scored {what} in {spent} on {_devices(devices, scores.record['device'])}"
        rate, idle, agreement = (facts.get(k) for k in ("images_per_second", "idle_share", "fp8_agreement"))
        each = " each" * (isinstance(devices, list) and len(devices) > 1)
        said += f", {words.number(float(f'{rate:.3g}'))} images/s{each}" if rate else ""
        said += f"; the device stood idle {words.share(idle)} of the time" if idle is not None else ""
        said += f"; in fp8, which ranks as bf16 does at ρ = {agreement:.4f}" if agreement is not None else ""
    said, source = words.plain(said + "."), str(scorer.get("source") or "")
    autoencoder = str((facts.get("autoencoder") or {}).get("name") or "identity")
    said += f" Weights: {scorers.link(source)}" if source else ""
    if source and autoencoder != "identity":
        said += f", autoencoder {words.plain(autoencoder)}"
    return said + "." * bool(source)


def marks(scores: Artifact) -> None:
    """What judged and how, as badges: scorer, weighting, contrast, and the licence where it binds."""
    facts = scores.facts
    scorer = facts.get("scorer") or {}
    named, model = str(scorer.get("name") or "unknown"), str(scorer.get("model") or "")
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="marks"):
        about = f"Scorer {named}" + f" · {model}" * bool(model and model.lower() != named.lower())
        st.badge(words.plain(about), icon=":material/model_training:", color="blue")
        helps = [CONTRAST] * bool(facts.get("contrast")) + [STANDARD] * (facts.get("weighting") == "zscore")
        st.badge(ranking.weighted(scores), icon=":material/balance:", color="gray", help=". ".join(helps) or None)
        if not str(scorer.get("source") or "").startswith("runs/"):  # one's own
            scorers.licence_badge(scorer.get("licence"))


def _devices(devices: object, fallback: str) -> str:
    """What it ran on: the devices noted, alike ones counted, or the one of the record."""
    found = Counter(str(d).partition(":")[0] for d in devices) if isinstance(devices, list) else Counter()
    named = {"cpu": ("the CPU", "CPU processes"), "cuda": ("a GPU", "GPUs"), "mps": ("the GPU", "GPUs")}
    parts = []
    for name, n in (found or Counter([fallback.partition(":")[0]])).items():
        one, many = named.get(name, (name, f"× {name}"))
        parts.append(one if n == 1 else f"{n:,} {many}")
    return ", ".join(parts)
