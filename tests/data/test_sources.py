from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image

from d2c.data.decode import EMPTY, NOT_AN_IMAGE, UNREADABLE
from d2c.data.sources import BAD_NAME, LOOSE, open_source
from d2c.errors import D2CError, UsageError


def listed(source):
    return [(e.key, e.label, e.split, e.problem) for e in source.entries]


def test_class_folders_are_read_to_any_depth_in_key_order(tree):
    root = tree({"dog/b.png": b"1", "dog/deep/er/a.png": b"2", "cat/z.png": b"3", "cat-like/a.png": b"4"})
    source = open_source(str(root))
    assert listed(source) == [
        ("cat-like/a.png", "cat-like", "", ""),
        ("cat/z.png", "cat", "", ""),
        ("dog/b.png", "dog", "", ""),
        ("dog/deep/er/a.png", "dog", "", ""),
    ]
    assert list(source.names) == ["cat", "cat-like", "dog"]
    assert [read() for _, read in source.items()] == [b"4", b"3", b"1", b"2"]
    assert (source.bytes, source.root, source.stem) == (4, root, "photos")


def test_split_folders_hold_class_folders(tree):
    root = tree(
        {"train/cat/a.png": b"1", "train/dog/b.png": b"2", "val/cat/c.png": b"3", "val/d.png": b"4", "e.png": b"5"}
    )
    whole = open_source(str(root))
    assert listed(whole) == [
        ("e.png", None, "", LOOSE),
        ("train/cat/a.png", "cat", "train", ""),
        ("train/dog/b.png", "dog", "train", ""),
        ("val/cat/c.png", "cat", "val", ""),
        ("val/d.png", None, "val", LOOSE),
    ]
    assert list(open_source(str(root), split="val").names) == ["cat"]
    with pytest.raises(D2CError, match="no split 'test'; there is: train, val"):
        open_source(str(root), split="test")


def test_one_folder_named_otherwise_makes_them_all_classes(tree):
    source = open_source(str(tree({"train/a.png": b"1", "bus/b.png": b"2"})))
    assert list(source.names) == ["bus", "train"]
    with pytest.raises(D2CError, match="no split at all"):
        open_source(source.origin, split="train")


def test_what_cannot_be_an_image_of_a_class_is_listed_with_its_problem(tree):
    root = tree({"cat/a.png": b"1", "cat/none.png": b"", "readme.txt": b"hi", "empty/": None})
    (root / "cat" / "gone.png").symlink_to(root / "nowhere.png")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "cat" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"1")
    source = open_source(str(root))
    assert {key: problem for key, _, _, problem in listed(source)} == {
        "cat/a.png": "",
        "cat/none.png": EMPTY,
        "cat/gone.png": UNREADABLE,
        "cat/pipe.png": NOT_AN_IMAGE,
        "cat/caf\\udce9.png": BAD_NAME,
        "readme.txt": LOOSE,
    }
    assert list(source.names) == ["cat", "empty"]


def test_hidden_names_are_passed_over(tree):
    root = tree(
        {"cat/a.png": b"1", "cat/.DS_Store": b"x", ".git/config": b"x", ".hidden": b"x", "cat/.thumbs/a.png": b"x"}
    )
    assert [e.key for e in open_source(str(root)).entries] == ["cat/a.png"]


def test_links_are_followed_but_not_in_circles(tree):
    root = tree({"cat/a.png": b"1"})
    (root / "cat" / "again").symlink_to(root / "cat")
    (root / "dog").symlink_to(root / "cat")
    (root / "self").symlink_to(root / "self")
    assert [e.key for e in open_source(str(root)).entries] == ["cat/a.png", "dog/a.png", "self"]


def test_identity_is_the_content_not_the_place(tree):
    files = {"cat/a.png": b"1", "dog/b.png": b"22"}
    first = open_source(str(tree(files, "here"))).identity
    assert open_source(str(tree(files, "deep/there"))).identity == first
    for n, other in enumerate(
        [
            {**files, "dog/c.png": b"3"},
            {**files, "dog/b.png": b"333"},
            {**files, "dog/b.png": b"23"},
            {"cat/a.png": b"1", "fox/b.png": b"22"},
        ]
    ):
        assert open_source(str(tree(other, f"other{n}"))).identity != first


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.png": b"1", "b.png": b"2"}, "no class folders, so there are no labels: expected FOLDER/CLASS/IMAGE"),
        ({}, "no class folders"),
        ({"train/a.png": b"1", "val/b.png": b"2"}, "no class folders"),
        ({"part-0.parquet": b"1"}, "given by its own name"),
    ],
)
def test_a_folder_without_labels_is_refused(tree, files, said):
    with pytest.raises(D2CError, match=said):
        open_source(str(tree(files)))


@pytest.mark.parametrize(
    "origin", ["/no/such/place", "demo:faces", "s3:faces", "", "x" * 5000, "~nobody-of-this-name/x"]
)
def test_what_does_not_exist_is_refused_with_what_was_expected(origin):
    with pytest.raises(
        D2CError, match=r"expected a folder of class folders, a \.parquet file, wds:GLOB, hf:NAME or demo:digits"
    ):
        open_source(origin)


def test_columns_belong_to_parquet(tree):
    with pytest.raises(UsageError, match="has no columns"):
        open_source(str(tree({"cat/a.png": b"1"})), image_column="image")


def test_the_embedded_digits():
    from sklearn.datasets import load_digits

    source = open_source("demo:digits")
    images = load_digits()
    assert [e.label for e in source.entries] == images.target.tolist()
    assert " ".join(source.names.values()) == "zero one two three four five six seven eight nine"
    assert [e.key for e in source.entries] == sorted(e.key for e in source.entries)
    for index, (_, read) in zip(range(20), source.items(), strict=False):
        values = np.asarray(Image.open(io.BytesIO(read())))
        assert values.dtype == np.uint8
        assert np.abs(values - images.images[index] * 255 / 16).max() <= 0.5
    with pytest.raises(D2CError, match="no split 'train'"):
        open_source("demo:digits", split="train")
