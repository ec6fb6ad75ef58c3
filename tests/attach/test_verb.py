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
from d2c.attach import AttachConfig, attach, check, open_vision
from d2c.attach.scorer import ScorerVision
from d2c.data.mapped import open_shard
from d2c.data.store import Images, pixels
from d2c.errors import Cancelled, D2CError

HERE: dict[str, Any] = {"device": "cpu", "precision": "fp32", "quiet": True}
TOKENS = "vision-scorer"
Rows = Callable[[Artifact], dict[int, np.ndarray]]


def test_what_a_condensed_set_holds(subset: Artifact, dataset: Artifact) -> None:
    made = attach(subset, **HERE)
    assert made.kind == "condensed"
    pd.testing.assert_frame_equal(made.table("subset.parquet"), subset.table("subset.parquet"))
    assert made.json("classes.json") == dataset.json("classes.json")
    text, vision = made.arrays("text.safetensors"), open_shard(made.path / TOKENS / "000000.safetensors")
    assert (text["tokens"].shape, text["tokens"].dtype) == ((3, 16, 64), np.float16)
    assert (text["mask"].shape, text["mask"].dtype) == ((3, 16), bool)
    assert text["mask"].sum(1).tolist() == [6, 5, 6]  # big dog, cat, sea lion
    assert (vision.arrays["tokens"].shape, vision.types["tokens"]) == ((6, 16, 192), "BF16")
    assert vision.arrays["sample_ids"].tolist() == made.table("subset.parquet")["sample_id"].tolist()
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
    for sample_id, tokens in rows_of(made).items():
        alone = encoder.encode(pixels(dataset, [sample_id], 8, 3))[0]
        np.testing.assert_allclose(tokens.astype(np.float32), alone, atol=2e-2)


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
    found = [rows_of(a) for a in (other, third)]
    for sample_id, tokens in found[0].items():
        np.testing.assert_allclose(found[1][sample_id], tokens, atol=2e-2)


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
    check(there, thorough=True)
    stored = open_vision(there)
    assert stored is not None
    assert stored.read([5, 0]).shape == (2, 16, 192)
    assert (there.path / "README.md").read_text().startswith("# ")


def test_a_torn_table_of_copies_is_made_again(
    subset: Artifact, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Cancelled("stopped as asked")

    with monkeypatch.context() as patch:
        patch.setattr(ScorerVision, "tokens", die)
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
    stored = open_vision(made)
    assert stored is not None
    assert (stored.folder.name, stored.read(range(6)).shape) == ("vision-hf-hub-org-tiny-vit", (6, 9, 32))
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
        "README.md",
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
