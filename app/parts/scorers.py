"""The scorer that a form names: the box, whether it can judge the images, and what it is before it is fetched."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st

from app import state
from app.parts import forms, words
from d2c import download
from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.licences import forbids_commercial
from d2c.score import ScoreConfig
from d2c.score.scorers import Located, known, locate
from d2c.score.verb import targets_of

OLDER = "These scores were made before this was noted; score again to have it"
UNSTATED = "Neither the scorer's file nor its folder says under which licence its weights are"
FIRST_USE = (
    "The frozen diffusion model that judges. One that comes with D2C, a run of this workspace, a released ImageNet "
    "model (2.7 GB, fetched when it is first used), a path to a checkpoint or to a diffusers folder, or hf:ORG/NAME. "
    "Captions take a text-to-image pipeline."
)


def scorer_box(*, key: str) -> str:
    """A select box over the scorers there are; a path or a name on the hub can be typed."""
    picked = st.selectbox(
        "Scorer", known(state.workspace()), key=key, persist_state="session", accept_new_options=True, help=FIRST_USE
    )
    return str(picked or "")


def judged_images(scores: Artifact | None) -> tuple[Artifact | None, str]:
    """The data set that was scored; or None and, if there are scores, why it is not here and what to do."""
    try:
        return (scores.parent("datasets") if scores is not None else None), ""
    except D2CError as problem:
        assert scores is not None
        for parent in scores.record["parents"][:1]:
            if parent["name"] in [a.name for a in scores.workspace.list(parent["kind"])]:
                return None, (
                    f"{scores.kind}/{scores.name} was made from {parent['kind']}/{parent['name']} "
                    f"({parent['fingerprint'][:12]}), which was replaced since: score it again"
                )
        return None, f"{problem}, or score other images"


def subject_box(scores: Artifact | None) -> Artifact:
    """The data set that the form scores: it begins with that of the scores that are shown, until one is picked."""
    parents = [p["name"] for p in scores.record["parents"][:1] if p["kind"] == "datasets"] if scores is not None else []
    shown = next((a for a in state.workspace().list("datasets") if a.name in parents), None)
    subject = state.choose("datasets", begin=shown)
    assert subject is not None  # the page stops before where there is none
    return subject


def misfit(
    scorer: str, dataset: Artifact, *, weights: str = "", path: str = "", class_map: str = "", autoencoder: str = ""
) -> str:
    """Why a scorer cannot judge a data set, empty when it can or when only scoring can tell. Downloads nothing."""
    files = [_stamp(name) for name in (scorer, weights, class_map)]
    made = len(state.workspace().list("runs"))  # what was missing may have been trained since

    def make() -> str:
        try:
            found = locate(scorer, state.workspace(), weights, path)
            if found.described:  # else scoring fetches it, and says then whether it fits
                targets_of(found, dataset, class_map, autoencoder)
        except D2CError as problem:
            return str(problem)
        return ""

    asked = (scorer, weights, path, class_map, autoencoder, files, made)
    found: str = state.derived(dataset, f"misfit of {asked}", make)
    return found


def advice(dataset: Artifact) -> str:
    """What to do first when a data set has no scores."""
    if dataset.facts.get("captions"):
        return (
            "Images with captions are judged by a text-to-image pipeline: name its folder or hf:ORG/NAME on the left."
        )
    return "Choose the scorer on the left, or take the shipped one."


def of_form(config: ScoreConfig, dataset: Artifact) -> str:
    """What the scorer that a form names is, drawn in place; and why it cannot judge these images, if so."""
    found = misfit(
        config.scorer,
        dataset,
        weights=config.weights,
        path=config.path,
        class_map=config.class_map,
        autoencoder=config.autoencoder,
    )
    with contextlib.suppress(D2CError):  # `misfit` says it
        about(locate(config.scorer, state.workspace(), config.weights, config.path))
    if found:
        wrong, _, remedy = (words.plain(part) for part in forms.in_words(found, ScoreConfig).partition("; "))
        st.warning(wrong[:1].upper() + wrong[1:], icon=":material/warning:")
        if remedy:  # in small print: the column is narrow
            st.caption(remedy[:1].upper() + remedy[1:])
    return found


def about(found: Located) -> None:
    """Licence, address and size of a scorer that has to be fetched, in a few lines; nothing for one that is here."""
    if found.release is None:
        if found.hub and not found.here:
            st.caption(
                f"Not on this machine yet: fetched from [huggingface.co]({found.source}) when scoring begins. "
                "Size, licence and classes are known then."
            )
        return
    release = found.release
    licence_badge(release.licence)
    what = f"{release.model}, {release.image_size} px, {release.classes:,} ImageNet classes."
    where = link(release.address)
    if found.here:
        size = words.size(found.path.stat().st_size)
        st.caption(f"{what} {words.plain(found.path.name)} is on this machine ({size}); it comes from {where}.")
        return
    st.caption(
        f"{what} **{words.size(release.size)}** from {where}, fetched when scoring begins, "
        "and its autoencoder (0.3 GB).",
        help=f"It goes to {words.plain(str(download.cache_folder()))}. Without a network: put "
        f"{words.plain(release.file)} there, or name the file as *Weights* under *Advanced*. "
        f"The autoencoder is {words.plain(release.autoencoder)}.",
    )


def licence_badge(licence: str | None) -> None:
    """A licence as a badge, marked when it forbids commercial use; "" stands for none stated, None for not noted."""
    name = words.plain((licence or "").partition(" (")[0])
    if not licence:
        said, why = ("Licence not noted", OLDER) if licence is None else ("No licence stated", UNSTATED)
        st.badge(said, icon=":material/license:", color="gray", help=why)
    elif forbids_commercial(licence):
        st.badge(
            f"Non-commercial: {name}" if "commercial" not in name.lower() else name,
            icon=":material/gavel:",
            color="orange",
            help="The scorer's licence forbids commercial use; scores made with it may be bound by it.",
        )
    else:
        st.badge(f"Licence {name}", icon=":material/license:", color="gray")


def link(source: str) -> str:
    """Where weights come from, as Markdown: an address by its host, anything else as it is."""
    host = urlsplit(source).hostname if source.startswith("https://") else None
    safe = host and not re.search(r"[\s()<>]", source)
    return f"[{words.plain(str(host).removeprefix('www.'))}]({source})" if safe else words.plain(source)


def _stamp(name: str) -> float:
    """When a file or folder was last changed, 0 where there is none: it may be mended while the page is open."""
    try:
        return Path(name).expanduser().stat().st_mtime if name else 0.0
    except (OSError, RuntimeError):
        return 0.0
