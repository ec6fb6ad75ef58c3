"""Test images that neither the run nor any classifier learnt from."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from d2c.artifacts import Artifact, Workspace
from d2c.data import ingest
from d2c.errors import D2CError
from d2c.transfer.split import split
from tests.transfer.conftest import condense, folder_of


def test_what_was_chosen_is_never_tested_on(dataset: Artifact, condensed: Artifact) -> None:
    found = split(dataset, condensed, 0.3, seed=0)
    chosen = condensed.table("subset.parquet")["sample_id"]
    assert not np.isin(found.ids[found.test], chosen).any()
    assert not (found.test & found.learn).any()
    assert np.bincount(found.labels[found.test]).tolist() == [3, 3, 3]
    assert (found.test | found.learn).all()
    again = split(dataset, condensed, 0.3, seed=0).test
    assert (again == found.test).all()
    assert (split(dataset, condensed, 0.3, seed=1).test != found.test).any()
    assert found.warnings == ()


def test_its_own_test_split_is_taken(dataset: Artifact, condensed: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    table = dataset.table("samples.parquet")
    table["split"] = np.where(table["sample_id"] % 5 < 2, "test", "train")
    reads = Artifact.table
    monkeypatch.setattr(
        Artifact, "table", lambda a, name, columns=None: table if a.kind == "datasets" else reads(a, name, columns)
    )
    found = split(dataset, condensed, 0.1, seed=0)
    own = (table["split"] == "test").to_numpy()
    chosen = np.isin(found.ids, condensed.table("subset.parquet")["sample_id"])
    assert (found.test == (own & ~chosen)).all()
    assert (found.learn == ~own).all()
    assert f"less the {(own & chosen).sum()} images of it that were chosen" in found.how


def test_classes_of_one_image_and_classes_chosen_whole_are_told(workspace: Workspace, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", {"one": 1, "two": 2, "many": 6})
    data = ingest(source, workspace=workspace, quiet=True)
    few = condense(data, 2)
    found = split(data, few, 0.2, seed=0)
    names = data.json("classes.json")
    tested = {names[i] for i in found.labels[found.test]}
    assert tested == {"many"}
    assert found.warnings == (
        "one: one image, which is learnt from; nothing is said about it",
        "two: every image was chosen, so there is none to test on; nothing is said about it",
    )
    with pytest.raises(D2CError, match="has no image outside condensed/all, so there is none to test"):
        split(data, condense(data, 6, "all"), 0.2, seed=0)


def test_a_run_on_the_whole_set_and_made_images_are_told(
    dataset: Artifact, condensed: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    (said,) = split(dataset, None, 0.2, seed=0).warnings
    assert "trained on the whole data set" in said
    made = pd.DataFrame({"sample_id": range(2), "label": [0, 1], "sources": [[0, 1], [12]]})
    monkeypatch.setattr(sys.modules["d2c.transfer.split"], "is_made", lambda a: True)
    parts = np.concatenate(made["sources"].to_list())
    monkeypatch.setattr(sys.modules["d2c.transfer.split"], "ids_in_dataset", lambda a: parts)
    found = split(dataset, condensed, 0.2, seed=0)
    assert not found.test[[0, 1, 12]].any()
    assert "were made with a classifier" in found.warnings[0]
