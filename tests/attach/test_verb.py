from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from d2c.artifacts import Artifact, Workspace
from d2c.attach import AttachConfig, attach
from d2c.attach.scorer import ScorerVision
from d2c.data.store import Images, pixels
from d2c.errors import Cancelled, D2CError

HERE: dict[str, Any] = {"device": "cpu", "precision": "fp32", "quiet": True}
TOKENS = "vision-scorer.safetensors"
Rows = Callable[[Artifact, str], dict[int, np.ndarray]]


def test_what_a_condensed_set_holds(subset: Artifact, dataset: Artifact) -> None:
    made = attach(subset, **HERE)
    assert made.kind == "condensed"
    pd.testing.assert_frame_equal(made.table("subset.parquet"), subset.table("subset.parquet"))
    assert made.json("classes.json") == dataset.json("classes.json")
    text, vision = made.arrays("text.safetensors"), made.arrays(TOKENS)
    assert (text["tokens"].shape, text["tokens"].dtype) == ((3, 16, 64), np.float16)
    assert (text["mask"].shape, text["mask"].dtype) == ((3, 16), bool)
    assert text["mask"].sum(1).tolist() == [6, 5, 6]  # big dog, cat, sea lion
    assert (vision["tokens"].shape, vision["tokens"].dtype) == ((6, 16, 192), np.float16)
    facts = made.facts
    assert (facts["images"], facts["classes"], facts["channels"]) == (6, 3, 3)
    assert facts["text"]["meaningful"] is False
    assert "carries no meaning" in facts["text"]["note"]
    assert (facts["text"]["dim"], facts["text"]["tokens"]) == (64, 16)
    assert (facts["vision"]["encoder"], facts["vision"]["grid"], facts["vision"]["dim"]) == ("scorer", 4, 192)
    assert facts["image_side"]["min"] >= 12
    assert not list(made.path.glob("*.part"))
    json.dumps(made.record, allow_nan=False)


def test_rows_belong_to_their_images(subset: Artifact, scorer_file: Path, dataset: Artifact, rows_of: Rows) -> None:
    import torch

    from d2c.diffusion.checkpoints import load_model

    made = attach(subset, batch_size=4, **HERE)
    encoder = ScorerVision(load_model(scorer_file), source="", seed=0, device=torch.device("cpu"), precision="fp32")
    for sample_id, tokens in rows_of(made, TOKENS).items():
        alone = encoder.encode(pixels(dataset, [sample_id], 8, 3))[0]
        np.testing.assert_allclose(tokens.astype(np.float32), alone, atol=5e-3)


def test_rows_do_not_depend_on_batch_or_order(
    subset: Artifact, workspace: Workspace, tmp_path: Path, rows_of: Rows
) -> None:
    one = attach(subset, batch_size=4, name="one", **HERE)
    assert attach(subset, batch_size=1, name="two", **HERE).path == one.path  # the same set, found
    other = attach(subset, batch_size=1, name="one", force=True, **HERE)
    shuffled = tmp_path / "shuffled" / "subsets" / subset.name
    shutil.copytree(workspace.root, tmp_path / "shuffled")
    table = subset.table("subset.parquet").sample(frac=1, random_state=3, ignore_index=True)
    table.to_parquet(shuffled / "subset.parquet", index=False)
    moved = Workspace(tmp_path / "shuffled").resolve(subset.name, "subsets")
    third = attach(moved, force=True, **HERE)
    assert third.table("subset.parquet")["sample_id"].tolist() != one.table("subset.parquet")["sample_id"].tolist()
    found = [rows_of(a, TOKENS) for a in (other, third)]
    for sample_id, tokens in found[0].items():
        np.testing.assert_allclose(found[1][sample_id].astype(np.float32), tokens.astype(np.float32), atol=2e-3)


def test_it_opens_on_another_machine(subset: Artifact, dataset: Artifact, tmp_path: Path) -> None:
    made = attach(subset, **HERE)
    wanted = {i: Images(dataset).bytes(i) for i in subset.table("subset.parquet")["sample_id"].tolist()}
    elsewhere = tmp_path / "elsewhere" / "condensed" / "moved"
    shutil.copytree(made.path, elsewhere)
    shutil.rmtree(made.workspace.root)
    shutil.rmtree(tmp_path / "source")
    there = Workspace(tmp_path / "elsewhere").resolve("moved", "condensed")
    assert {i: Images(there).bytes(i) for i in wanted} == wanted
    ids = there.table("subset.parquet")["sample_id"].to_numpy()
    assert pixels(there, ids, 8, int(there.facts["channels"])).shape == (6, 3, 8, 8)
    assert there.arrays(TOKENS)["tokens"].shape[0] == 6


