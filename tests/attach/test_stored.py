"""What a condensed set keeps of vision tokens: exact, mirrored, compressed, interrupted, edited, cut."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from d2c.artifacts import Artifact, Workspace
from d2c.attach import attach, check, open_vision, stream
from d2c.attach.compress import Basis, Moments, kept
from d2c.attach.scorer import ScorerVision
from d2c.attach.stored import VisionTokens
from d2c.attach.stream import even_batch
from d2c.data import ingest
from d2c.data.mapped import open_shard, widened
from d2c.data.store import Images, pixels
from d2c.diffusion.checkpoints import load_model
from d2c.errors import Cancelled, D2CError
from d2c.progress import Progress
from d2c.select import select
from d2c.team import Team
from d2c.train.data import stored_tokens

HERE: dict[str, Any] = {"device": "cpu", "precision": "fp32", "quiet": True, "text": "none"}


def tokens_of(made: Artifact) -> VisionTokens:
    found = open_vision(made)
    assert found is not None
    return found


@pytest.fixture
def many(workspace: Workspace, tmp_path: Path, scorer_run: Artifact, dataset: Artifact, subset: Artifact) -> Artifact:
    """A subset of 140 images: three shards of 64, 64 and 12. Its scores name the scorer of `subset`."""
    rng = np.random.default_rng(5)
    for i in range(150):
        folder = tmp_path / "many" / ("big_dog", "cat", "sea lion")[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    data = ingest(tmp_path / "many", workspace=workspace, name="many", quiet=True)
    old = subset.parent("scores")
    table = data.table("samples.parquet", ["sample_id", "label"])
    from d2c.artifacts import produce
    from d2c.score import ScoreConfig

    def write(build: Any) -> None:
        table.assign(difficulty=rng.random(len(table)).astype(np.float32)).to_parquet(
            build.folder / "scores.parquet", index=False
        )

    extra = {k: old.recipe[k] for k in ("scorer", "scorer_digest")}
    scores = produce(
        workspace, "scores", ScoreConfig(), write, stem="m", parents=[data, scorer_run], extra=extra, quiet=True
    )
    return select(scores, strategy="random", per_class=47, name="many", quiet=True)


@given(st.lists(st.floats(-(2.0**120), 2.0**120, width=32), min_size=1, max_size=20))
def test_bfloat16_is_read_as_torch_reads_it(values: list[float]) -> None:
    tensor = torch.tensor(values).to(torch.bfloat16)
    found = widened(tensor.view(torch.int16).numpy().view(np.uint16), "BF16")
    np.testing.assert_array_equal(found, tensor.float().numpy())


@given(st.integers(1, 1024), st.integers(1, 512))
def test_batches_are_even(longest: int, most: int) -> None:
    size = even_batch(longest, most)
    assert 1 <= size <= most
    assert -(-longest // size) == -(-longest // most)  # as few batches as the largest would give


def test_shards_are_plain_safetensors(many: Artifact) -> None:
    made = attach(many, flip=True, **HERE)
    stored = tokens_of(made)
    assert [load_file(f)["tokens"].shape[0] for f in stored.files] == [64, 64, 13]
    assert stored.images == len(made.table("subset.parquet"))
    for start, file in zip(stored.starts, stored.files, strict=False):
        whole = load_file(file)
        assert whole["tokens"].dtype == whole["tokens_flip"].dtype == torch.bfloat16
        rows = range(start, start + len(whole["tokens"]))
        np.testing.assert_array_equal(stored.read(rows, flip=True), whole["tokens_flip"].float().numpy())
    ids = np.concatenate([open_shard(f).arrays["sample_ids"] for f in stored.files])
    assert ids.tolist() == made.table("subset.parquet")["sample_id"].tolist()
    check(made, thorough=True)


def test_mirrored_tokens_are_those_of_the_mirrored_image(many: Artifact, scorer_file: Path) -> None:
    made = attach(many, flip=True, **HERE)
    encoder = ScorerVision(load_model(scorer_file), source="", seed=0, device=torch.device("cpu"), precision="fp32")
    ids = made.table("subset.parquet")["sample_id"].to_numpy()[[3, 100]]
    x = pixels(made, ids, 8, 3)
    stored = tokens_of(made)
    np.testing.assert_allclose(stored.read([3, 100]), encoder.encode(x), atol=0.02)
    wanted = encoder.encode(np.ascontiguousarray(x[..., ::-1]))
    np.testing.assert_allclose(stored.read([3, 100], flip=True), wanted, atol=0.02)
    assert np.abs(stored.read([3]) - stored.read([3], flip=True)).max() > 0.1
    with pytest.raises(D2CError, match="no tokens of mirrored images: attach with --flip"):
        tokens_of(attach(many, **HERE)).read([0], flip=True)


def test_components_and_the_loss_that_is_stated(many: Artifact) -> None:
    full, few = attach(many, **HERE), attach(many, components=8, **HERE)
    exact, small = tokens_of(full), tokens_of(few)
    assert (small.width, small.dim, small.images) == (8, 192, exact.images)
    rows = range(exact.images)
    a, b = exact.read(rows), small.read(rows)
    cosines = ((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).mean(1)
    said = few.facts["vision"]["cosine"]
    assert said["mean"] == pytest.approx(cosines.mean(), abs=2e-3)
    assert said["lowest"] == pytest.approx(cosines.min(), abs=2e-3)
    assert 0.5 < said["mean"] < full.facts["vision"]["cosine"]["mean"] <= 1.0
    assert full.facts["vision"]["cosine"]["lowest"] > 0.9999
    assert few.facts["bytes"]["vision"] < full.facts["bytes"]["vision"] / 5
    more = attach(many, components=64, **HERE)
    assert more.facts["vision"]["cosine"]["mean"] > said["mean"]


def test_the_basis_is_that_of_pca() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 6)) @ np.diag([5, 3, 1, 0.5, 0.1, 0.01]) + 2)
    moments = Moments(6, torch.device("cpu"))
    for part in x.split(7):
        moments.add(part[None])
    mean, components = moments.basis(3)
    centred = x.numpy() - x.numpy().mean(0)
    rows = np.linalg.svd(centred, full_matrices=False)[2][:3]
    np.testing.assert_allclose(mean, x.numpy().mean(0), atol=1e-5)
    np.testing.assert_allclose(np.abs(components.numpy() @ rows.T), np.eye(3), atol=1e-4)
    basis = Basis(mean, components, torch.device("cpu"))
    near = kept(x[None].float(), basis.compress(x[None].float()), basis)
    assert 0.9 < float(near) < 1.0
    with pytest.raises(D2CError, match="7 components of 50 tokens 6 wide cannot be had: lower --components"):
        moments.basis(7)


def test_training_reads_what_is_stored(many: Artifact) -> None:
    made = attach(many, flip=True, components=16, **HERE)
    stored = tokens_of(made)
    both = stored_tokens(made, stored.grid, flip=True)
    assert both is not None
    assert (both.shape, both.dtype) == ((2, stored.images, 16, 192), torch.bfloat16)
    for side in (0, 1):
        wanted = stored.read(range(stored.images), flip=side == 1)
        np.testing.assert_allclose(both[side].float().numpy(), wanted, atol=0.04)
    one = stored_tokens(made, 2, flip=False)
    assert one is not None
    assert one.shape == (stored.images, 4, 192)


def test_normalised_over_the_places(many: Artifact) -> None:
    made = attach(many, normalise="spatial", **HERE)
    found = tokens_of(made).read([0, 70])
    np.testing.assert_allclose(found.mean(1), 0, atol=0.02)
    np.testing.assert_allclose(found.std(1, ddof=1), 1, atol=0.02)
    assert made.facts["vision"]["normalise"] == "spatial"


def test_a_compiled_model_meets_one_batch_size(
    many: Artifact, scorer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = attach(many, **HERE)
    encoder = ScorerVision(load_model(scorer_file), source="", seed=0, device=torch.device("cpu"), precision="fp32")
    tokens, sizes = ScorerVision.tokens, []

    def note(self: ScorerVision, images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return tokens(self, images)

    monkeypatch.setattr(ScorerVision, "tokens", note)
    ids = made.table("subset.parquet")["sample_id"].to_numpy()
    progress = Progress(None, quiet=True)
    found = stream.Stream(
        Images(made), ids, encoder, stream.How(batch=24), tmp_path / "out", progress, torch.device("cpu")
    )
    found.fixed = True
    found.run(Team())
    assert set(sizes) == {found.batch} == {22}  # 64 in three, and the last 13 filled up
    rows = [open_shard(p).floats("tokens") for p in sorted((tmp_path / "out").iterdir())]
    np.testing.assert_allclose(np.concatenate(rows), tokens_of(made).read(range(141)), atol=0.02)


def test_a_stop_costs_a_shard_at_most(many: Artifact, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tokens_of(attach(many, name="whole", **HERE)).read(range(141))
    shutil.rmtree(workspace.folder("condensed", "whole"))
    tokens, calls = ScorerVision.tokens, []

    def stop_later(self: ScorerVision, images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        if len(calls) == 6:
            raise Cancelled("stopped as asked")
        return tokens(self, images)

    monkeypatch.setattr(ScorerVision, "tokens", stop_later)
    with pytest.raises(Cancelled):
        attach(many, batch_size=16, name="again", **HERE)
    folder = workspace.partial("condensed", "again") / "vision-scorer"
    assert [p.name for p in folder.iterdir()] == ["000000.safetensors"]
    before = (folder / "000000.safetensors").stat().st_mtime_ns
    made = attach(many, batch_size=32, name="again", **HERE)
    assert sum(calls[6:]) == 141 - 64
    assert (made.path / "vision-scorer" / "000000.safetensors").stat().st_mtime_ns == before
    np.testing.assert_allclose(tokens_of(made).read(range(141)), whole, atol=0.02)


def test_a_torn_shard_is_made_again(many: Artifact, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise Cancelled("stopped as asked")

    attach(many, name="other", seed=1, **HERE)  # imports the module
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["d2c.attach.write"], "_note", stop)
        with pytest.raises(Cancelled):
            attach(many, name="torn", **HERE)
    files = sorted((workspace.partial("condensed", "torn") / "vision-scorer").iterdir())
    kept_at = files[0].stat().st_mtime_ns
    files[1].write_bytes(files[1].read_bytes()[:-7])
    made = attach(many, name="torn", **HERE)
    check(made, thorough=True)
    assert (made.path / "vision-scorer" / files[0].name).stat().st_mtime_ns == kept_at


def test_a_full_disk_leaves_whole_shards(many: Artifact, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, calls = stream.os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(stream, "WRITERS", 1)
        patch.setattr(stream.os, "fsync", full)
        with pytest.raises(
            D2CError, match=r"the disk is full.*make room there; the same command then goes on"
        ) as caught:
            attach(many, name="full", **HERE)
    assert "\n" not in str(caught.value)
    folder = workspace.partial("condensed", "full") / "vision-scorer"
    first = folder / "000000.safetensors"
    assert open_shard(first).arrays["tokens"].shape[0] == 64
    assert not list(folder.glob(".*"))
    before = first.stat().st_mtime_ns
    made = attach(many, name="full", **HERE)
    assert (made.path / "vision-scorer" / first.name).stat().st_mtime_ns == before
    check(made, thorough=True)


def test_tokens_that_are_not_numbers(many: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = ScorerVision.tokens

    @torch.inference_mode()
    def broken(self: ScorerVision, images: torch.Tensor) -> torch.Tensor:
        found = tokens(self, images).clone()
        found[-1, 0, 0] = float("nan")
        return found

    monkeypatch.setattr(ScorerVision, "tokens", broken)
    with pytest.raises(D2CError, match=r"image \d+ of .* has tokens that are not numbers: try --precision fp32"):
        attach(many, **HERE)


def edited(made: Artifact, how: str) -> Artifact:
    folder, shard = made.path, made.path / "vision-scorer" / "000001.safetensors"
    record = json.loads((folder / "artifact.json").read_text())
    if how == "recipe":
        record["recipe"]["seed"] = 7
    elif how == "later":
        record["facts"]["layout"] = 3
    elif how == "subset":
        table = pd.read_parquet(folder / "subset.parquet")
        table.assign(label=0).to_parquet(folder / "subset.parquet", index=False)
    elif how == "missing":
        shard.unlink()
    elif how == "cut":
        shard.write_bytes(shard.read_bytes()[:-9])
    elif how == "grid":
        save_file({"tokens": torch.zeros(64, 15, 192, dtype=torch.bfloat16)}, shard)
    elif how == "prompts":
        (folder / "classes.json").unlink()
    elif how == "flipped bit":
        data = bytearray(shard.read_bytes())
        data[-5] ^= 1
        shard.write_bytes(bytes(data))
    (folder / "artifact.json").write_text(json.dumps(record))
    found = made.workspace.find("condensed", made.name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("recipe", "was edited: its recipe has fingerprint .*, its record says "),
        ("later", "has layout 3, this d2c reads up to 2: update d2c"),
        ("subset", r"subset\.parquet was edited after it was made"),
        ("missing", "has 77 rows for 141 images: 1 shards are missing: copy the folder again"),
        ("cut", r"000001\.safetensors cannot be read \(.* bytes, its header says"),
        ("grid", "mixes tokens of different shapes"),
        ("prompts", r"classes\.json is missing: copy the folder again"),
        ("flipped bit", r"000001\.safetensors is damaged: copy it again"),
    ],
)
def test_what_was_edited_or_cut_is_one_line(many: Artifact, how: str, said: str) -> None:
    made = edited(attach(many, **HERE), how)
    with pytest.raises(D2CError, match=said) as caught:
        check(made, thorough=True)
    assert "\n" not in str(caught.value)


def test_tokens_of_another_set_are_refused(many: Artifact) -> None:
    """Taken for this set's they would align each image with another's features, or none, and nobody would know."""
    made = attach(many, **HERE)
    check(made)
    for name, other in (("flip", True), ("stored", 8), ("dim", 768), ("class_token", True)):
        facts = {**made.facts, "vision": {**made.facts["vision"], name: other}}
        with pytest.raises(D2CError, match=f"holds the tokens of another set .{name} .*, its record says {other}"):
            open_vision(Artifact(made.path, {**made.record, "facts": facts}))
    first, second = (made.path / "vision-scorer" / f"00000{i}.safetensors" for i in (0, 1))
    beside = first.with_name("beside")
    first.rename(beside)
    second.rename(first)
    beside.rename(second)
    with pytest.raises(D2CError, match=r"000000\.safetensors holds the tokens of other images than subset\.parquet"):
        check(made)
    first.parent.rename(made.path / "vision-dinov2-vit-b-14")
    with pytest.raises(D2CError, match="vision-scorer is missing: copy the folder again"):
        check(made)
    shutil.rmtree(made.path / "vision-dinov2-vit-b-14")
    with pytest.raises(D2CError, match="vision-scorer is missing: copy the folder again"):
        check(made)


def test_a_set_of_the_first_layout_is_read(many: Artifact) -> None:
    made = attach(many, **HERE)
    wanted = tokens_of(made).read(range(141))
    old = made.path / "vision-scorer.safetensors"
    save_file({"tokens": torch.from_numpy(wanted).half()}, old)
    shutil.rmtree(made.path / "vision-scorer")
    found = tokens_of(made)
    np.testing.assert_allclose(found.read([5, 140]), wanted[[5, 140]], atol=2e-3)
    read = stored_tokens(made, 4, flip=True)
    assert read is not None
    assert read.shape == (141, 16, 192)


def test_tables_and_parents_that_were_edited(many: Artifact, workspace: Workspace) -> None:
    file = many.path / "subset.parquet"
    good = pd.read_parquet(file)
    for bad, said in (
        (good.assign(sample_id=good["sample_id"] + 1000), "has no sample"),
        (good.assign(label=(good["label"] + 1) % 3), "its labels are not those of datasets/many"),
        (pd.concat([good, good[:1]]), "names an image twice"),
    ):
        bad.to_parquet(file, index=False)
        with pytest.raises(D2CError, match=f"was edited, or belongs to another data set: .*{said}") as caught:
            attach(many, **HERE)
        assert "\n" not in str(caught.value)
    good.to_parquet(file, index=False)
    record = json.loads((many.path / "artifact.json").read_text())
    record["recipe"]["per_class"] = 9
    (many.path / "artifact.json").write_text(json.dumps(record))
    with pytest.raises(D2CError, match="subsets/many was edited: its recipe has fingerprint"):
        attach("many", workspace=workspace, **HERE)
    record["schema"] = 0
    (many.path / "artifact.json").write_text(json.dumps(record))
    with pytest.raises(D2CError, match=r"has schema 0, this d2c reads .*: make it again"):
        attach("many", workspace=workspace, **HERE)
