"""What goes wrong, and what is left then: nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from d2c.artifacts import Artifact
from d2c.data import ingest
from d2c.errors import Cancelled, D2CError, UsageError
from d2c.export import FORMATS, export
from d2c.progress import Progress
from d2c.select import select

HOSTILE = ["../x", "a/b", "con", "", "x" * 300, "🦊", "a:b", "Cat", "cat", "manifest.csv", "README.md", "a|b\nc", "."]


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("format", FORMATS)
def test_hostile_class_names_stay_inside_and_apart(named: Callable[..., Artifact], tmp_path: Path, format: str) -> None:
    names = [name for name in HOSTILE if name]  # an empty label is none, and ingest says so
    subset = named(names)
    place = tmp_path / "away" / "out"
    done = export(subset, format=format, out=str(place), quiet=True)
    assert done.classes == len(names)
    assert left(tmp_path / "away") == sorted({done.path.name, done.card.name} if FORMATS[format].suffix else {"out"})
    if format == "folder":
        from torchvision.datasets import ImageFolder

        assert len(ImageFolder(str(place)).classes) == len(names)
        assert all(len(list(folder.iterdir())) == 2 for folder in place.iterdir() if folder.is_dir())
        table = pd.read_csv(place / "manifest.csv", keep_default_na=False)
        assert sorted(set(table["class"])) == sorted(names)
        assert all((place / file).is_file() for file in table["file"])
    if format == "hf":
        datasets = pytest.importorskip("datasets")
        read = datasets.load_dataset(str(place), split="train", cache_dir=str(tmp_path / "cache"))
        assert sorted(set(read["class"])) == sorted(names)
    counts = done.card.read_text(encoding="utf-8").partition("## Images by class")[2].partition("## For")[0]
    assert counts.count("\n|") == len(names) + 2  # no name broke its row


def test_an_empty_class_name_gets_a_folder(subset: Artifact, tmp_path: Path) -> None:
    classes = subset.parent("datasets").path / "classes.json"
    classes.write_text('["", "con", "dog"]')
    done = export(subset, out=str(tmp_path / "out"), quiet=True)
    assert [p for p in left(done.path) if (done.path / p).is_dir()] == ["con_", "dog", "unnamed"]


@pytest.mark.parametrize("format", ["folder", "hf", "webdataset", "fiftyone"])
def test_a_missing_image_is_named_and_nothing_is_left(
    subset: Artifact, photos: Path, tmp_path: Path, scored: Callable[..., Artifact], format: str
) -> None:
    dataset = ingest(photos, workspace=subset.workspace, store="reference", name="there", quiet=True)
    chosen = select(scored(dataset), per_class=5, interval=1, name="referred", quiet=True)
    key = dataset.table("samples.parquet")["key"][3]
    (photos / key).unlink()
    with pytest.raises(D2CError, match="image 3 of datasets/there") as said:
        export(chosen, format=format, out=str(tmp_path / "away" / "out"), quiet=True)
    assert key in str(said.value)
    assert left(tmp_path / "away") == []


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("how", [Cancelled("stop"), KeyboardInterrupt()])
def test_an_interruption_leaves_nothing(
    subset: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, how: BaseException
) -> None:
    seen = []

    def advance(self: Progress, n: int = 1, **facts: object) -> None:
        seen.append(n)
        if len(seen) == 4 or n > 1:
            raise how

    monkeypatch.setattr(Progress, "advance", advance)
    with pytest.raises(type(how)) as said:
        export(subset, format=format, out=str(tmp_path / "away" / "out"), quiet=True)
    assert left(tmp_path / "away") == []
    if isinstance(how, Cancelled):
        assert "begins again" in str(said.value)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("when", ["first byte", "card", "flush"])
def test_a_full_disk_is_one_line_and_nothing_is_left(
    subset: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, when: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    away = tmp_path / "away"
    with monkeypatch.context() as patched:
        if when == "first byte":
            opened = Path.open

            def open_to_read(self: Path, mode: str = "r", **more: str) -> object:
                return full() if "w" in mode else opened(self, mode, **more)

            patched.setattr(Path, "open", open_to_read)
            for owner, call in ((Path, "write_bytes"), (tarfile, "open"), (pq, "ParquetWriter"), (pq, "write_table")):
                patched.setattr(owner, call, full)
        elif when == "card":
            patched.setattr(Path, "write_text", full)
        else:
            patched.setattr(os, "fsync", full)
        with pytest.raises(D2CError, match=r"no space left for .*, nothing of it was kept") as said:
            export(subset, format=format, out=str(away / "out"), quiet=True)
    assert "\n" not in str(said.value)
    assert left(away) == []
    export(subset, format=format, out=str(away / "out"), quiet=True)


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_there_is_replaced_with_force_only(subset: Artifact, tmp_path: Path, format: str) -> None:
    place = str(tmp_path / "away" / "out")
    first = export(subset, format=format, out=place, quiet=True)
    before = left(tmp_path / "away")
    with pytest.raises(D2CError, match="is there already"):
        export(subset, format=format, out=place, quiet=True)
    other = select(subset.parent("scores"), per_class=2, interval=1, quiet=True)
    second = export(other, format=format, out=place, force=True, quiet=True)
    assert second.path == first.path
    assert second.images == 6
    assert other.fingerprint[:12] in second.card.read_text(encoding="utf-8")
    assert left(tmp_path / "away") == before


def test_force_replaces_no_folder_that_is_not_an_export(subset: Artifact, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = export(subset, out=str(home), quiet=True)  # empty: nothing to lose
    assert (done.path / "manifest.csv").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("# mine")
    with pytest.raises(D2CError, match="is not an export"):
        export(subset, out=str(tmp_path / "mine"), force=True, quiet=True)
    assert left(tmp_path / "mine") == ["README.md"]
    (tmp_path / "list.csv").mkdir()
    with pytest.raises(D2CError, match="is a folder"):
        export(subset, format="csv", out=str(tmp_path / "list.csv"), quiet=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(D2CError, match="is a file"):
        export(subset, out=str(tmp_path / "file"), force=True, quiet=True)
    (tmp_path / "note.md").write_text("mine")
    with pytest.raises(D2CError, match=r"note\.md is there already, where the card would be"):
        export(subset, format="csv", out=str(tmp_path / "note.csv"), quiet=True)
    assert (tmp_path / "note.md").read_text() == "mine"


def test_an_artifact_is_no_place(subset: Artifact) -> None:
    for place in (subset.path / "out", subset.path):
        with pytest.raises(D2CError, match="lies in an artifact"):
            export(subset, out=str(place), force=True, quiet=True)


def test_two_at_once_and_what_a_killed_one_left(subset: Artifact, tmp_path: Path) -> None:
    partial = tmp_path / ".out.d2c-partial"
    (partial / "cat").mkdir(parents=True)
    (partial / "half.png").write_bytes(b"half")
    handle = os.open(partial, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(D2CError, match="being written by another process"):
        export(subset, out=str(tmp_path / "out"), quiet=True)
    assert (partial / "half.png").exists()  # it is the other's
    os.close(handle)
    export(subset, out=str(tmp_path / "out"), quiet=True)
    assert not partial.exists()
    assert "half.png" not in left(tmp_path / "out")


def test_refusals(subset: Artifact, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--out"):
        export(subset, quiet=True)
    with pytest.raises(UsageError, match="not one of csv"):
        export(subset, format="zip", out="x")
    with pytest.raises(D2CError, match="is not one of subsets or condensed"):
        export(subset.parent("scores"), out=str(tmp_path / "x"))
    (tmp_path / "file").write_text("")
    with pytest.raises(D2CError, match="cannot be written"):
        export(subset, out=str(tmp_path / "file" / "out"), quiet=True)


def test_a_set_without_images_is_refused(subset: Artifact, tmp_path: Path) -> None:
    """As `d2c select` wrote it before it refused to."""
    path = subset.path / "subset.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(D2CError, match=f"^subsets/{subset.name} holds no images: choose some with `d2c select`$"):
        export(subset, out=str(tmp_path / "out"), quiet=True)
    assert not (tmp_path / "out").exists()
