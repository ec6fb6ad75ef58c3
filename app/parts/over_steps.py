"""Over training steps: when the loss on held-out images parts from that on training images, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from app import state
from app.parts import charts, forms, jobs, words
from d2c.artifacts import Artifact
from d2c.config import configure, options_of
from d2c.evaluate import EvaluateConfig
from d2c.train.snapshots import HELD_OUT, SEEN, best_snapshot, end_of, steps_of

JUDGED = {
    "nearest_ratio": "Median distance, real = 1",
    "share_below": "Nearer than 99 % of real ones",
    "memorised": "Memorised (d1/d2 < ⅓)",
    "auth_pct": "AuthPct",
    "ct": "C_T",
    "hit": "Training images hit",
    "gap": "Loss gap",
    "fd": "FD‑classifier",
    "accuracy": "Read as asked",
}
MOST = 12  # snapshots that one press judges
LOSSES = {HELD_OUT: "Held-out images", SEEN: "Training images"}


def panel(report: Artifact, run: Artifact) -> None:
    """The losses of a run's snapshots, and what was judged of each; nothing where a run kept none."""
    there = steps_of(run)
    losses = state.derived(run, "snapshot losses", lambda: _losses(run))
    if not there and not losses:
        return
    st.subheader("Over training", anchor=False)
    left, right = st.columns(2, gap="large")
    with left:
        _loss_chart(run, losses)
    with right:
        _judged_chart(report, run, there)


def step_box(run: Artifact, *, key: str) -> int:
    """Which of a run's snapshots is meant, 0 for its end; no box where it kept none."""
    there = [step for step in steps_of(run) if step != end_of(run)]
    if not there:
        return 0
    return int(
        st.selectbox(
            "Training step",
            [0, *reversed(there)],
            format_func=lambda step: f"{step:,}" if step else f"{end_of(run):,} (the end)",
            key=f"{key}_step_{run.name}",
            persist_state="session",
            help="Which snapshot of the run's average",
        )
    )


def _losses(run: Artifact) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Label → (steps, loss) of the two losses that snapshots measure."""
    if not (run.path / "metrics.parquet").is_file():
        return {}
    table = run.table("metrics.parquet")
    unseen = not dict(run.facts.get(HELD_OUT) or {}).get("seen_in_training")
    found = {}
    for name, label in LOSSES.items():
        rows = table[table["name"] == name].sort_values("step")
        if len(rows) and (unseen or name != HELD_OUT):
            found[label] = rows["step"].to_numpy(), rows["value"].to_numpy()
    return found


def _loss_chart(run: Artifact, losses: Mapping[str, Any]) -> None:
    st.markdown("**Diffusion loss**")
    if not losses:
        st.caption("This run measured none along its way.")
        return
    figure, best = charts.curves(losses, x="Step", y="Loss", height=240), best_snapshot(run)
    figure.update_traces(mode="lines+markers")
    if best:
        note = {"annotation_text": "best", "annotation_position": "top right"}
        figure.add_vline(x=best, line={"dash": "dot", "width": 1.5, "color": charts.CLASSES[9]}, **note)
    said = ", ".join(f"{name.lower()} {values[-1]:.3g}" for name, (_, values) in losses.items())
    charts.show(figure, key="steps_loss", alt=f"Losses over steps; at the end {said}")
    text = "Both meet the same timesteps and the same noise, with the averaged weights of each step."
    if best:
        text += f" Held-out loss is lowest at step {best:,}: from there on it learns its own images alone."
    st.caption(text)


def judged_steps(report: Artifact, run: Artifact) -> dict[int, Artifact]:
    """The reports of a run that differ from this one in the training step alone, by step."""
    wanted = {k: v for k, v in report.recipe.items() if k != "step"}
    return {
        int(other.facts["step"]): other
        for other in state.made_from("reports", run)
        if other.facts.get("step") and {k: v for k, v in other.recipe.items() if k != "step"} == wanted
    }


def _judged_chart(report: Artifact, run: Artifact, there: list[int]) -> None:
    found = judged_steps(report, run)
    known = [name for name in JUDGED if sum(r.facts.get(name) is not None for r in found.values()) > 1]
    left = [step for step in there if step not in found]
    if known:
        name = st.selectbox(
            "Judged over steps", known, format_func=lambda n: JUDGED[n], key="steps_metric", persist_state="session"
        )
        points = [(s, r.facts[name]) for s, r in sorted(found.items()) if r.facts.get(name) is not None]
        x, y = (np.array(v, float) for v in zip(*points, strict=True))
        figure = charts.curves({JUDGED[name]: (x, y)}, x="Step", y=JUDGED[name], height=240)
        figure.update_traces(mode="lines+markers")
        charts.show(
            figure, key="steps_judged", alt=f"{JUDGED[name]} at {len(points)} steps, from {y[0]:.3g} to {y[-1]:.3g}"
        )
        verdicts = ", ".join(f"{s:,} {r.facts['verdict']}" for s, r in sorted(found.items()) if r.facts.get("verdict"))
        st.caption(f"Verdict by step: {verdicts}.")
    else:
        st.markdown("**Judged over steps**")
        st.caption("Judge two snapshots or more, with these settings, to see how they change.")
    if left:
        _judge_rest(report, run, left)


def _judge_rest(report: Artifact, run: Artifact, left: list[int]) -> None:
    """The button that judges what is not judged yet, a job a snapshot."""
    shown = left[:MOST]
    if st.button(f"Judge {words.many(len(shown), 'more snapshot')}", key="judge_steps", icon=":material/play_arrow:"):
        for step in shown:
            argv = forms.words_of("evaluate", f"runs/{run.name}", _at(report, step))
            jobs.start(argv, f"Judge {run.name} at step {step:,}")
        st.rerun()
    said = ", ".join(f"{step:,}" for step in shown)
    st.caption(f"Steps {said}{' …' * (len(left) > MOST)}, with this report's settings; one job each.")


def _at(report: Artifact, step: int) -> EvaluateConfig:
    """The configuration of a report, for another step."""
    known = {o.name for o in options_of(EvaluateConfig)}
    values = {k: v for k, v in report.recipe.items() if k in known}
    return configure(EvaluateConfig, None, {**values, "step": step})
