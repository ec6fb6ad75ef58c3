"""One image of a choice: large, why it is chosen or not, its error by noise level, and what is like it."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import state
from app.parts import browse, difficulty, dynamics, editing, ranking, words
from app.parts.gallery import Tile, gallery
from app.places import thumb
from d2c.artifacts import Artifact
from d2c.explore.neighbours import FILE, neighbours_of
from d2c.select import Choice
from d2c.select.auto import ALIKE
from d2c.select.why import standing

NEAR = 12


def panel(dataset: Artifact, scores: Artifact, choice: Choice, picked: int | None) -> None:
    """All that is known of the picked image, or what to do to see some."""
    if picked is None or ranking.place(scores, picked) is None:
        browse.image_panel(dataset, picked)
        return
    browse.image_details(
        dataset, picked, [*ranking.about(scores, picked), *about(choice, picked), *dynamics.about(scores, picked)]
    )
    editing.buttons(picked, key="one")
    _likes(dataset, choice, picked)
    st.markdown("**Error by noise level**")
    difficulty.curve(scores, None, picked, key="image_curve", height=200, short=True)


def about(choice: Choice, sample_id: int) -> list[tuple[str, str]]:
    """Whether an image is chosen and why, or which one has its place and what would take it; as names and values."""
    found = standing(choice, sample_id)
    if found is None:
        return []
    if found.reason:
        return [("Chosen", f"Yes, {found.reason}")]
    said = [("Chosen", "No, excluded by hand" if found.excluded else "No")]
    if found.instead is not None:
        name = "Its slot has" if choice.config.strategy == "interval" or found.swapped else "Nearest pick"
        said.append((name, f"rank {found.instead_rank:,}, image {found.instead}"))
    if found.excluded:
        return said
    if found.swapped:
        return [*said, ("Taken by", "unpinning that, or pinning this")]
    if choice.config.strategy == "interval":
        ways = [
            f"{name} {value:,} instead of {asked:,}"
            for name, value, asked in (
                ("k", found.interval, choice.config.interval),
                ("offset", found.offset, choice.config.offset),
            )
            if value is not None
        ]
        said.append(("Taken by", " or ".join(ways) or "no other k or offset alone"))
    return said


def map_of(dataset: Artifact) -> Artifact | None:
    """The newest map of these images that knows which are near each other."""
    return next((m for m in reversed(state.made_from("maps", dataset)) if (m.path / FILE).is_file()), None)


def _likes(dataset: Artifact, choice: Choice, picked: int) -> None:
    """What a map holds to be like an image, near-duplicates apart."""
    made = map_of(dataset)
    if made is None:
        return
    near = neighbours_of(made, picked, NEAR)
    names, (pinned, excluded) = state.classes(dataset), editing.held()
    ids, away = near["sample_id"].to_numpy(np.int64), near["distance"].to_numpy()
    rows = choice.ranking.find(ids)
    taken = np.isin(rows, choice.positions)
    many = int(np.count_nonzero(away <= ALIKE))
    heads = {True: words.many(many, "near-duplicate"), False: "Most like it"}
    tiles = [
        Tile(
            sample_id,
            thumb(dataset, sample_id),
            f"{1 - distance:.2f}",
            f"Image {sample_id}, {where}similarity {1 - distance:.3f}",
            chosen=is_taken,
            group=heads[distance <= ALIKE],
            pinned=sample_id in pinned,
            excluded=sample_id in excluded,
        )
        for sample_id, distance, is_taken, where in zip(
            ids.tolist(),
            away.tolist(),
            taken.tolist(),
            [f"class {names[choice.ranking.label[row]]}, " if row >= 0 else "" for row in rows.tolist()],
            strict=True,
        )
    ]
    gallery(tiles, key="alike", label="Images most like it", size=44, on_pick=state.pick_image)
    st.caption(f"Ticked ones are chosen. Near-duplicates: 1 − cosine up to {ALIKE:g} in {words.plain(made.name)}.")
