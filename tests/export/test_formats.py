"""Every format is read back by the software that it is meant for."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from d2c.artifacts import Artifact, Workspace
from d2c.data import ingest
from d2c.data.crop import adm_crop
from d2c.data.store import Images
from d2c.export import export
from d2c.select import select
from tests.export.conftest import picture, rows_of

LIST = ["sample_id", "key", "class", "label", "rank", "difficulty", "order", "reason", "split", "digest"]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def pairs(dataset: Artifact) -> list[tuple[str, str]]:
    """Class name and digest of each image of a data set, sorted."""
    names = dataset.json("classes.json")
    table = dataset.table("samples.parquet")
    return sorted((names[label], digest) for label, digest in zip(table["label"], table["digest"], strict=True))


def chosen_pairs(subset: Artifact, formats: tuple[str, ...] | None = None) -> list[tuple[str, str]]:
    rows = rows_of(subset)
    if formats is not None:
        rows = rows[[key.rpartition(".")[2] in formats for key in rows["key"]]]
    return sorted(zip(rows["class"], rows["digest"], strict=True))


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_list_says_it_all(subset: Artifact, tmp_path: Path, format: str) -> None:
    done = export(subset, format=format, out=str(tmp_path / "deep" / "list"), quiet=True)
    assert done.path == tmp_path / "deep" / f"list.{format}"
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == sorted([f"list.{format}", "list.md"])
    read = pd.read_csv(done.path, keep_default_na=False) if format == "csv" else pd.read_parquet(done.path)
    assert list(read.columns) == LIST
    pd.testing.assert_frame_equal(read, rows_of(subset)[LIST], check_dtype=False)
    assert done.bytes == sum(p.stat().st_size for p in (tmp_path / "deep").iterdir())


def test_imagefolder_reads_the_folder(subset: Artifact, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    done = export(subset, out=str(tmp_path / "out"), quiet=True)
    assert (done.images, done.classes, done.reencoded) == (15, 3, 3)  # the GIFs, which ImageFolder passes over
    read = ImageFolder(str(done.path))
    rows = rows_of(subset)
    assert read.classes == ["cat", "dog", "ネコ"]
    assert len(read) == 15
    assert [read.targets.count(i) for i in range(3)] == [5, 5, 5]
    manifest = pd.read_csv(done.path / "manifest.csv")
    assert list(manifest.columns) == ["file", *LIST]
    assert {str(Path(path).relative_to(done.path)) for path, _ in read.samples} == set(manifest["file"])
    kept = 0
    for file, digest, key in zip(manifest["file"], manifest["digest"], rows["key"], strict=True):
        if key.endswith(".gif"):
            assert file.endswith(".png")
        else:
            assert sha((done.path / file).read_bytes()) == digest
            kept += 1
    assert kept == 12
    assert len({Path(f).stem.casefold() for f in manifest["file"]}) == 15


def test_our_own_ingest_reads_the_folder(subset: Artifact, tmp_path: Path) -> None:
    done = export(subset, out=str(tmp_path / "out"), quiet=True)
    again = ingest(done.path, workspace=Workspace(tmp_path / "other"), quiet=True)
    kept = chosen_pairs(subset, ("png", "jpeg", "webp", "tiff"))
    assert set(kept) <= set(pairs(again))
    assert again.facts["images"] == 15
    assert again.facts["rejected"] == 2  # the card and the manifest


def test_datasets_opens_the_hugging_face_folder(
    subset: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    done = export(subset, format="hf", out=str(tmp_path / "out"), quiet=True)
    read = datasets.load_dataset(str(done.path), split="train", cache_dir=str(tmp_path / "cache"))
    rows = rows_of(subset)
    assert read.features["label"].names == ["cat", "dog", "ネコ"]
    assert read.features["label"].int2str(read["label"]) == list(rows["class"])
    assert read[0]["image"].size == (20, 16)
    assert done.reencoded == 0
    encoded = read.cast_column("image", datasets.Image(decode=False))["image"]
    assert [sha(cell["bytes"]) for cell in encoded] == list(rows["digest"])
    assert list(read["reason"]) == list(rows["reason"])
    assert np.allclose(read["difficulty"], rows["difficulty"])
    assert list(read["source_split"]) == list(rows["split"])
    again = ingest(f"hf:{done.path}", workspace=Workspace(tmp_path / "other"), quiet=True)
    assert pairs(again) == chosen_pairs(subset)


def test_hugging_face_files_are_bounded(subset: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    hub = importlib.import_module("d2c.export.hub")  # by its path `export` is the function
    monkeypatch.setattr(hub, "SHARD_BYTES", 4000)
    monkeypatch.setattr(hub, "ROWS", 2)
    done = export(subset, format="hf", out=str(tmp_path / "out"), quiet=True)
    names = sorted(p.name for p in (done.path / "data").iterdir())
    assert len(names) > 2
    assert names == [f"train-{i:05d}-of-{len(names):05d}.parquet" for i in range(len(names))]
    read = datasets.load_dataset(str(done.path), split="train", cache_dir=str(tmp_path / "cache"))
    assert list(read["sample_id"]) == list(rows_of(subset)["sample_id"])


def test_webdataset_reads_the_tars(subset: Artifact, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    done = export(subset, format="webdataset", out=str(tmp_path / "out"), shard_size=4, quiet=True)
    shards = sorted(str(p) for p in done.path.glob("*.tar"))
    assert len(shards) == 4
    read = list(webdataset.WebDataset(shards, shardshuffle=False))
    rows = rows_of(subset).to_dict("records")
    assert len(read) == 15
    assert done.reencoded == 6  # GIF and TIFF
    for sample, row in zip(read, rows, strict=True):
        (image,) = (value for key, value in sample.items() if key in ("jpg", "png", "webp"))
        if not row["key"].endswith((".gif", ".tiff")):
            assert sha(image) == row["digest"]
        assert int(sample["cls"]) == row["label"]
        said = json.loads(sample["json"])
        assert (said["class_name"], said["sample_id"], said["rank"]) == (row["class"], row["sample_id"], row["rank"])
    decoded = next(
        iter(webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("jpg;png;webp", "cls"))
    )
    assert decoded[0].size == (20, 16)
    assert decoded[1] == rows[0]["label"]
    again = ingest(f"wds:{done.path}/*.tar", workspace=Workspace(tmp_path / "other"), quiet=True)
    assert set(chosen_pairs(subset, ("png", "jpeg", "webp"))) <= set(pairs(again))
    assert again.facts["images"] == 15
    first = Path(shards[0]).read_bytes()
    more = export(subset, format="webdataset", out=str(tmp_path / "again"), shard_size=4, quiet=True)
    assert (more.path / Path(shards[0]).name).read_bytes() == first


def test_fiftyone_has_its_documented_layout(subset: Artifact, tmp_path: Path) -> None:
    done = export(subset, format="fiftyone", out=str(tmp_path / "out"), quiet=True)
    said = json.loads((done.path / "labels.json").read_text(encoding="utf-8"))
    assert set(said) == {"classes", "labels"}
    files = sorted((done.path / "data").iterdir())
    assert sorted(said["labels"]) == [f.stem for f in files]  # one file a name, its extension left out
    by_digest = {row["digest"]: row for row in rows_of(subset).to_dict("records")}
    for target in said["labels"].values():
        assert set(target) <= {"label", "confidence", "attributes"}
        row = by_digest[target["attributes"]["digest"]]
        assert said["classes"][target["label"]] == row["class"]
        assert target["attributes"]["rank"] == row["rank"]
        assert target["attributes"]["difficulty"] == row["difficulty"]
    assert {f.suffix for f in files} == {".png", ".jpg", ".webp", ".gif"}
    for file in files:
        Image.open(file).load()


@pytest.mark.parametrize("format", ["folder", "hf", "webdataset", "fiftyone"])
def test_a_size_crops_to_png_squares(subset: Artifact, tmp_path: Path, format: str) -> None:
    done = export(subset, format=format, out=str(tmp_path / "out"), image_size=8, quiet=True)
    assert done.reencoded == 15
    assert "cropped to 8 px" in done.card.read_text(encoding="utf-8")
    if format == "folder":
        manifest = pd.read_csv(done.path / "manifest.csv")
        images = Images(subset.parent("datasets"))
        for file, sample_id in zip(manifest["file"], manifest["sample_id"], strict=True):
            cropped = np.asarray(Image.open(done.path / file))
            assert cropped.shape == (8, 8, 3)
            whole = Image.open(io.BytesIO(images.bytes(sample_id))).convert("RGB")
            assert np.array_equal(cropped, np.asarray(adm_crop(whole, 8)))


@pytest.mark.parametrize("format", ["folder", "csv", "hf"])
def test_a_condensed_set_goes_out_too_also_without_its_parents(
    digits_chain: dict[str, Artifact], tmp_path: Path, format: str
) -> None:
    whole = digits_chain["condensed"]
    alone = tmp_path / "alone" / "condensed" / whole.name
    shutil.copytree(whole.path, alone)
    names = {"here": whole.name, "alone": str(alone)}
    digests = {}
    for where, name in names.items():
        workspace = whole.workspace if where == "here" else Workspace(tmp_path / "alone")
        done = export(name, format=format, out=str(tmp_path / f"out-{where}"), workspace=workspace, quiet=True)
        text = done.card.read_text(encoding="utf-8")
        assert digits_chain["subsets"].fingerprint[:12] in text
        assert "d2c attach digits-interval" in text
        table = pd.read_csv(done.path if format == "csv" else done.path / "manifest.csv", dtype={"key": str})
        digests[where] = table["digest"].tolist()
        assert table["class"].nunique() == 10
    assert digests["here"] == digests["alone"] == rows_of(digits_chain["subsets"])["digest"].tolist()


def test_captions_go_along(workspace: Workspace, tmp_path: Path, scored: Callable[..., Artifact]) -> None:
    datasets, webdataset = pytest.importorskip("datasets"), pytest.importorskip("webdataset")
    (tmp_path / "pairs").mkdir()
    for i in range(6):
        (tmp_path / "pairs" / f"{i}.png").write_bytes(picture(i))
        (tmp_path / "pairs" / f"{i}.txt").write_text(f"a thing, “{i}”", encoding="utf-8")
    dataset = ingest(tmp_path / "pairs", workspace=workspace, quiet=True)
    subset = select(scored(dataset), per_class=4, interval=1, quiet=True)
    expected = rows_of(subset)["caption"].tolist()
    assert expected[0] == "a thing, “0”"
    out = {f: export(subset, format=f, out=str(tmp_path / f), quiet=True).path for f in ("csv", "hf", "webdataset")}
    assert pd.read_csv(out["csv"])["caption"].tolist() == expected
    read = datasets.load_dataset(str(out["hf"]), split="train", cache_dir=str(tmp_path / "cache"))
    assert list(read["caption"]) == expected
    shards = [str(p) for p in out["webdataset"].glob("*.tar")]
    assert [s["txt"].decode() for s in webdataset.WebDataset(shards, shardshuffle=False)] == expected
    done = export(subset, format="fiftyone", out=str(tmp_path / "fiftyone"), quiet=True)
    labels = json.loads((done.path / "labels.json").read_text(encoding="utf-8"))["labels"]
    assert [labels[key]["attributes"]["caption"] for key in sorted(labels)] == expected
    assert "and caption." in done.card.read_text(encoding="utf-8")
