from __future__ import annotations

import io
import json
import shutil
import sys

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as Picture

from d2c.data.decode import EMPTY, UNREADABLE, Unusable
from d2c.data.ingest import ingest
from d2c.data.sources import NO_LABEL, open_source
from d2c.data.store import Images
from d2c.errors import D2CError

DESCRIBED = Features(image=Image(), note=Value("string"), label=ClassLabel(names=["cat", "dog", "fox"]))
SPLITS = {"train": [2, 0, 2, 0], "test": [0, -1]}
KEYS = ["test/row-000000000", "test/row-000000001", *(f"train/row-{n:09d}" for n in range(4))]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The package's cache, empty, and no hub to be reached."""
    path = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "TORCH_AVAILABLE", False)  # streams would import it: seconds
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(path))
    return path


def png(seed):
    file = io.BytesIO()
    Picture.new("RGB", (6, 5), (seed, 10, 20)).save(file, "PNG")
    return file.getvalue()


def rows(labels, first=0):
    images = [{"bytes": png(first + n), "path": f"{n}.png"} for n in range(len(labels))]
    return {"image": images, "note": ["x"] * len(labels), "label": labels}


def described(*names):
    return Features({**DESCRIBED, "label": ClassLabel(names=list(names))})


def splits(features=DESCRIBED, **changed):
    made = {part: rows(labels, 10 * n) for n, (part, labels) in enumerate(SPLITS.items())}
    for part, columns in changed.items():
        made[part] |= columns
    return DatasetDict({part: Dataset.from_dict(columns, features=features) for part, columns in made.items()})


@pytest.fixture
def parquet_folder(tmp_path):
    """parquet_folder(splits(), name) → a folder of Parquet files laid out like a repository of the hub."""

    def make(made, name="animals"):
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        for part, data in made.items():
            data.to_parquet(folder / "data" / f"{part}-00000-of-00001.parquet")
        return folder

    return make


def listed(source):
    return [(e.key, e.label, e.split, e.problem) for e in source.entries]


def read_all(source):
    return [read() for _, read in source.items()]


def test_a_folder_of_parquet_files_is_read_where_it_lies(parquet_folder, cache):
    source = open_source(f"hf:{parquet_folder(splits())}")
    labels, parts = [0, None, 2, 0, 2, 0], ["test", "test", "train", "train", "train", "train"]
    problems = ["", NO_LABEL, "", "", "", ""]
    assert listed(source) == list(zip(KEYS, labels, parts, problems, strict=True))
    assert read_all(source) == [png(n) for n in (10, 11, 0, 1, 2, 3)]
    assert [e.size for e in source.entries] == [len(png(n)) for n in (10, 11, 0, 1, 2, 3)]
    assert list(source.names.items()) == [(0, "cat"), (2, "fox")]
    assert dict(source.columns) == {"image_column": "image", "label_column": "label"}
    assert (source.stem, source.root) == ("animals", None)
    assert not list(cache.rglob("*.arrow"))


def test_one_split_is_kept(parquet_folder):
    folder = parquet_folder(splits())
    source = open_source(f"hf:{folder}", split="test")
    assert [e.key for e in source.entries] == KEYS[:2]
    assert read_all(source) == [png(10), png(11)]
    assert list(source.names) == [0]
    with pytest.raises(D2CError, match="no split 'val'; there is: test, train"):
        open_source(f"hf:{folder}", split="val")


def test_a_column_of_splits_is_said_not_to_count(parquet_file):
    columns = {"image": [png(0), png(1)], "label": [0, 1], "split": ["train", "val"]}
    source = open_source(f"hf:{parquet_file(columns, 'set/one.parquet').parent}")
    assert [e.split for e in source.entries] == ["train", "train"]
    assert source.warnings == ["the column 'split' is not read: the splits are those of the set (train)"]


def test_what_was_saved_to_disk_is_the_same_source(parquet_folder, tmp_path):
    first = open_source(f"hf:{parquet_folder(splits())}")
    splits().save_to_disk(tmp_path / "saved")
    saved = open_source(f"hf:{tmp_path / 'saved'}")
    assert (saved.identity, listed(saved), read_all(saved)) == (first.identity, listed(first), read_all(first))


