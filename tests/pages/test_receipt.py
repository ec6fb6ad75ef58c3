"""The receipt and the transfer of a run, as parts of a page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.parts.cards import address
from d2c import jobs
from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import option
from d2c.explore.lineage import card_of
from d2c.transfer.means import mean_of


def _receipt() -> None:
    import streamlit as st

    from app.parts import receipt
    from d2c.artifacts import Workspace

    receipt.panel(Workspace.at().resolve(st.query_params["of"], "runs"))


def _transfer() -> None:
    import streamlit as st

    from app.parts import transferring
    from d2c.artifacts import Workspace

    transferring.panel(Workspace.at().resolve(st.query_params["of"], "runs"))


@dataclasses.dataclass(frozen=True)
class Config:
    """A recipe."""

    what: str = option("", "")
    batch: int = option(8, "")


@pytest.fixture
def small(dataset: Artifact) -> Artifact:
    """A run on four of the twelve images, which took a minute of a GPU and saw 800 images."""

    def put(kind: str, parents: list[Artifact], seconds: float, **facts: Any) -> Artifact:
        def write(build: Build) -> None:
            (build.folder / "classes.json").write_text('["dark", "light"]')
            build.note(**facts)

        made = produce(dataset.workspace, kind, Config(kind), write, stem=kind, name=kind, parents=parents, quiet=True)
        record = {**made.record, "device": "cuda:0", "wall_seconds": seconds, "device_seconds": seconds}
        (made.path / "artifact.json").write_text(json.dumps(record))
        return made

    condensed = put("condensed", [dataset], 40.0, images=4)
    more = {"task": "generate", "steps": 100, "images_seen": 800, "images": 4, "images_per_second": 16.0}
    return put("runs", [condensed], 60.0, **more, model="SiT-Ti/2", image_size=16)


def look(part: Callable[[], None], run: Artifact, **query: str) -> AppTest:
    test = AppTest.from_function(part, default_timeout=30)
    for key, value in {"of": run.name, **query}.items():
        test.query_params[key] = value
    test.run()
    assert not test.exception, test.exception[0].stack_trace
    return test


def html_of(test: AppTest) -> str:
    return " ".join(block.proto.body for block in test.get("html"))


def test_the_receipt_says_by_how_much_and_how_it_is_known(small: Artifact) -> None:
    test = look(_receipt, small)
    # 200 passes over 12 images at 16 a second: 150 s of a GPU (180 with start and pictures), against 100.
    assert "1.5–1.8 ×" in html_of(test)
    assert "less GPU time than all images would take (projected)" in html_of(test)
    assert "Price" not in html_of(test)
    assert any("as many as this run made over its 4" in c.value.replace("\\", "") for c in test.caption)


def test_prices_come_from_the_address_and_stay_there(small: Artifact) -> None:
    test = look(_receipt, small, price="36", currency="EUR")
    assert "Price (EUR)" in html_of(test)
    assert "<td>1.00</td>" in html_of(test)  # 100 s at 36 an hour
    test.number_input(key="price").set_value(72.0).run()
    assert "<td>2.00</td>" in html_of(test)
    (preview,) = [c.value for c in test.code]
    assert "d2c receipt runs/runs --price=72.0 --currency=EUR" in preview
    test.selectbox(key="full").select("own").run()
    test.number_input(key="full_steps").set_value(1_000).run()
    assert "8,000 images" in " ".join(c.value.replace("\\", "") for c in test.caption)


def test_a_run_on_all_images_is_no_saving(run: Artifact) -> None:
    test = look(_receipt, run)
    assert "trained on the whole data set" in test.info[0].value


def test_a_transfer_is_started_with_the_command_that_is_shown(here: Workspace, small: Artifact) -> None:
    test = look(_transfer, small)
    test.number_input(key="transfer_seeds").set_value(2).run()
    test.button(key="first_transfer").click().run()
    (job,) = jobs.jobs(here)
    assert list(job.argv) == ["transfer", "runs/runs", "--seeds=2"]


def made_transfer(run: Artifact, to: bool) -> Artifact:
    """A finished transfer, as its files are."""

    def write(build: Build) -> None:
        accuracies = {"real": [1.0, 0.9], "condensed": [0.7, 0.8], "random": [0.6, 0.6], "generated": [0.5, 0.6]}
        arms = [{"arm": a, "images": 4, "accuracy": mean_of(v, share=True)} for a, v in accuracies.items()]
        rows = [(a, s, 0, "dark", 5, v) for a, of in accuracies.items() for s, v in enumerate(of)]
        table = pd.DataFrame(rows, columns=["arm", "seed", "label", "class", "images", "accuracy"])
        table.to_parquet(build.folder / "per_class.parquet")
        ends = {
            a: {"arm": a, "loss": mean_of([v]), "fd": mean_of([10 * v]), "accuracy": mean_of([])}
            for a, v in (("tuned", 0.5), ("scratch", 0.8))
        }
        more: dict[str, Any] = {"dataset": "other", "model": "SiT-Ti/2", "steps": 20, "batch": 8, "trained_on": 30}
        more |= {
            "held_out": 3,
            "drawn": 9,
            "left_behind": "the class table",
            "reached": 10,
            "arms": list(ends.values()),
        }
        said = {
            "arms": arms,
            "held_out": {"images": 5, "how": "10 % of each class"},
            "steps": 10,
            "batch": 4,
            "seeds": 2,
            "intervals": "95 %",
            "to": more if to else None,
            "warnings": ["light: every image was chosen"],
        }
        (build.folder / "transfer.json").write_text(json.dumps(said))
        step = np.array([10, 20] * 2)
        curves = {"arm": ["tuned"] * 2 + ["scratch"] * 2, "seed": 0, "step": step, "loss": [0.7, 0.5, 0.9, 0.8]}
        pd.DataFrame(curves).to_parquet(build.folder / "curves.parquet")

    return produce(run.workspace, "transfers", Config(f"{to}"), write, stem="t", parents=[run], quiet=True)


def test_what_a_transfer_found_is_told(small: Artifact) -> None:
    made_transfer(small, to=False)
    test = look(_transfer, small)
    said = " ".join(m.value for m in test.markdown)
    assert "a classifier reads 75.0 % right after 4 chosen images, 60.0 % after as many at random" in said
    assert "Chosen and random images teach a classifier about the same" in said
    assert "every image was chosen" in test.warning[0].value
    assert [s.value for s in test.subheader] == ["Class by class"]
    made_transfer(small, to=True)
    test = look(_transfer, small)
    said = " ".join(m.value for m in test.markdown)
    assert "On other" in [s.value for s in test.subheader]
    assert "**Fine-tuned, it takes 10 steps** to where the model from scratch is after 20" in said
    assert "| From scratch | 0.800 | 8.0 | – |" in said
    assert len(test.get("plotly_chart")) == 3


def test_a_transfer_that_is_asked_for_is_shown_on_judge(page: Callable[..., AppTest], small: Artifact) -> None:
    made = made_transfer(small, to=False)
    card = card_of(made)
    assert address(card) == {"run": "runs", "transfer": made.name, "judge_view": "Transfer"}
    test = page("judge", **address(card))
    assert "Class by class" in [s.value for s in test.subheader]
