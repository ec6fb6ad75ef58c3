from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from d2c import jobs
from d2c.artifacts import Artifact, Workspace
from d2c.compare import votes
from tests.pages.compared import comparison_of
from tests.pages.reading import captions, said, tiles

Page = Callable[..., AppTest]


@pytest.fixture
def comparison(dataset: Artifact) -> Artifact:
    return comparison_of(dataset)


def given(test: AppTest, component: str) -> dict[str, Any]:
    """What a browser part was given."""
    found = next(c.proto for c in test.get("bidi_component") if c.proto.component_name == component)
    data: dict[str, Any] = json.loads(found.json)
    return data


def test_without_scores_it_leads_to_scoring(page: Page, here: Workspace) -> None:
    assert page("compare").button(key="no_comparison_go")


def test_the_form_says_what_it_takes_and_queues_it(page: Page, scores: Artifact) -> None:
    test = page("compare")
    test.selectbox(key="compare_grid").set_value("First doubt: does Select matter once Attach is on?")
    test.text_input(key="compare_seeds").set_value("0,1").run()
    shown = {m.label: m.value for m in test.metric}
    assert (shown["Cells"], shown["Runs"]) == ("6", "10")  # five strategies and the copy machine; two seeds of five
    assert "copy machine" in captions(test)
    test.button(key="compare_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(scores.workspace)
    assert job.argv[:3] == ("compare", "scores/judged", "--grid=first-select")
    assert "--seeds=0,1" in job.argv
    assert (job.kind, job.name) == ("comparisons", job.argv[-1].removeprefix("--name="))


def test_what_no_verb_takes_is_said_in_place(page: Page, scores: Artifact) -> None:
    test = page("compare")
    test.text_input(key="compare_seeds").set_value("one").run()
    assert "one" in test.error[0].value
    assert "compare_go" not in [b.key for b in test.button]


def test_the_table_marks_controls_and_says_which_way_is_better(page: Page, comparison: Artifact) -> None:
    board = given(page("compare"), "d2c_board")
    assert [(c["key"], c["better"]) for c in board["columns"]] == [
        ("fd", "low"),
        ("nearest_ratio", "near 1"),
        ("device_seconds", "low"),
    ]
    assert [(r["id"], bool(r["mark"])) for r in board["rows"]] == [("plain", False), ("random", True), ("copies", True)]
    first = board["rows"][0]["values"][0]
    assert (first["text"], first["interval"], first["rank"]) == ("11.00", "10.00 to 12.00", 1)
    assert board["rows"][2]["values"][0]["rank"] == 0
    assert board["rows"][2]["values"][1]["text"] == "–"


def test_the_address_holds_order_columns_and_cell(page: Page, comparison: Artifact) -> None:
    test = page("compare", sort="-fd", columns="FD", cell="random")
    board = given(test, "d2c_board")
    assert [r["id"] for r in board["rows"]] == ["random", "plain", "copies"]
    assert [c["key"] for c in board["columns"]] == ["fd"]
    assert board["picked"] == "random"
    assert "Seed 1" in said(test)


def test_a_step_that_nothing_was_judged_at_is_empty(page: Page, comparison: Artifact) -> None:
    test = page("compare", when="Best step of each")
    assert "No cell was judged at its best step" in captions(test)


def test_curves_lie_over_each_other_with_the_gap(page: Page, comparison: Artifact) -> None:
    test = page("compare", compared_as="Curves")
    (chart,) = test.get("plotly_chart")
    spec = json.loads(chart.proto.spec)
    assert {t["name"] for t in spec["data"]} == {"interval, nothing", "random, all"}
    titles = [a["text"] for a in spec["layout"]["annotations"]]
    assert titles[0] == "Held-out gap by step"
    assert "FD" in titles
    # held-out 3 and 4, seen 2 and 1 at steps 20 and 40: the mean gap over two seeds is 1.5, then 2.5
    assert "ends at 2.5" in chart.proto.alt


def test_grids_share_one_step_that_is_in_the_address(page: Page, comparison: Artifact) -> None:
    strips = given(page("compare", compared_as="Samples", step="20"), "d2c_strips")
    assert [r["name"] for r in strips["runs"]] == ["interval, nothing", "random, all"]
    assert [[f["step"] for f in r["frames"]] for r in strips["runs"]] == [[20, 40], [20, 40]]
    assert strips["step"] == 20


def test_samples_of_one_noise_stand_in_the_same_place(page: Page, comparison: Artifact) -> None:
    table = given(page("compare", compared_as="Samples", drawn_as="At the end"), "d2c_matched")
    assert table["models"] == ["interval, nothing", "random, all"]
    dark = table["lines"][0]
    assert dark["name"] == "dark"
    assert dark["pictures"][0][0].startswith("/d2c/file/samples/plain-0/images/000/000000.png")
    assert dark["pictures"][1][1].startswith("/d2c/file/samples/random-0/images/000/000002.png")
    wiped = given(page("compare", compared_as="Samples", drawn_as="Wipe", drawn_seed="1"), "d2c_beside")
    assert wiped["wipe"]
    assert len(wiped["twins"]) == 4
    assert "/plain-1/" in wiped["twins"][0][0]


def test_votes_are_blind_kept_and_counted(page: Page, comparison: Artifact) -> None:
    elsewhere = votes.Trial(0, 0, 0, 0, "plain", "random")  # cast on the best step's pictures, or long ago
    for other in ({"when": "best"}, {"of": "f0"}):
        votes.add(comparison.workspace, "two", votes.answer(elsewhere, "left", voter="anonymous", **other))
    test = page("compare", compared_as="Vote")
    ballot = given(test, "d2c_ballot")
    assert ballot["left"].startswith("data:image/png;base64,")
    assert not {"plain", "random"} & set(ballot["question"].split())
    assert "**No votes yet**" in said(test)
    for _ in range(3):
        of = given(test, "d2c_ballot")["of"]
        test.session_state["ballot"] = {"answer": {"of": of, "said": "left"}}
        pair = votes.pairs(["plain", "random"], 0)[0]
        asked = votes.trials([(s, i, i % 2) for s in (0, 1) for i in range(4)], pair, voter="anonymous")
        cast = votes.about(votes.read(comparison.workspace, "two"), of=comparison.fingerprint)
        rest = votes.remaining(asked, cast, voter="anonymous")
        votes.add(comparison.workspace, "two", votes.answer(rest[0], "left", voter="anonymous"))
        test.run()
        assert given(test, "d2c_ballot")["of"] != of
    assert "3 of 8 pairs answered" in captions(test)
    assert "can not be told apart" in said(test)
    test.toggle(key="unhidden").set_value(True).run()
    assert "A is **" in test.info[0].value
    assert not [c for c in test.get("bidi_component") if c.proto.component_name == "d2c_ballot"]


def test_a_sample_leads_to_its_training_images_and_back(page: Page, comparison: Artifact) -> None:
    test = page("compare", compared_as="Nearest")
    assert [t[0] for t in tiles(test, 0)] == [3, 2, 1, 0]
    assert tiles(test, 0)[0][-1] == "copy?"
    assert [(t[0], t[2]) for t in tiles(test, 1)] == [(3, "2 ×"), (9, "1 ×"), (7, "1 ×")]

    test = page("compare", compared_as="Nearest", sample="3")
    assert "Copying suspected" in said(test)
    (pixels, features) = given(test, "d2c_pairs")["pairs"]
    assert (pixels[2], features[2]) == ("pixels: 0.050", "features: 1.500")
    close = next(t for t in (tiles(test, i) for i in range(3)) if len(t) == 8)
    assert [float(str(t[2])) for t in close] == sorted(float(str(t[2])) for t in close)

    test = page("compare", compared_as="Nearest", trained="3")
    assert "of 2 generated images" in said(test)
    test = page("compare", compared_as="Nearest", trained="5")
    assert "of 0 generated images" in said(test)
    assert "The 4 generated images nearest to it in pixels" in captions(test)


def test_the_trade_off_marks_what_nothing_beats(page: Page, comparison: Artifact) -> None:
    test = page("compare", compared_as="Trade-off")
    (chart,) = test.get("plotly_chart")
    # plain is better and cheaper, random is farther from copying: neither beats the other
    assert "On the Pareto front: interval, nothing, random, all" in chart.proto.alt
    assert "| interval, nothing | 11.00 | 0.500 | 1 min 0 s | yes |" in said(test)


def test_cells_fill_in_while_it_goes_on(page: Page, comparison: Artifact) -> None:
    partial = comparison.workspace.partial("comparisons", "going")
    shutil.copytree(comparison.path, partial)
    (partial / "artifact.json").rename(partial / "recipe.json")
    grid = comparison.json("grid.json")
    for cell in grid["cells"]:
        if cell["cell"] == "random":
            cell |= {"state": "failed", "why": "the disk is full"} if cell["seed"] else {"state": "missing"}
    (partial / "grid.json").write_text(json.dumps(grid))
    for name in ("table", "summary"):
        table = comparison.table(f"{name}.parquet")
        table[table["cell"] == "plain"].to_parquet(partial / f"{name}.parquet")
    test = page("compare")
    assert test.selectbox(key="comparison").value == "going"
    assert "5 cells and seeds · not finished" in said(test)
    rows = {r["id"]: r for r in given(test, "d2c_board")["rows"]}
    assert rows["plain"]["note"] == "2 seeds"
    assert rows["random"]["note"] == "failed: the disk is full"
    assert rows["random"]["values"][0]["text"] == "–"
