"""What the app remembers: which artifacts are looked at (in the URL) and what was read from them (in memory).

The session holds names and numbers only. Tables are read once per fingerprint and shared, read-only, by
everyone who looks at the same artifact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import streamlit as st

from app.parts import words
from app.places import PLACES
from d2c.artifacts import Artifact, Workspace
from d2c.errors import D2CError

LABELS = {
    "datasets": "Data set",
    "scores": "Scores",
    "subsets": "Chosen set",
    "condensed": "Condensed set",
    "runs": "Run",
    "samples": "Samples",
    "reports": "Report",
    "maps": "Map",
    "measures": "Measures",
    "transfers": "Transfer",
    "comparisons": "Comparison",
}
PLURALS = {
    "datasets": "Data sets",
    "scores": "Scores",
    "subsets": "Chosen sets",
    "condensed": "Condensed sets",
    "runs": "Runs",
    "samples": "Samples",
    "reports": "Reports",
    "maps": "Maps",
    "measures": "Measures",
    "transfers": "Transfers",
    "comparisons": "Comparisons",
}
PARAMETER = {kind: kind if kind in ("scores", "condensed", "samples", "measures") else kind[:-1] for kind in LABELS}
_LOOK_AT = "_look_at"
_BEGUN = "_begun"  # by parameter, what a box began with and nobody picked
_MISSED = "_missed"  # by parameter, a name in the address that is not here, and what is shown in its place


def workspace() -> Workspace:
    """The workspace that D2C_WORKSPACE names, or ./workspace."""
    return Workspace.at()


def choose(
    kind: str,
    *,
    among: Sequence[Artifact] | None = None,
    begin: Artifact | None = None,
    label: str | None = None,
    help: str | None = None,
) -> Artifact | None:
    """A select box over the artifacts of a kind; its name is in the URL and holds on every page.

    It begins with `begin`, or the newest; what was begun with, on another page too, gives way to another `begin`
    until somebody picks. A name in the address that is not in the workspace is told below it. Streamlit leaves a
    widget's default out of the URL, so the box has none (`index=None`): whatever was picked is in the link, the oldest
    too; a link without a name means the newest.
    None when there is nothing to choose.
    """
    found = list(workspace().list(kind) if among is None else among)
    if not found:
        return None
    key, names = PARAMETER[kind], [a.name for a in found]
    missed = None if kind in st.session_state.get(_LOOK_AT, {}) else missing(kind, key)
    begun, waiting = st.session_state.setdefault(_BEGUN, {}), taken(kind)
    asked = waiting or _asked(kind)
    untouched = waiting is None and asked == begun.get(key)
    if asked in names and not (untouched and begin is not None):
        st.session_state[key] = asked
        if not untouched:
            begun.pop(key, None)
    else:
        st.session_state[key] = begun[key] = begin.name if begin is not None else names[-1]
    st.selectbox(label or LABELS[kind], names, index=None, key=key, bind="query-params", help=help)
    tell_missed(kind, key, missed, str(st.session_state[key] or names[-1]))
    return next((a for a in found if a.name == st.session_state[key]), found[-1])


def missing(kind: str, key: str) -> str | None:
    """What the address that the session was opened with asks for under a key and the workspace has not.

    Ask before the box is drawn: Streamlit takes what is no option out of the address.
    """
    asked = None if key in st.session_state else st.query_params.get(key)
    return None if not asked or any(a.name == asked for a in workspace().list(kind)) else asked


def tell_missed(kind: str, key: str, asked: str | None, shown: str) -> None:
    """Say in a quiet line what the address asked for in vain, until something else than `shown` is picked."""
    told: dict[str, tuple[str, str]] = st.session_state.setdefault(_MISSED, {})
    if asked is not None:
        told[key] = asked, shown
    if key not in told:
        return
    if told[key][1] != shown:
        del told[key]
        return
    name, many = LABELS[kind].lower(), kind in PARAMETER and PARAMETER[kind] == kind
    which = f"{name} '{told[key][0][:60]}', which are" if many else f"the {name} '{told[key][0][:60]}', which is"
    st.caption(words.plain(f"The address asks for {which} not here; showing {shown or 'none'}."))


def chosen(kind: str) -> Artifact | None:
    """The artifact of a kind that was last looked at, without a widget; the newest when there was none."""
    asked = st.session_state.get(_LOOK_AT, {}).get(kind) or _asked(kind)
    found = workspace().list(kind)
    return next((a for a in found if a.name == asked), found[-1] if found else None)


def descends(artifact: Artifact, dataset: Artifact) -> bool:
    """Whether an artifact was made from this data set, as far as its ancestors are in the workspace."""

    def origin() -> str:
        try:
            return artifact.parent("datasets").fingerprint
        except D2CError:
            return ""

    return artifact.fingerprint == dataset.fingerprint or derived(artifact, "origin", origin) == dataset.fingerprint


def go(page: str) -> NoReturn:
    """Open another page. With widgets bound to the URL Streamlit does so only if it is told what the URL holds."""
    st.switch_page(PLACES[page].file, query_params={})


def made_from(kind: str, parent: Artifact) -> list[Artifact]:
    """The artifacts of a kind whose first parent is this one, oldest first."""
    found = workspace().list(kind)
    return [a for a in found if a.record["parents"] and a.record["parents"][0]["fingerprint"] == parent.fingerprint]


def look_at(artifact: Artifact) -> None:
    """Make an artifact and its first parent the chosen ones of their kinds, from when their boxes are drawn next."""
    waiting = st.session_state.setdefault(_LOOK_AT, {})
    waiting[artifact.kind] = artifact.name
    for parent in artifact.record["parents"][:1]:
        waiting[parent["kind"]] = parent["name"]


def taken(kind: str) -> str | None:
    """Like `wanted`, for a box of one's own: the name is given once."""
    name: str | None = st.session_state.get(_LOOK_AT, {}).pop(kind, None)
    return name


