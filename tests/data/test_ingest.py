from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from d2c.data.decode import DAMAGED, EMPTY, NOT_AN_IMAGE, TOO_LARGE
from d2c.data.ingest import IngestConfig, ingest
from d2c.data.sources import LOOSE
from d2c.data.store import Images
from d2c.errors import Cancelled, D2CError, UsageError
from d2c.progress import Progress

FILES = ("samples.parquet", "classes.json", "images.parquet", "images.bin", "thumbnails.bin", "thumbnails.parquet")


@pytest.fixture
def photos(encode, tree):
    """A folder of ten usable images in two classes."""

    def make(name="photos", **more):
        files = {f"{'cat' if n % 3 else 'dog'}/{n}.png": encode(n, (16 + n, 12)) for n in range(10)}
        return tree({**files, **more}, name)

    return make


@pytest.fixture
def take(workspace):
    """ingest(…) into the test's workspace, without a progress bar."""
    return lambda source, **options: ingest(source, workspace=workspace, quiet=True, **options)


def test_columns_and_facts(photos, take, encode):
    root = photos()
    dataset = take(root)
    samples = dataset.table("samples.parquet")
    assert {name: str(kind) for name, kind in samples.dtypes.items() if name not in ("key", "digest", "split")} == {
        "sample_id": "int64",
        "label": "int32",
        "width": "int32",
        "height": "int32",
    }
    assert samples["sample_id"].tolist() == list(range(10))
    assert samples["key"].tolist() == sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))
    assert dataset.json("classes.json") == ["cat", "dog"]
    for row in samples.itertuples():
        seed = int(row.key.split("/")[1].removesuffix(".png"))
        assert row.label == (0 if seed % 3 else 1)
        assert (row.width, row.height) == (16 + seed, 12)
        assert row.digest == hashlib.sha256(encode(seed, (16 + seed, 12))).hexdigest()[:32]
    facts = dataset.facts
    assert (facts["images"], facts["classes"], facts["channels"]) == (10, 2, 3)
    assert facts["counts"] == {"0": 6, "1": 4}
    assert facts["splits"] == {}
    assert (facts["store"], facts["origin"], facts["image_bytes"]) == ("copy", str(root), sum(samples_bytes(root)))
    assert (facts["rejected"], facts["rejected_by_reason"], facts["empty_classes"], facts["warnings"]) == (
        0,
        {},
        [],
        [],
    )
    assert dataset.table("rejects.parquet").empty
    assert list(dataset.table("rejects.parquet").columns) == ["key", "class", "reason", "detail"]


def samples_bytes(root):
    return [p.stat().st_size for p in root.rglob("*.png")]


