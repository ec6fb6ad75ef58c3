from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d2c.data.decode import EMPTY, UNREADABLE, Unusable
from d2c.data.sources import NO_LABEL, open_source
from d2c.errors import D2CError

IMAGES = [b"first", b"second", b"third", b"fourth"]


def read_all(source):
    return [read() for _, read in source.items()]


def features(**columns):
    return {"huggingface": json.dumps({"info": {"features": columns}})}


@pytest.mark.parametrize("image", ["image", "img", "Image", "jpg", "image_bytes"])
@pytest.mark.parametrize("label", ["label", "labels", "target", "Class", "fine_label"])
def test_common_column_names_are_guessed(parquet_file, image, label):
    path = parquet_file({"id": [1, 2, 3, 4], image: IMAGES, label: [7, 3, 7, 3]})
    source = open_source(str(path))
    assert dict(source.columns) == {"image_column": image, "label_column": label}
    assert read_all(source) == IMAGES
    assert [e.label for e in source.entries] == [7, 3, 7, 3]
    assert dict(source.names) == {3: "3", 7: "7"}
    assert list(source.names) == [3, 7]
    assert [e.key for e in source.entries] == [f"row-{n:09d}" for n in range(4)]


def test_the_only_column_of_bytes_holds_the_images(parquet_file):
    path = parquet_file({"number": [1, 2, 3, 4], "scan": IMAGES, "kind": ["b", "a", "b", "a"]})
    source = open_source(str(path), label_column="kind")
    assert source.columns["image_column"] == "scan"
    assert list(source.names) == ["a", "b"]


@pytest.mark.parametrize("arrow", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_every_kind_of_bytes_is_read(parquet_file, arrow):
    path = parquet_file({"image": pa.array(IMAGES, arrow), "label": [0, 1, 0, 1]})
    assert read_all(open_source(str(path))) == IMAGES


def test_structs_of_bytes_and_path(parquet_file, tmp_path):
    (tmp_path / "beside.png").write_bytes(b"from a file")
    cells = [{"bytes": b"one", "path": "beside.png"}, {"bytes": None, "path": "beside.png"}]
    cells += [{"bytes": None, "path": None}, {"bytes": None, "path": "gone.png"}, None]
    source = open_source(str(parquet_file({"image": cells, "label": [0, 1, 1, 1, 1]})))
    readers = [read for _, read in source.items()]
    assert [readers[0](), readers[1]()] == [b"one", b"from a file"]
    for reader, reason in [(readers[2], EMPTY), (readers[3], UNREADABLE), (readers[4], EMPTY)]:
        with pytest.raises(Unusable, match=reason):
            reader()


def test_paths_start_at_the_file(parquet_file, tmp_path):
    (tmp_path / "set").mkdir()
    for n, data in enumerate(IMAGES):
        (tmp_path / "set" / f"{n}.png").write_bytes(data)
    path = parquet_file({"image": [f"{n}.png" for n in range(4)], "label": [0, 1, 0, 1]}, "set/index.parquet")
    source = open_source(str(path))
    assert read_all(source) == IMAGES
    (tmp_path / "set" / "2.png").write_bytes(b"third, longer")
    assert open_source(str(path)).identity != source.identity


def test_labels_may_be_strings_categories_whole_floats_or_booleans(parquet_file):
    def labels(values):
        source = open_source(str(parquet_file({"image": IMAGES, "label": values})))
        return [e.label for e in source.entries], dict(source.names)

    assert labels(["b", "a", "", None]) == (["b", "a", None, None], {"a": "a", "b": "b"})
    assert labels(pa.array(["b", "a", "b", None]).dictionary_encode()) == (["b", "a", "b", None], {"a": "a", "b": "b"})
    assert labels([2.0, 10.0, None, float("nan")]) == ([2, 10, None, None], {2: "2", 10: "10"})
    assert labels([True, False, True, None]) == ([1, 0, 1, None], {0: "0", 1: "1"})
    with pytest.raises(D2CError, match="holds fractions"):
        labels([0.5, 1.0, 2.0, 3.0])


def test_rows_without_a_label_are_listed_as_such(parquet_file):
    source = open_source(str(parquet_file({"image": IMAGES, "label": [1, None, 0, None]})))
    assert [e.problem for e in source.entries] == ["", NO_LABEL, "", NO_LABEL]


def test_class_label_metadata_names_the_classes(parquet_file):
    described = features(image={"_type": "Image"}, label={"_type": "ClassLabel", "names": ["cat", "dog", "fox"]})
    source = open_source(str(parquet_file({"image": IMAGES, "label": [2, 0, 2, -1]}, metadata=described)))
    assert dict(source.names) == {0: "cat", 2: "fox"}
    assert [e.problem for e in source.entries] == ["", "", "", NO_LABEL]


def test_metadata_tells_columns_of_unusual_names(parquet_file):
    described = features(scan={"_type": "Image"}, kind={"_type": "ClassLabel", "names": ["cat", "dog"]})
    columns = {"mask": IMAGES, "scan": IMAGES[::-1], "kind": [0, 1, 0, 1]}
    source = open_source(str(parquet_file(columns, metadata=described)))
    assert dict(source.columns) == {"image_column": "scan", "label_column": "kind"}
    with pytest.raises(D2CError, match="--image-column"):
        open_source(str(parquet_file(columns, metadata={"huggingface": "not json"})))


def test_a_column_beside_names_the_labels(parquet_file):
    columns = {"image": IMAGES, "label": [4, 2, 4, 2], "label_name": ["dog", "cat", "dog", None]}
    source = open_source(str(parquet_file(columns)))
    assert list(source.names.items()) == [(2, "cat"), (4, "dog")]
    assert source.warnings == []


@pytest.mark.parametrize(
    "names", [["dog", "cat", "fox", "cat"], ["dog", "dog", "dog", "dog"], ["dog", None, "dog", None]]
)
def test_names_that_do_not_correspond_are_not_used(parquet_file, names):
    columns = {"image": IMAGES, "label": [4, 2, 4, 2], "label_name": names}
    source = open_source(str(parquet_file(columns)))
    assert dict(source.names) == {2: "2", 4: "4"}
    assert "does not match" in source.warnings[0]


def test_one_split_is_kept(parquet_file):
    columns = {"image": IMAGES, "label": [0, 1, 2, 1], "split": ["train", "val", "train", None]}
    path = parquet_file(columns)
    assert [e.split for e in open_source(str(path)).entries] == ["train", "val", "train", ""]
    kept = open_source(str(path), split="train")
    assert [e.key for e in kept.entries] == ["row-000000000", "row-000000002"]
    assert read_all(kept) == [b"first", b"third"]
    assert list(kept.names) == [0, 2]
    with pytest.raises(D2CError, match="no split 'test'; there is: train, val"):
        open_source(str(path), split="test")


def test_identity_is_the_content_not_the_name(parquet_file):
    columns = {"image": IMAGES, "label": [0, 1, 0, 1]}
    first = open_source(str(parquet_file(columns)))
    assert open_source(str(parquet_file(columns, "elsewhere/other.parquet"))).identity == first.identity
    assert open_source(str(parquet_file({**columns, "label": [0, 1, 1, 1]}, "b.parquet"))).identity != first.identity


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"image": IMAGES}, {}, "no column that looks like labels .*--label-column"),
        ({"label": [1, 2]}, {}, "no column that looks like images .*--image-column"),
        ({"image": IMAGES, "label": [1] * 4}, {"label_column": "kind"}, "no column 'kind'; there is: image, label"),
        ({"image": IMAGES, "label": [1] * 4}, {"image_column": "label"}, "holds int64, which is no image"),
        ({"image": IMAGES, "label": [[1]] * 4}, {"label_column": "label"}, "which is no label"),
    ],
)
def test_columns_that_cannot_be_told_are_refused(parquet_file, columns, options, said):
    with pytest.raises(D2CError, match=said):
        open_source(str(parquet_file(columns)), **options)


