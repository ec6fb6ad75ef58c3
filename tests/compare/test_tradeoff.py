from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from d2c.artifacts import Artifact
from d2c.compare.curves import judged_at, other_steps, over_seeds, with_gap
from d2c.compare.measures import MEASURES, known
from d2c.compare.tradeoff import front, with_cost

LOSSES = st.integers(1, 3).flatmap(
    lambda m: st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, float("nan")]), min_size=m, max_size=m), min_size=1, max_size=12
    )
)


@given(LOSSES)
def test_the_front_is_what_nothing_beats(losses: list[list[float]]) -> None:
    def beats(one: list[float], other: list[float]) -> bool:
        return all(a <= b for a, b in zip(one, other, strict=True)) and one != other

    whole = [row for row in losses if not any(v != v for v in row)]
    wanted = [row in whole and not any(beats(other, row) for other in whole) for row in losses]
    assert front(losses).tolist() == wanted


def test_the_loss_of_a_measure_falls_as_it_gets_better() -> None:
    assert MEASURES["fd"].loss(3.0) == 3.0
    assert MEASURES["accuracy"].loss(0.5) > MEASURES["accuracy"].loss(0.9)
    ratio = MEASURES["nearest_ratio"]
    assert ratio.loss(1.0) == 0.0
    assert ratio.loss(0.2) == ratio.loss(1.8)
    assert [m.name for m in known(["bytes", "fd", "cell"])] == ["fd", "bytes"]


def test_costs_join_the_summary() -> None:
    table = pd.DataFrame(
        {"cell": ["a", "a", "b"], "when": "end", "device_seconds": [10.0, 30.0, 5.0], "bytes": [1.0, 1.0, np.nan]}
    )
    summary = pd.DataFrame({"cell": ["b", "a"], "when": "end", "fd": [1.0, 2.0]})
    found = with_cost(summary, table).set_index("cell")
    assert found.loc["a", ["device_seconds", "device_seconds_low", "device_seconds_high"]].tolist() == [20, 10, 30]
    assert found.loc["b", "fd"] == 1.0
    assert np.isnan(found.loc["b", "bytes"])


def curves(cell: str, seed: int, step: int, **values: float) -> list[dict[str, object]]:
    place = {"cell": cell, "label": cell, "seed": seed, "run": f"{cell}{seed}", "step": step, "images_seen": 10 * step}
    return [{**place, "name": name, "value": value} for name, value in values.items()]


def test_the_gap_is_held_out_minus_seen_where_both_are() -> None:
    table = pd.DataFrame([*curves("a", 0, 1, held_out=3.0, seen=1.0), *curves("a", 0, 2, held_out=3.0)])
    gap = with_gap(table)
    assert gap.loc[gap["name"] == "gap", ["step", "value"]].to_numpy().tolist() == [[1, 2.0]]
    assert with_gap(gap) is gap
    assert with_gap(table[table["name"] == "seen"])["name"].tolist() == ["seen"]


def test_reports_are_points_of_curves() -> None:
    place = {"cell": "a", "label": "a", "seed": 0, "run": "r", "images_seen": 10}
    rows = [
        {**place, "when": "end", "step": 4, "fd": 2.0, "kid": None, "bytes": 9},
        {**place, "when": "best", "step": 2, "fd": 1.0, "kid": None, "bytes": 9},
        {**place, "when": "end", "cell": "copies", "run": "", "step": 0, "fd": 0.5, "kid": None, "bytes": 9},
    ]
    found = judged_at(pd.DataFrame(rows))
    assert found[["name", "step", "value"]].to_numpy().tolist() == [["fd", 4, 2.0], ["fd", 2, 1.0]]
    assert judged_at(pd.DataFrame(rows[:0], columns=[*rows[0]])).empty


def test_reports_of_other_steps_join_where_they_were_made_alike(tmp_path: Path) -> None:
    def report(name: str, run: str, step: int, count: int, fd: float) -> Artifact:
        record = {
            "recipe": {"count": count, **({"step": step} if step else {})},
            "facts": {"fd": fd, "step": step or 40},
        }
        return Artifact(tmp_path / name, {**record, "parents": [{"kind": "runs", "name": run, "fingerprint": run}]})

    place = {"cell": "a", "label": "a", "seed": 0, "run": "r", "report": "end", "images_seen": 400, "step": 40}
    table = pd.DataFrame([{**place, "when": "end"}])
    end, early = report("end", "r", 0, 50, 1.0), report("early", "r", 10, 50, 9.0)
    others = [report("more", "r", 20, 500, 3.0), report("else", "s", 20, 50, 4.0)]
    found = other_steps(table, [end, early, *others]).sort_values("step")
    assert found[["step", "images_seen", "value"]].to_numpy().tolist() == [[10, 100, 9.0], [40, 400, 1.0]]
    assert other_steps(table, others).empty


def test_seeds_are_averaged_step_by_step() -> None:
    table = pd.DataFrame([*curves("a", 0, 1, loss=1.0), *curves("a", 1, 1, loss=3.0), *curves("a", 0, 2, loss=5.0)])
    assert over_seeds(table)[["step", "value"]].to_numpy().tolist() == [[1, 2.0], [2, 5.0]]