def test_bad_files_are_listed_and_never_stop_the_rest(photos, take, encode, png_of):
    whole = encode(1, (64, 64))
    bad = {
        "cat/cut.png": (whole[: len(whole) // 2], DAMAGED),
        "cat/empty.jpg": (b"", EMPTY),
        "cat/notes.txt": (b"a cat", NOT_AN_IMAGE),
        "dog/box.xml": (b"<annotation/>", NOT_AN_IMAGE),
        "dog/huge.png": (png_of(60_000, 60_000), TOO_LARGE),
        "dog/large.png": (png_of(11_000, 11_000), TOO_LARGE),
        "fox/cut.jpg": (encode(2, (64, 64), format="JPEG")[:300], DAMAGED),
        "loose.png": (whole, LOOSE),
    }
    root = photos(**{key: data for key, (data, _) in bad.items()}, **{"dog/.DS_Store": b"x", "owl/": None})
    dataset = take(root)
    rejects = dataset.table("rejects.parquet").set_index("key")
    assert rejects["reason"].to_dict() == {key: reason for key, (_, reason) in bad.items()}
    assert rejects["class"].to_dict() == {key: key.split("/")[0] if "/" in key else "" for key in bad}
    assert rejects["detail"]["dog/large.png"] == "11000 × 11000 px"
    facts = dataset.facts
    assert (facts["images"], facts["rejected"]) == (10, 8)
    assert facts["rejected_by_reason"] == {DAMAGED: 2, EMPTY: 1, NOT_AN_IMAGE: 2, TOO_LARGE: 2, LOOSE: 1}
    assert facts["empty_classes"] == ["fox", "owl"]
    assert dataset.json("classes.json") == ["cat", "dog"]
    assert any("fox, owl" in line for line in facts["warnings"])
    assert any(line.startswith("8 of 18 rejected: ") for line in facts["warnings"])


def test_a_file_longer_than_any_image_may_be_is_not_read(photos, take):
    root = photos()
    with (root / "cat" / "film.png").open("wb") as file:
        file.truncate(8 * 1000 + 2**24 + 1)
    rejects = take(root, max_pixels=1000).table("rejects.parquet")
    assert rejects[["key", "reason", "detail"]].to_numpy().tolist() == [["cat/film.png", TOO_LARGE, "16,785,217 bytes"]]


def test_the_result_does_not_depend_on_threads_or_place(photos, workspace, tmp_path):
    bad = {"cat/3b.png": b"?", "cat/5b.png": b""}
    made = [
        ingest(photos(name, **bad), workspace=tmp_path / f"w{n}", workers=n, quiet=True)
        for n, name in [(1, "photos"), (7, "elsewhere/photos")]
    ]
    assert made[0].fingerprint == made[1].fingerprint
    assert made[0].name == made[1].name
    for file in (*FILES, "rejects.parquet"):
        assert (made[0].path / file).read_bytes() == (made[1].path / file).read_bytes(), file


def test_the_same_content_is_found_again(photos, take, monkeypatch):
    first = take(photos())
    monkeypatch.setattr(sys.modules["d2c.data.ingest"], "_write", None)
    assert take(photos("copied/photos"), workers=3).path == first.path
    with pytest.raises(TypeError):
        take(photos("other"), max_pixels=12345)


def test_asking_for_what_auto_gives_is_the_same_recipe(photos, take):
    root = photos()
    assert take(root).fingerprint == take(root, store="copy").fingerprint
    assert take(root).fingerprint != take(root, store="reference").fingerprint


def test_guessed_and_given_columns_are_the_same_recipe(parquet_file, take, encode):
    path = parquet_file({"image": [encode(n) for n in range(3)], "label": [0, 1, 1]})
    assert take(path).fingerprint == take(path, image_column="image", label_column="label").fingerprint


def test_large_folders_are_referred_to_and_others_copied(photos, take, monkeypatch):
    root = photos()
    copied = take(root)
    monkeypatch.setattr(sys.modules["d2c.data.ingest"], "COPY_UP_TO", 100)
    referred = take(root)
    assert (copied.facts["store"], referred.facts["store"]) == ("copy", "reference")
    assert not (referred.path / "images.bin").exists()
    assert referred.facts["root"] == str(root)
    ours, theirs = Images(copied), Images(referred)
    assert [ours.bytes(n) for n in range(10)] == [theirs.bytes(n) for n in range(10)]


def test_a_folder_that_moved_is_named_and_found_again(photos, take, tmp_path):
    root = photos()
    before = take(root, store="reference")
    data = Images(before).bytes(4)
    moved = root.rename(tmp_path / "moved")
    with pytest.raises(D2CError, match=rf"image 4 of datasets/{before.name} .*in {root}.*ingest the folder again"):
        Images(before).bytes(4)
    again = take(moved, store="reference")
    assert (again.path, again.facts["root"]) == (before.path, str(moved))
    assert Images(again).bytes(4) == data
    (moved / again.table("samples.parquet")["key"][4]).write_bytes(data + b"more")
    with pytest.raises(D2CError, match="bytes instead of"):
        Images(again).bytes(4)


def test_only_folders_can_be_referred_to(parquet_file, take, encode):
    path = parquet_file({"image": [encode(n) for n in range(3)], "label": [0, 1, 1]})
    with pytest.raises(D2CError, match="--store copy"):
        take(path, store="reference")


@pytest.mark.parametrize(("modes", "channels"), [(["L", "LA"], 1), (["L", "RGB"], 3)])
def test_channels_are_one_only_where_all_are_grey(tree, take, encode, modes, channels):
    root = tree({f"cat/{mode}.png": encode(mode=mode) for mode in modes})
    assert take(root).facts["channels"] == channels


def test_exact_copies_are_counted(photos, take, encode):
    dataset = take(photos(**{"cat/again.png": encode(1, (17, 12)), "dog/and-again.png": encode(1, (17, 12))}))
    assert dataset.facts["duplicates"] == 2
    assert "2 images are exact copies of others" in dataset.facts["warnings"]


def test_labels_follow_the_integers_and_skip_what_has_no_image(parquet_file, take, encode):
    images = [encode(1), b"broken", encode(3), encode(4), None]
    columns = {"image": images, "label": [30, 20, 4, 30, None], "split": ["a", "a", "b", "b", "b"]}
    dataset = take(parquet_file({**columns, "label_name": ["x", "y", "z", "x", None]}))
    assert dataset.json("classes.json") == ["z", "x"]
    assert dataset.table("samples.parquet")["label"].tolist() == [1, 0, 1]
    assert dataset.facts["empty_classes"] == ["y"]
    assert dataset.facts["splits"] == {"a": 1, "b": 2}
    assert dataset.table("rejects.parquet")["reason"].tolist() == [NOT_AN_IMAGE, "no label"]


@pytest.mark.parametrize("usable", [0, 1])
def test_fewer_than_two_usable_images_are_refused_and_leave_nothing(tree, take, workspace, encode, usable):
    files = {f"cat/{n}.png": encode(n) for n in range(usable)}
    root = tree({**files, "cat/bad.png": b"?", "dog/": None})
    with pytest.raises(D2CError, match=f"{usable} usable of {usable + 1} images \\(1 not an image\\): at least two"):
        take(root, name="photos")
    assert workspace.list("datasets") == []
    (root / "cat" / "more.png").write_bytes(encode(7))
    (root / "dog" / "more.png").write_bytes(encode(8))
    assert take(root, name="photos").facts["images"] == usable + 2


def test_refusals_of_arguments(take, photos):
    with pytest.raises(UsageError, match="not one of auto, copy, reference"):
        take(photos(), store="link")
    with pytest.raises(UsageError, match="below 1"):
        take("demo:digits", max_pixels=0)
    with pytest.raises(D2CError, match="no such source"):
        take("/no/such/folder")


def test_stopping_leaves_no_artifact_and_the_same_call_starts_over(photos, take, workspace, monkeypatch):
    root = photos()
    whole = take(root, name="whole")
    content = {file: (whole.path / file).read_bytes() for file in FILES}

    advance, seen = Progress.advance, []

    def stop(self, n=1, **facts):
        seen.append(n)
        advance(self, n, **facts)
        if len(seen) == 4:
            raise Cancelled("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", stop)
        with pytest.raises(Cancelled):
            take(root, name="whole", force=True)
    assert [a.name for a in workspace.list("datasets")] == ["whole"]
    again = take(root, name="whole", force=True)
    assert {file: (again.path / file).read_bytes() for file in FILES} == content
    assert not workspace.partial("datasets", "whole").exists()


def test_progress_goes_to_stderr_and_warnings_are_said(photos, workspace, capsys):
    ingest(photos(**{"cat/bad.png": b"?"}), IngestConfig(), workspace=workspace)
    out, err = capsys.readouterr()
    assert out == ""
    assert "11/11" in err
    assert "1 of 11 rejected: 1 not an image" in err


def test_the_digits(take):
    dataset = take("demo:digits")
    samples = dataset.table("samples.parquet")
    assert (len(samples), dataset.facts["channels"], dataset.facts["rejected"]) == (1797, 1, 0)
    assert dataset.json("classes.json")[:3] == ["zero", "one", "two"]
    assert set(zip(samples["width"], samples["height"], strict=True)) == {(8, 8)}
    assert dataset.name.startswith("digits-")
    grey = np.asarray(Images(dataset).image(0))
    assert grey[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0 sixteenths of 255


def test_odd_names_survive(tree, take, encode):
    root = tree({"Größe & Maß/a b.png": encode(1), "猫/1.png": encode(2), "n01440764/x.JPEG": encode(3, format="JPEG")})
    dataset = take(root)
    assert dataset.json("classes.json") == sorted(["Größe & Maß", "猫", "n01440764"])
    assert isinstance(dataset.table("samples.parquet"), pd.DataFrame)
    assert json.loads((dataset.path / "artifact.json").read_text())["facts"]["images"] == 3


def test_importing_the_room_loads_nothing_heavy():
    heavy = ("torch", "timm", "sklearn", "datasets", "streamlit", "pandas", "pyarrow")
    code = f"import sys, d2c.data, d2c.data.store, d2c.data.thumbnails; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