def test_one_large_row_group_is_read_a_little_at_a_time(tmp_path):
    path = tmp_path / "large.parquet"
    images = np.random.default_rng(0).bytes(40_000_000)
    table = pa.table({"image": [images[n : n + 2000] for n in range(0, len(images), 2000)], "label": [0, 1] * 10_000})
    pq.write_table(table, path, row_group_size=1_000_000)
    del table
    before, most = pa.total_allocated_bytes(), 0
    for _ in open_source(str(path)).items():
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 10_000_000


def test_a_file_that_is_not_parquet_is_refused(tmp_path):
    for data in (b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1", b"image,label\n"):
        path = tmp_path / "set.parquet"
        path.write_bytes(data)
        with pytest.raises(D2CError, match=r"is damaged or no Parquet file .*expected a folder"):
            open_source(str(path))


def test_text_that_is_not_utf8_is_refused_in_one_line(parquet_file):
    labels = pa.array([b"caf\xe9", b"tea", b"tea", b"tea"], pa.binary()).view(pa.string())
    with pytest.raises(D2CError, match="is damaged"):
        open_source(str(parquet_file({"image": IMAGES, "label": labels})))


def test_a_file_damaged_inside_is_refused_in_one_line(parquet_file):
    path = parquet_file({"image": [bytes([n]) * 5000 for n in range(4)], "label": [0, 1, 0, 1]})
    data = bytearray(path.read_bytes())
    data[4:64] = b"\xff" * 60  # the header of the image column's first page
    path.write_bytes(data)
    with pytest.raises(D2CError, match="is damaged"):
        read_all(open_source(str(path)))