def test_captions_instead_of_labels_and_beside_them(parquet_file, parquet_folder, workspace):
    columns = {"image": [png(0), png(1), png(2)], "text": ["a cat", " a dog ", ""]}
    folder = parquet_file(columns, "pairs/one.parquet").parent
    dataset = ingest(f"hf:{folder}", workspace=workspace, quiet=True)
    assert dataset.table("samples.parquet")["caption"].tolist() == ["a cat", "a dog"]
    assert (dataset.json("classes.json"), dataset.facts["captions"]) == (["all"], 2)
    assert dataset.facts["rejected_by_reason"] == {"no caption": 1}
    assert dataset.recipe["caption_column"] == "text"
    other = parquet_file({**columns, "text": ["a cat", "a fox", ""]}, "other/one.parquet").parent
    assert open_source(f"hf:{other}").identity != open_source(f"hf:{folder}").identity

    labelled = f"hf:{parquet_folder(splits())}"
    source = open_source(labelled, caption_column="note")
    assert [e.caption for e in source.entries] == ["x"] * 6
    assert [e.label for e in source.entries] == [e.label for e in open_source(labelled).entries]
    assert source.identity != open_source(labelled).identity


def test_a_set_without_splits(tmp_path):
    splits()["train"].save_to_disk(tmp_path / "saved")
    source = open_source(f"hf:{tmp_path / 'saved'}")
    assert [(e.key, e.split) for e in source.entries] == [(f"row-{n:09d}", "") for n in range(4)]
    with pytest.raises(D2CError, match="no split at all"):
        open_source(source.origin, split="train")


def test_a_set_of_the_hub_in_the_cache_needs_no_network(parquet_folder, cache, tmp_path):
    folder = parquet_folder(splits())
    datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "prepared"))
    cache.mkdir(exist_ok=True)
    (tmp_path / "prepared" / "animals").rename(cache / "zoo___animals")
    source = open_source("hf:zoo/animals")
    assert source.stem == "animals"
    assert source.identity == open_source(f"hf:{folder}").identity
    assert read_all(source) == [png(n) for n in (10, 11, 0, 1, 2, 3)]
    with pytest.raises(D2CError, match="zoo/animals:other"):
        open_source("hf:zoo/animals:other")


def test_identity_is_the_content_not_the_place(parquet_folder):
    first = open_source(f"hf:{parquet_folder(splits())}").identity
    assert open_source(f"hf:{parquet_folder(splits(), 'deep/elsewhere')}").identity == first
    changed = rows(SPLITS["train"])["image"]
    changed[3] = {"bytes": png(99), "path": "3.png"}
    others = [
        splits(described("cat", "dog", "wolf")),
        splits(train={"label": [2, 0, 2, 1]}),
        splits(train={"image": changed}),
    ]
    others += [DatasetDict(train=splits()["train"], validation=splits()["test"])]
    for n, other in enumerate(others):
        assert open_source(f"hf:{parquet_folder(other, f'other{n}')}").identity != first


def test_types_tell_the_columns_and_options_override_them(parquet_folder):
    features = Features(
        data=Value("binary"), scan=Image(), mask=Image(), group=Value("string"), kind=ClassLabel(names=["a", "b"])
    )
    cells = [{"bytes": png(n), "path": None} for n in range(4)]
    columns = {
        "data": [b"x"] * 4,
        "scan": cells,
        "mask": cells[::-1],
        "group": ["u", "v", "", "u"],
        "kind": [1, 0, 1, 0],
    }
    folder = parquet_folder(DatasetDict(train=Dataset.from_dict(columns, features=features)))
    source = open_source(f"hf:{folder}")
    assert dict(source.columns) == {"image_column": "scan", "label_column": "kind"}
    assert dict(source.names) == {0: "a", 1: "b"}
    source = open_source(f"hf:{folder}", image_column="mask", label_column="group")
    assert read_all(source) == [png(n) for n in (3, 2, 1, 0)]
    assert [e.label for e in source.entries] == ["u", "v", None, "u"]
    with pytest.raises(D2CError, match="no column 'picture'; there is: data, scan, mask, group, kind"):
        open_source(f"hf:{folder}", image_column="picture")


@pytest.mark.parametrize(
    ("labels", "names"),
    [([5, 3, 5, 5], {3: "bat", 5: "ant"}), (["ant", "bat", "ant", "ant"], {"ant": "ant", "bat": "bat"})],
)
def test_labels_without_a_description(parquet_folder, labels, names):
    columns = rows(labels) | {"label_name": ["ant", "bat", "ant", "ant"]}
    data = Dataset.from_dict(columns).cast_column("image", Image())
    assert dict(open_source(f"hf:{parquet_folder(DatasetDict(train=data))}").names) == names


