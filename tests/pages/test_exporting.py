from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.parts import exporting
from d2c import jobs
from d2c.artifacts import Artifact
from d2c.cli import main
from d2c.export import FORMATS, export

Page = Callable[..., AppTest]


def place(test: AppTest, subset: Artifact, format: str = "folder") -> str:
    return f"export_out_{subset.fingerprint[:12]}_{format}"


def test_a_kept_choice_is_taken_out_by_a_job(page: Page, subset: Artifact) -> None:
    test = page("select")
    test.button(key="export_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(subset.workspace)
    out = subset.workspace.root / "exports" / "every-second-folder"
    assert job.argv == ("export", "subsets/every-second", f"--out={out}")
    assert (job.gpu, job.kind) == (False, None)
    assert job.title == "Export every-second: Folder of images"
    assert any("every-second: Folder of images" in m.value.replace("\\", "") for m in test.markdown)  # its card
    assert main([*job.argv, "--workspace", str(subset.workspace.root), "--json", "--quiet"]) == 0
    assert len(list(out.rglob("*.png"))) == 4


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_a_place_and_its_own_options(page: Page, subset: Artifact, format: str) -> None:
    test = page("select")
    test.selectbox(key="export_format").set_value(format).run()
    assert not test.exception
    assert test.text_input(key=place(test, subset, format)).value == str(exporting.suggested(subset, format))
    keys = {w.key for w in test.number_input}
    assert ("export_image_size" in keys) == (format not in ("csv", "parquet"))
    assert ("export_shard_size" in keys) == (format == "webdataset")


def test_what_lies_there_is_said_before_anything_starts(page: Page, subset: Artifact, tmp_path: Path) -> None:
    there = export(subset, out=str(tmp_path / "there"), quiet=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    test = page("select")
    test.text_input(key=place(test, subset)).set_value(str(there.path)).run()
    assert test.button(key="export_go").disabled
    assert any("is there already: give another place, or replace it" in c.value.replace("\\", "") for c in test.caption)
    test.toggle(key="export_replace").set_value(True).run()
    assert not test.button(key="export_go").disabled
    test.text_input(key=place(test, subset)).set_value(str(tmp_path / "mine")).run()
    assert test.button(key="export_go").disabled  # nobody's folder is replaced
    assert any("is not an export of d2c" in c.value.replace("\\", "") for c in test.caption)
    test.text_input(key=place(test, subset)).set_value(" ").run()
    assert test.button(key="export_go").disabled


def test_the_list_can_be_downloaded(page: Page, subset: Artifact, tmp_path: Path) -> None:
    test = page("select")
    (button,) = [b for b in test.get("download_button") if b.proto.label == "Download the list"]
    assert not button.proto.disabled
    (tmp_path / "list.csv").write_bytes(exporting._csv(subset))
    read = pd.read_csv(tmp_path / "list.csv")
    assert read["sample_id"].tolist() == subset.table("subset.parquet")["sample_id"].tolist()
    assert read["class"].tolist() == ["dark", "light", "dark", "light"]