def wanted(kind: str) -> str | None:
    """The artifact of a kind that is to be looked at next, while its select box has not been drawn yet."""
    name: str | None = st.session_state.get(_LOOK_AT, {}).get(kind)
    return name


def _asked(kind: str) -> str | None:
    return st.session_state.get(PARAMETER[kind], st.query_params.get(PARAMETER[kind]))


def picked_image() -> int | None:
    """The image that is looked at, which is in the URL."""
    asked = st.query_params.get("image", "")
    return int(asked) if asked.isascii() and asked.isdigit() else None


def pick_image(sample_id: int) -> None:
    """Look at an image. Call it in a callback, so that the whole page knows."""
    st.query_params["image"] = str(sample_id)


def table(artifact: Artifact, name: str) -> pd.DataFrame:
    """A Parquet table of an artifact, read once. Shared: never write into it."""
    return _table(str(artifact.path), artifact.fingerprint, name, artifact)


@st.cache_resource(show_spinner=False, max_entries=64)
def _table(path: str, fingerprint: str, name: str, _artifact: Artifact) -> pd.DataFrame:
    return _artifact.table(name)


def json(artifact: Artifact, name: str) -> Any:
    """A JSON file of an artifact, read once. Shared: never write into it."""
    return derived(artifact, f"json:{name}", lambda: artifact.json(name))


def classes(artifact: Artifact) -> list[str]:
    """The names of an artifact's classes by label: from its own `classes.json` or its data set's."""
    holder = artifact if (artifact.path / "classes.json").is_file() else artifact.parent("datasets")
    names: list[str] = json(holder, "classes.json")
    return names


def derived(artifact: Artifact, name: str, make: Callable[[], Any]) -> Any:
    """Anything made from one artifact (an aggregate, a figure), made once per fingerprint and `name`.

    `name` says what `make` makes, its parameters included. Shared: never write into it.
    """
    return _derived(str(artifact.path), artifact.fingerprint, name, make)


@st.cache_resource(show_spinner=False, max_entries=256)
def _derived(path: str, fingerprint: str, name: str, _make: Callable[[], Any]) -> Any:
    return _make()


def newest(folder: Path, pattern: str) -> Path | None:
    """The last file of a pattern in a folder by name, which is how steps are ordered."""
    return max(folder.glob(pattern), default=None)
