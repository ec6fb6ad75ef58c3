"""Pairs of image and caption: how they are found, kept and refused."""

from __future__ import annotations

import json

import pytest

import d2c.data.sources
from d2c.data import ingest
from d2c.data.captions import ALL, NO_CAPTION, caption_column
from d2c.data.decode import NOT_AN_IMAGE
from d2c.data.sources import LOOSE, open_source
from d2c.errors import D2CError, UsageError


@pytest.fixture
def take(workspace):
    return lambda source, **options: ingest(source, workspace=workspace, quiet=True, **options)


@pytest.fixture
def pictures(encode):
    """pictures("a.png", "b.png") → these files with images that differ."""
    return lambda *names: {name: encode(n) for n, name in enumerate(names)}


def captions(source):
    return {entry.key: entry.caption for entry in source.entries}


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows).encode()


# folders ------------------------------------------------------------------------------------------------------


def test_text_beside_an_image_is_its_caption(tree, pictures, take):
    files = pictures("a.png", "b.JPG", "c.png")
    root = tree({**files, "a.txt": b"  a cat\n", "b.txt": "\ufeffein Hündchen".encode(), "c.txt": b"two\nlines"})
    dataset = take(root)
    samples = dataset.table("samples.parquet")
    assert samples["caption"].tolist() == ["a cat", "ein Hündchen", "two\nlines"]
    assert samples["key"].tolist() == ["a.png", "b.JPG", "c.png"]
    assert samples["label"].tolist() == [0, 0, 0]
    assert dataset.json("classes.json") == [ALL]
    facts = dataset.facts
    assert (facts["captions"], facts["images"], facts["classes"], facts["counts"]) == (3, 3, 1, {"0": 3})
    assert (facts["rejected"], facts["warnings"]) == (0, [])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("metadata.jsonl", lines({"file_name": "a.png", "text": "a cat"}, {"file_name": "./b.png", "text": " a dog "})),
        (
            "metadata.jsonl",
            lines({"file_name": "a.png", "w": 1}, {"file_name": "b.png", "w": 2})
            .replace(b"w", b"caption")
            .replace(b"1", b'"a cat"')
            .replace(b"2", b'"a dog"'),
        ),
        ("metadata.csv", b'file_name,score,caption\na.png,1,a cat\nb.png,2,"a dog"\n'),
    ],
)
def test_hugging_faces_metadata(tree, pictures, take, name, data):
    dataset = take(tree({**pictures("a.png", "b.png"), name: data}))
    assert dataset.table("samples.parquet")["caption"].tolist() == ["a cat", "a dog"]
    assert dataset.facts["rejected"] == 0


def test_metadata_comes_before_text_files(tree, pictures):
    files = {**pictures("a.png", "b.png"), "a.txt": b"from text", "b.txt": b"from text"}
    source = open_source(str(tree({**files, "metadata.jsonl": lines({"file_name": "a.png", "text": "from metadata"})})))
    assert captions(source) == {"a.png": "from metadata", "b.png": "from text"}


def test_split_folders_of_pairs(tree, pictures, take):
    files = pictures("train/a.png", "train/b.png", "val/c.png")
    root = tree({**files, "train/metadata.csv": b"file_name,text\na.png,one\nb.png,two\n", "val/c.txt": b"three"})
    dataset = take(root)
    assert dataset.facts["splits"] == {"train": 2, "val": 1}
    assert dataset.table("samples.parquet")["caption"].tolist() == ["one", "two", "three"]
    assert captions(open_source(str(root), split="val")) == {"val/c.png": "three"}


def test_class_folders_keep_their_classes(tree, pictures, take):
    files = pictures("cat/a.png", "cat/deep/b.png", "dog/c.png")
    meta = lines({"file_name": "cat/deep/b.png", "text": "below"}, {"file_name": "dog/c.png", "text": "a dog"})
    dataset = take(tree({**files, "cat/a.txt": b"a cat", "metadata.jsonl": meta}))
    samples = dataset.table("samples.parquet")
    assert dataset.json("classes.json") == ["cat", "dog"]
    assert samples["label"].tolist() == [0, 0, 1]
    assert samples["caption"].tolist() == ["a cat", "below", "a dog"]
    assert dataset.facts["captions"] == 3


