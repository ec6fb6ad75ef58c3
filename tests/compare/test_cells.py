"""Which cells a grid has on the data at hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d2c.artifacts import Artifact
from d2c.compare.cells import COPIES, FULL, RANDOM, Cell, cells_of, scaled_k
from d2c.compare.grids import GRIDS, Grid
from d2c.compare.settings import Data, data_of, setting_of
from d2c.errors import UsageError
from d2c.select.registry import STRATEGIES

ALL = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def found(grid: str | Grid, data: Data, full: bool = False, **given: list[Any]) -> tuple[list[Cell], list[str]]:
    return cells_of(grid if isinstance(grid, Grid) else GRIDS[grid], data, setting_of(data, "demo"), given, full=full)


def big(scores: Artifact, *sizes: int) -> Data:
    return Data(scores, np.array(sizes), 256, "imagenet")


def test_the_ablation_is_eight_cells_and_a_copy_machine(scores: Artifact) -> None:
    cells, notes = found("ablation", data_of(scores))
    axes = {(c.axes["strategy"], c.axes["text"], c.axes["vision"]) for c in cells if c.control != COPIES}
    assert axes == {(s, t, v) for s in ("random", "interval") for t in ("none", "hash") for v in ("none", "scorer")}
    assert len(cells) == 9
    (random,) = [c for c in cells if c.control == RANDOM]
    assert (random.axes["strategy"], random.axes["text"], random.axes["vision"]) == ("random", "hash", "scorer")
    (copies,) = [c for c in cells if c.control == COPIES]
    (source,) = [c for c in cells if c.id == copies.of]
    assert source.axes["strategy"] == "interval"
    assert not notes


def test_the_first_table_has_the_papers_budgets_and_k(scores: Artifact) -> None:
    cells, notes = found("table1", big(scores, *[1300] * 10))
    assert not notes
    at = {
        (c.axes["per_class"], c.axes["interval"]) for c in cells if c.axes["strategy"] == "interval" and not c.control
    }
    assert at == {(10, 96), (50, 16), (100, 10)}
    bare = [c for c in cells if c.axes["strategy"] in ("kcenter", "herding") and not c.control]
    assert len(bare) == 6
    assert all(c.axes["text"] == c.axes["vision"] == "none" for c in bare)
    assert sum(c.control == RANDOM for c in cells) == sum(c.control == COPIES for c in cells) == 3


def test_budgets_beyond_a_class_are_lowered_and_meet(scores: Artifact) -> None:
    cells, notes = found("ablation", data_of(scores), per_class=[20, 50, 100])
    assert {c.axes["per_class"] for c in cells} == {20}
    assert len(cells) == 9
    assert notes == [f"{n} per class lowered to 20, the images of the smallest class" for n in (50, 100)]


def test_k_beyond_a_class_is_lowered_and_meets(scores: Artifact) -> None:
    cells, notes = found("intervals", data_of(scores))
    ks = [c.axes["interval"] for c in cells if c.axes["strategy"] == "interval" and c.control != COPIES]
    assert ks == [1, 2]  # (20 - 1) // 9
    assert all("lowered to 2" in note for note in notes)


def test_one_encoder_is_what_attached_means_and_several_are_an_axis(scores: Artifact) -> None:
    data = data_of(scores)
    one, _ = found("ablation", data, vision=["dinov2-vit-b-14"])
    assert {c.axes.get("vision") for c in one if c.control != COPIES} == {"none", "dinov2-vit-b-14"}
    two, _ = found("ablation", data, vision=["scorer", "dinov2-vit-b-14"])
    assert {c.axes.get("vision") for c in two if c.control != COPIES} == {"scorer", "dinov2-vit-b-14"}


def test_segments_cover_the_ranking_and_keep_its_order(scores: Artifact) -> None:
    cells, _ = found("segments", big(scores, 1300, 1300))
    at = [(c.axes["offset"], c.axes["window"]) for c in cells if "segment" in c.axes]
    assert at == [(260 * i, 260) for i in range(5)]


def test_the_full_run_is_a_row_when_asked_for(scores: Artifact) -> None:
    data = data_of(scores)
    assert not any(c.control == FULL for c in found("ablation", data)[0])
    (full,) = [c for c in found("ablation", data, full=True)[0] if c.control == FULL]
    assert full.axes == {}
    models = [c for c in found("ablation", data, full=True, model=["SiT-Ti/4", "DiT-Ti/4"])[0] if c.control == FULL]
    assert [c.axes["model"] for c in models] == ["SiT-Ti/4", "DiT-Ti/4"]


@pytest.mark.parametrize("name", GRIDS)
def test_every_ready_made_grid_fits_small_and_large_data(scores: Artifact, name: str) -> None:
    for data in (data_of(scores), big(scores, 732, 1300, 1300)):
        cells, _ = found(name, data)
        assert len({c.id for c in cells}) == len({c.label for c in cells}) == len(cells)
        assert any(c.control == RANDOM for c in cells)
        assert any(c.control == COPIES for c in cells)
        assert any(not c.control for c in cells)


lists = st.fixed_dictionaries(
    {},
    optional={
        "strategy": st.lists(st.sampled_from(sorted(STRATEGIES)), min_size=1, max_size=4),
        "per_class": st.lists(st.integers(1, 200), min_size=1, max_size=3),
        "interval": st.lists(st.integers(1, 200), min_size=1, max_size=3),
        "text": st.lists(st.sampled_from(["none", "hash", "t5-v1_1-xl"]), min_size=1, max_size=2),
        "vision": st.lists(st.sampled_from(["none", "scorer"]), min_size=1, max_size=2),
        "condition": st.lists(st.sampled_from(["class", "text", "both"]), min_size=1, max_size=2),
    },
)


@ALL
@given(axes=lists, sizes=st.lists(st.integers(1, 400), min_size=1, max_size=4))
def test_cells_differ_fit_and_are_controlled(scores: Artifact, axes: dict[str, list[Any]], sizes: list[int]) -> None:
    data = Data(scores, np.array(sizes), 32, "data")
    cells, notes = found(Grid("axes", "", "", "", ({},)), data, **axes)
    trained = [c for c in cells if c.control != COPIES]
    assert len({c.id for c in cells}) == len(cells)
    assert len({c.label for c in trained}) == len(trained)
    assert all(c.axes != d.axes for i, c in enumerate(trained) for d in trained[:i])
    for cell in trained:
        budget = cell.axes["per_class"]
        assert 1 <= budget <= min(sizes)
        assert ("interval" in cell.axes) == ("interval" in STRATEGIES[cell.axes["strategy"]].uses)
        if budget > 1 and "interval" in cell.axes:
            assert (budget - 1) * cell.axes["interval"] <= min(sizes) - 1 or cell.axes["interval"] == 1
    lowered = any(n > min(sizes) for n in axes.get("per_class", [10]))
    assert lowered == any("smallest class" in note for note in notes)
    for budget in {c.axes["per_class"] for c in trained}:
        at = [c for c in cells if c.axes["per_class"] == budget]
        assert sum(c.control == COPIES for c in at) == 1
        assert any(c.control == RANDOM and "none" not in (c.axes["text"], c.axes["vision"]) for c in at)


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"strategy": ["best"]}, "--strategy = 'best' is not one of"),
        ({"per_class": [0]}, "--per-class = 0 is below 1"),
        ({"vision": ["eyes", "none"]}, "unknown vision encoder 'eyes'"),
        ({"segment": [6]}, "segment 6 is not one of"),
    ],
)
def test_what_no_verb_takes_is_refused_before_anything_runs(
    scores: Artifact, axes: dict[str, list[Any]], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        found("ablation", data_of(scores), **axes)


def test_the_interval_is_the_papers_on_its_classes() -> None:
    assert [scaled_k(m, 1300) for m in (10, 50, 100)] == [96, 16, 10]
    assert scaled_k(10, 130) == 10
    assert scaled_k(10, 3) == 1