def test_images_that_are_paths_or_missing(tree, parquet_file):
    root = tree({f"train/{kind}/{n}.png": png(n) for n in range(2) for kind in ("cat", "dog")})
    source = open_source(f"hf:{root}")
    assert [(e.split, source.names[e.label]) for e in source.entries] == [
        ("train", k) for k in ("cat", "cat", "dog", "dog")
    ]
    assert read_all(source) == [png(0), png(1), png(0), png(1)]
    cells = [{"bytes": png(0), "path": None}, None, {"bytes": None, "path": "gone.png"}, {"bytes": b"", "path": None}]
    described = {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})}
    path = parquet_file({"image": cells, "label": [0, 1, 0, 1]}, "set/train.parquet", described)
    source = open_source(f"hf:{path.parent}")
    readers = [read for _, read in source.items()]
    assert readers[0]() == png(0)
    for read, reason in zip(readers[1:], (EMPTY, UNREADABLE, EMPTY), strict=True):
        with pytest.raises(Unusable, match=reason):
            read()


def test_splits_that_differ_are_refused(tmp_path):
    other = Dataset.from_dict(rows([0, 1]), features=described("dog", "cat"))
    DatasetDict(train=splits()["train"], test=other).save_to_disk(tmp_path / "saved")
    with pytest.raises(D2CError, match=r"split 'train' of .* has other columns or classes: take one with --split"):
        open_source(f"hf:{tmp_path / 'saved'}")
    assert len(open_source(f"hf:{tmp_path / 'saved'}", split="test").entries) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("zoo/animals", "hf:zoo/animals is not in the cache and .*connect once, or give a local copy"),
        ("zoo/animals:tiny", "connect once"),
        ("mnist", "no such folder 'mnist': expected hf:OWNER/NAME"),
        ("", "no such folder ''"),
        ("parquet", "no such folder"),
        ("/no/such/place", "no such folder '/no/such/place'"),
        ("~nobody-of-this-name/x", "cannot be loaded"),
        ("x" * 5000, "cannot be loaded|no such folder"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(name, said):
    with pytest.raises(D2CError, match=said) as why:
        open_source(f"hf:{name}")
    assert len(str(why.value).splitlines()) == 1
    assert len(str(why.value)) < 800


def test_folders_that_hold_no_data_set(tree, tmp_path):
    for files, said in [
        ({"empty/": None}, "cannot be loaded .*expected hf:OWNER/NAME"),
        ({"train.parquet": b"PAR1 no"}, "cannot be loaded"),
        ({"train.csv": b"image,size\na.png,3\n"}, "no column that looks like labels"),
        ({"dataset_dict.json": json.dumps({"splits": []}).encode()}, "holds no data"),
    ]:
        root = tree(files, f"set-{len(list(tmp_path.iterdir()))}")
        with pytest.raises(D2CError, match=said):
            open_source(f"hf:{root}")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(D2CError, match=r"hf:zoo/animals needs the package datasets: pip install -e '.\[hub\]'"):
        open_source("hf:zoo/animals")


def test_a_set_is_ingested_as_it_is_and_found_again(parquet_folder, workspace, capsys):
    folder = parquet_folder(splits())
    capsys.readouterr()
    dataset = ingest(f"hf:{folder}", workspace=workspace, quiet=True)
    assert capsys.readouterr().err == ""
    assert not datasets.utils.are_progress_bars_disabled()
    samples = dataset.table("samples.parquet")
    assert samples["key"].tolist() == [KEYS[0], *KEYS[2:]]
    assert samples["split"].tolist() == ["test", *["train"] * 4]
    assert samples["label"].tolist() == [0, 1, 0, 1, 0]
    assert dataset.json("classes.json") == ["cat", "fox"]
    assert [Images(dataset).bytes(n) for n in range(5)] == [png(n) for n in (10, 0, 1, 2, 3)]
    assert dataset.table("rejects.parquet")[["key", "reason"]].to_numpy().tolist() == [[KEYS[1], NO_LABEL]]
    assert dataset.facts["splits"] == {"test": 1, "train": 4}
    shutil.move(folder, folder.with_name("moved"))
    again = ingest(f"hf:{folder.with_name('moved')}", workspace=workspace, quiet=True)
    assert again.fingerprint == dataset.fingerprint