def test_a_few_stray_texts_do_not_make_pairs(tree, pictures, take):
    """Nobody's labelled set shall lose its images because one of them has a note beside it."""
    dataset = take(tree({**pictures("cat/a.png", "cat/b.png", "dog/c.png"), "cat/a.txt": b"a note"}))
    assert dataset.facts["images"] == 3
    assert "caption" not in dataset.table("samples.parquet")
    assert "captions" not in dataset.facts
    assert dataset.table("rejects.parquet")["key"].tolist() == ["cat/a.txt"]
    assert any("1 of 3 images have a caption" in warning for warning in dataset.facts["warnings"])


def test_what_has_no_caption_is_rejected_with_that_reason(tree, pictures, take):
    files = pictures("a.png", "b.png", "c.png", "d.png", "e.png", "f.png")
    texts = {"a.txt": b"one", "b.txt": b"two", "c.txt": b"three", "d.txt": b" \n", "e.txt": b"\xff\xfe\xfa"}
    dataset = take(tree({**files, **texts, "notes.md": b"no image", "x.json": b"{}"}))
    rejects = dataset.table("rejects.parquet").set_index("key")
    assert rejects["reason"].to_dict() == {
        "d.png": NO_CAPTION,
        "e.png": NO_CAPTION,
        "f.png": NO_CAPTION,
        "notes.md": NOT_AN_IMAGE,
        "x.json": NOT_AN_IMAGE,
    }
    assert dataset.facts["captions"] == 3
    assert dataset.facts["rejected_by_reason"] == {NO_CAPTION: 3, NOT_AN_IMAGE: 2}


def test_images_outside_class_folders_stay_rejected(tree, pictures):
    source = open_source(str(tree({**pictures("cat/a.png", "b.png"), "cat/a.txt": b"one", "b.txt": b"two"})))
    assert {e.key: e.problem for e in source.entries} == {"b.png": LOOSE, "cat/a.png": ""}


def test_files_that_metadata_names_and_nobody_has(tree, pictures, take):
    rows = [{"file_name": name, "text": "x"} for name in ("a.png", "b.png", "gone.png", "../outside.png")]
    dataset = take(tree({**pictures("a.png", "b.png"), "metadata.jsonl": lines(*rows)}))
    assert dataset.facts["warnings"] == ["2 of the files that metadata.jsonl names are not there"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"file_name": "a.png"\n', "line 1 of .*metadata.jsonl is no JSON object"),
        (b"\n[1]\n", "line 2 of"),
        (b"\xff\xfa", "cannot be read as UTF-8"),
    ],
)
def test_damaged_metadata_is_one_line(tree, pictures, data, said):
    with pytest.raises(D2CError, match=said) as caught:
        open_source(str(tree({**pictures("a.png"), "metadata.jsonl": data})))
    assert "\n" not in str(caught.value)


def test_metadata_of_something_else_is_no_caption(tree, pictures):
    rows = lines({"file_name": "cat/a.png", "boxes": [1]}, {"file_name": "dog/b.png", "boxes": [2]})
    source = open_source(str(tree({**pictures("cat/a.png", "dog/b.png"), "metadata.jsonl": rows})))
    assert not source.captioned
    with pytest.raises(D2CError, match=r"no class folders.*or FOLDER/IMAGE with captions beside them"):
        open_source(str(tree({**pictures("a.png"), "metadata.jsonl": rows}, "flat")))


def test_the_identity_covers_captions_also_of_large_folders(tree, pictures, monkeypatch):
    monkeypatch.setattr(d2c.data.sources, "HASHED", 0)
    files = pictures("a.png", "b.png")
    first = open_source(str(tree({**files, "a.txt": b"one", "b.txt": b"two"}, "first"))).identity
    assert open_source(str(tree({**files, "a.txt": b"one", "b.txt": b"two"}, "deep/again"))).identity == first
    assert open_source(str(tree({**files, "a.txt": b"eno", "b.txt": b"two"}, "other"))).identity != first


