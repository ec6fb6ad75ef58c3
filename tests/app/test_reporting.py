from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from app.parts import reporting
from d2c.artifacts import Artifact, Workspace
from d2c.report import html_of


def shown() -> None:
    import os

    from app.parts import reporting
    from d2c.artifacts import Workspace

    reporting.button(Workspace.at(os.environ["D2C_WORKSPACE"]).list("subsets")[-1])


def test_one_click_makes_it_and_what_was_made_is_kept(
    digits_chain: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    subset = digits_chain["subsets"]
    monkeypatch.setenv("D2C_WORKSPACE", str(subset.workspace.root))
    test = AppTest.from_function(shown).run()
    assert not test.exception
    (button,) = test.get("download_button")
    assert button.proto.label == "Download the report"
    made = reporting._made(subset)
    assert made == html_of(subset)
    assert reporting._made(subset) is made


def test_a_file_that_cannot_be_made_says_why(workspace: Workspace) -> None:
    record = {"kind": "runs", "fingerprint": "0" * 64, "recipe": {}, "parents": [], "facts": {"task": "classifier"}}
    said = reporting._made(Artifact(workspace.folder("runs", "judge"), record)).decode()
    assert "runs/judge could not be made: runs/judge is a classifier" in said
