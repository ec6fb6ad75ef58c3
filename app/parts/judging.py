"""Trained models beside the curves over k: what they were judged, and whether the proxy goes with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from app import state
from app.parts import words
from d2c.artifacts import Artifact
from d2c.select import Ranking, SelectConfig
from d2c.select.trained import FEWEST, PROXIES, Agreement, Trained, agreement, trained

JUDGED = {"accuracy": "read as asked", "fd": "FD‑classifier", "kid": "KID‑classifier"}
SAID = {
    "rank": "the rule",
    "frechet": "Fréchet distance",
    "coverage": "coverage",
    "vendi": "diversity",
    "duplicates": "few duplicates",
}


def judged(
    scores: Artifact, seen: Ranking, config: SelectConfig, live: float
) -> tuple[list[Trained], Agreement | None]:
    """The trained models that differ in k alone, those of this budget first; how they agree where there are enough."""
    reports = ",".join(a.fingerprint[:12] for a in state.workspace().list("reports"))
    known = state.derived(scores, f"trained {config.strategy} {reports}", lambda: trained(scores, config.strategy))
    groups: list[list[Trained]] = list(known)
    now = (config.per_class, config.offset, config.window)
    groups.sort(key=lambda group: (len({one.k for one in group}) < FEWEST, group[0].budget != now))
    if not groups or len({one.k for one in groups[0]}) < FEWEST:
        return (groups[0] if groups else []), None
    group = groups[0]
    budget = group[0].budget
    if not (seen.proxy.knows(*budget) or seen.proxy.cost <= live):
        return group, None
    return group, agreement(group, seen.proxy.curves(*budget))


def checked(group: list[Trained], found: Agreement | None) -> None:
    """Whether the proxy goes with what trained models get, or what is missing to know."""
    ks = sorted({one.k for one in group})
    if found is None and len(ks) >= FEWEST:
        st.caption("There are trained models at another budget: work out its curves to compare them.")
        return
    if found is None:
        there = f"Trained models: {len(ks)} of {FEWEST} (k = {', '.join(map(str, ks))})." if ks else ""
        st.caption(
            f"{there or 'No trained models yet, so nothing says how far to trust this.'} Keep choices at three or more "
            "k with one budget, then attach, train and judge each with the same settings: their judged values are then "
            "drawn beside the curves."
        )
        return
    m, offset, window = found.budget
    more = f", offset {offset}" * (offset > 0) + f", window {window}" * (window > 0)
    st.markdown(
        f"**Checked against {words.many(int(found.runs.sum()), 'trained model')}** at k = "
        f"{', '.join(map(str, found.k.tolist()))} ({words.many(m, 'image')} a class{more}). "
        "Spearman's ρ over these k; "
        "+1 where what the proxy calls better was judged better:"
    )
    st.markdown(judged_table(found))
    st.markdown(rho_table(found))
    if len(found.k) < 6:
        st.caption(f"Of {len(found.k)} values of k a correlation is rough: it may be chance.")


def judged_table(judged: Agreement) -> str:
    """Judged values, a row a metric and a column a k, as Markdown."""
    heads = [
        f"k = {k}" + f" ({n} runs)" * (n > 1) for k, n in zip(judged.k.tolist(), judged.runs.tolist(), strict=True)
    ]
    rows = [[JUDGED[m], *(_value(m, v) for v in values.tolist())] for m, values in judged.judged.items()]
    return _markdown(["Judged", *heads], rows)


def rho_table(judged: Agreement) -> str:
    """Spearman's ρ, a row a metric and a column a proxy, as Markdown."""
    rows = []
    for m in judged.judged:
        found = [judged.rho[m, name] for name in PROXIES]
        rows.append([JUDGED[m], *("–" if r is None else f"{r:+.2f}".replace("-", "−") for r in found)])
    return _markdown(["ρ with", *(SAID[name] for name in PROXIES)], rows)


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, [":---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _value(metric: str, value: float) -> str:
    return words.percent(value) if metric == "accuracy" else words.number(value)


def points(found: Agreement) -> dict[str, Any]:
    """The judged values of the first metric over k, for a small chart."""
    metric = next(iter(found.judged))
    return {
        "title": f"Judged: {JUDGED[metric]}",
        "unit": "percent" if metric == "accuracy" else "number",
        "hint": "high is better" if metric == "accuracy" else "low is better",
        "k": found.k.tolist(),
        "values": short(found.judged[metric]),
    }


def short(values: np.ndarray) -> list[float]:
    """Values with nine digits, as they are sent."""
    return [float(f"{v:.9g}") for v in values.tolist()]
