from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from d2c.artifacts import Workspace
from d2c.select.recipes import check

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_chosen_set_is_taken_out(tab: Page, site: str, act: SimpleNamespace, made: Workspace, tmp_path: Path) -> None:
    page = tab
    page.goto(f"{site}/select?subset=four-each")
    act.settle(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download the list").click()
    waiting.value.save_as(tmp_path / "list.csv")
    subset = made.find("subsets", "four-each")
    assert subset is not None
    read = pd.read_csv(tmp_path / "list.csv")
    assert read["sample_id"].tolist() == subset.table("subset.parquet")["sample_id"].tolist()

    act.choose(page, "export_format", "WebDataset tars")
    out = made.root / "exports" / "four-each-webdataset"
    expect(page.locator("[class*=st-key-export_out] input")).to_have_value(str(out))
    page.locator(".st-key-export_go button").click()
    card = page.locator("[class*=export_job]")
    expect(card.get_by_text(re.compile("^Finished"))).to_be_visible(timeout=act.job)
    assert check(out, made) == []
    expect(page.get_by_text("is there already: give another place, or replace it")).to_be_visible()
    expect(page.locator(".st-key-export_go button")).to_be_disabled()