def test_an_interrupted_call_goes_on(
    subset: Artifact, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, rows_of: Rows
) -> None:
    whole = rows_of(attach(subset, batch_size=1, name="whole", **HERE), TOKENS)
    shutil.rmtree(workspace.folder("condensed", "whole"))
    encode, calls = ScorerVision.encode, []

    def stop_at_the_fourth(self: ScorerVision, images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        if len(calls) == 4:
            raise Cancelled("stopped as asked")
        return encode(self, images)

    monkeypatch.setattr(ScorerVision, "encode", stop_at_the_fourth)
    with pytest.raises(Cancelled):
        attach(subset, batch_size=1, name="again", **HERE)
    partial = workspace.partial("condensed", "again")
    copied = {p: p.stat().st_mtime_ns for p in (partial / "images").rglob("*.*")}
    with (partial / TOKENS).open("ab") as handle:
        handle.write(b"torn")
    made = attach(subset, batch_size=2, name="again", **HERE)
    assert sum(calls[4:]) == 3  # rows 0, 1 and 2 were there
    assert {p.name: p.stat().st_mtime_ns for p in (made.path / "images").rglob("*.*")} == {
        p.name: at for p, at in copied.items()
    }
    for sample_id, tokens in rows_of(made, TOKENS).items():
        np.testing.assert_allclose(tokens.astype(np.float32), whole[sample_id].astype(np.float32), atol=2e-3)


def test_a_torn_table_of_copies_is_made_again(
    subset: Artifact, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> np.ndarray:
        raise Cancelled("stopped as asked")

    with monkeypatch.context() as patch:
        patch.setattr(ScorerVision, "encode", die)
        with pytest.raises(Cancelled):
            attach(subset, name="torn", **HERE)
    table = workspace.partial("condensed", "torn") / "images.parquet"
    table.write_bytes(table.read_bytes()[:-20])
    made = attach(subset, name="torn", **HERE)
    assert len(Images(made).ids) == 6


def test_pretrained_towers_from_files(subset: Artifact, tiny_clip: Path, tiny_vit: Path, tmp_path: Path) -> None:
    given = {
        "text": "hf-hub:org/tiny-clip",
        "text_weights": str(tiny_clip / "open_clip_model.safetensors"),
        "vision": "hf-hub:org/tiny-vit",
        "vision_weights": str(tiny_vit / "model.safetensors"),
        "vision_grid": 3,
    }
    made = attach(subset, **given, **HERE)
    assert made.arrays("text.safetensors")["tokens"].shape == (3, 16, 16)
    assert made.arrays("vision-hf-hub-org-tiny-vit.safetensors")["tokens"].shape == (6, 9, 32)
    assert made.facts["text"]["meaningful"] is True
    assert made.facts["vision"]["source"] == "file model.safetensors"
    assert made.recipe["vision_grid"] == 3
    shutil.copytree(tiny_vit, tmp_path / "elsewhere")
    moved = {**given, "vision_weights": str(tmp_path / "elsewhere" / "model.safetensors")}
    assert attach(subset, **moved, **HERE).path == made.path  # the same bytes at another place
    assert str(tmp_path) not in json.dumps(made.recipe)


def test_missing_weights_leave_nothing_behind(
    subset: Artifact, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip  # noqa: F401  the tower's module is needed to take its hub away

    from d2c.attach import openclip

    def nothing(*_: object, **__: object) -> Path:
        raise D2CError("no weights for clip-vit-b-32")

    monkeypatch.setattr(sys.modules[openclip.__name__], "fetch", nothing)
    with pytest.raises(D2CError, match="no weights for clip-vit-b-32"):
        attach(subset, text="clip-vit-b-32", name="mine", **HERE)
    assert attach(subset, text="hash", name="mine", **HERE).name == "mine"


def test_options_that_are_not_read_do_not_count(subset: Artifact) -> None:
    plain = attach(subset, text="none", vision="none", **HERE)
    again = attach(subset, text="none", vision="none", prompt="x {class}", seed=3, vision_grid=9, **HERE)
    assert again.fingerprint == plain.fingerprint
    assert sorted(p.name for p in plain.path.iterdir()) == [
        "artifact.json",
        "classes.json",
        "images",
        "images.parquet",
        "subset.parquet",
    ]
    seeded = attach(subset, seed=3, **HERE)
    assert seeded.fingerprint != attach(subset, **HERE).fingerprint


def test_defaults_need_nothing_from_outside() -> None:
    assert (AttachConfig().text, AttachConfig().vision, AttachConfig().scorer) == ("hash", "scorer", "auto")