def test_pairs_can_be_referred_to(tree, pictures, take):
    dataset = take(tree({**pictures("a.png", "b.png"), "a.txt": b"one", "b.txt": b"two"}), store="reference")
    assert dataset.facts["store"] == "reference"
    assert dataset.table("samples.parquet")["caption"].tolist() == ["one", "two"]


# Parquet ------------------------------------------------------------------------------------------------------


@pytest.fixture
def cells(encode):
    return [encode(n) for n in range(4)]


@pytest.mark.parametrize("column", ["caption", "text", "Prompt", "description", "TEXT"])
def test_without_labels_a_column_of_captions_is_guessed(parquet_file, take, cells, column):
    dataset = take(parquet_file({"image": cells, column: ["one", " two ", None, ""], "width": [1, 2, 3, 4]}))
    samples = dataset.table("samples.parquet")
    assert samples["caption"].tolist() == ["one", "two"]
    assert samples["key"].tolist() == ["row-000000000", "row-000000001"]
    assert dataset.json("classes.json") == [ALL]
    assert dataset.facts["rejected_by_reason"] == {NO_CAPTION: 2}
    assert dataset.facts["captions"] == 2
    assert dataset.recipe["caption_column"] == column


def test_beside_labels_captions_must_be_named(parquet_file, take, cells):
    path = parquet_file({"image": cells, "text": list("abcd"), "label": [1, 0, 1, 0], "other": list("wxyz")})
    plain, named = take(path), take(path, caption_column="text")
    assert "caption" not in plain.table("samples.parquet")
    assert "caption_column" not in plain.recipe
    assert named.table("samples.parquet")["caption"].tolist() == ["a", "b", "c", "d"]
    assert named.table("samples.parquet")["label"].tolist() == [1, 0, 1, 0]
    assert take(path, caption_column="other").fingerprint not in (plain.fingerprint, named.fingerprint)


def test_guessed_and_named_are_the_same_recipe(parquet_file, take, cells):
    path = parquet_file({"image": cells, "text": list("abcd")})
    assert take(path).name == take(path, caption_column="text", image_column="image").name


def test_a_named_column_of_captions_is_not_the_labels(parquet_file, cells):
    source = open_source(str(parquet_file({"image": cells, "category": list("abcd")})), caption_column="category")
    assert list(source.names) == [ALL]
    assert [e.caption for e in source.entries] == ["a", "b", "c", "d"]


def test_images_by_path_are_not_their_own_captions(parquet_file, tree, pictures):
    tree(pictures("a.png", "b.png"))
    path = parquet_file({"text": ["photos/a.png", "photos/b.png"], "prompt": ["one", "two"]})
    source = open_source(str(path), image_column="text")
    assert [e.caption for e in source.entries] == ["one", "two"]


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"note": list("abcd")}, {}, "no column that looks like labels .*--label-column or --caption-column"),
        ({"text": [1, 2, 3, 4]}, {}, "no column that looks like labels"),
        ({"text": list("abcd")}, {"caption_column": "words"}, "has no column 'words'; there is: image, text"),
        ({"text": [[1]] * 4}, {"caption_column": "text"}, "'text' of .* holds list<.*>, which is no caption"),
    ],
)
def test_columns_that_do_not_do(parquet_file, cells, columns, options, said):
    with pytest.raises(D2CError, match=said):
        open_source(str(parquet_file({"image": cells, **columns})), **options)


def test_a_folder_has_no_columns(tree, pictures):
    with pytest.raises(UsageError, match="has no columns"):
        open_source(str(tree({**pictures("a.png"), "a.txt": b"x"})), caption_column="text")


def test_the_likeliest_column():
    assert caption_column(["id", "Text", "caption"]) == "caption"
    assert caption_column(["id", "Text"]) == "Text"
    assert caption_column(["id"]) is None
