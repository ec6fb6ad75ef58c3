from __future__ import annotations

import io
import json
import re
import sys
import tarfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d2c.data.decode import DAMAGED, EMPTY, TOO_LARGE, UNREADABLE, Unusable
from d2c.data.ingest import ingest
from d2c.data.sources import NO_LABEL, open_source
from d2c.data.store import Images
from d2c.data.wds import NO_IMAGE
from d2c.errors import D2CError, UsageError


@pytest.fixture
def shard(tmp_path):
    """shard("a.tar", {"0.jpg": bytes, "0.cls": "3"}, mode) → a tar file of these members."""

    def make(name, members, mode="w"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, mode) as tar:
            for key, content in dict(members).items():
                data = content.encode() if isinstance(content, str) else content
                info = tarfile.TarInfo(key)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    return make


def listed(source):
    return [(e.key, e.label, e.problem) for e in source.entries]


def read_all(source):
    return [read() for entry, read in source.items() if not entry.problem]


def test_members_are_grouped_by_key_and_read_in_the_shards_order(shard, tmp_path):
    shard("set-1.tar", {"a.png": b"third", "a.cls": "4"})
    shard("set-0.tar", {"z.jpg": b"first", "z.cls": "4\n", "b.cls": "2", "b.JPEG": b"second", "b.txt": "a word"})
    source = open_source(f"wds:{tmp_path}/set-*.tar")
    assert listed(source) == [("set-0.tar/z", 4, ""), ("set-0.tar/b", 2, ""), ("set-1.tar/a", 4, "")]
    assert read_all(source) == [b"first", b"second", b"third"]
    assert [e.size for e in source.entries] == [5, 6, 5]
    assert list(source.names.items()) == [(2, "2"), (4, "4")]
    assert (source.stem, source.root, source.bytes, source.warnings) == ("set", tmp_path, 16, [])


def test_members_of_a_key_may_lie_apart(shard):
    images = {f"./{n}.webp": str(n) for n in range(3)}
    path = shard("set.tar", {**images, **{f"./{n}.cls": f"class {n}" for n in (2, 0, 1)}})
    source = open_source(f"wds:{path}")
    assert listed(source) == [(f"set.tar/{n}", f"class {n}", "") for n in range(3)]


def test_folders_are_part_of_keys_and_hidden_names_are_passed_over(shard):
    members = {"cat/0.png": b"1", "cat/0.cls": "0", "dog/0.png": b"2", "dog/0.cls": "1", "cat/._0.png": b"x"}
    source = open_source(f"wds:{shard('set.tar', members)}")
    assert listed(source) == [("set.tar/cat/0", 0, ""), ("set.tar/dog/0", 1, "")]


def test_a_plain_extension_comes_before_a_compound_one(shard):
    members = {"0.seg.png": b"mask", "0.jpg": b"photo", "0.cls": "0", "1.in.jpg": b"in", "1.out.jpg": b"out"}
    source = open_source(f"wds:{shard('set.tar', {**members, '1.cls': '1', '2.jpg': b'one', '2.cls': '1'})}")
    assert sorted(read_all(source)) == [b"in", b"one", b"photo"]
    assert source.warnings == ["2 samples hold more than one image: the first is read, .jpg before .seg.jpg"]


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ({"label": 3}, 3),
        ({"class": "3"}, 3),
        ({"cls": 3.0, "caption": "x"}, 3),
        ({"target": True}, 1),
        ({"label": " tabby  cat "}, "tabby cat"),
        ({"label": None, "class_name": "cat"}, "cat"),
        ({"label": [1, 2]}, None),
        ({"label": 0.5}, None),
        ({"label": ""}, None),
        ({"caption": "a cat"}, None),
        ([3], None),
        ("not { json", None),
    ],
)
def test_labels_in_json(shard, said, label):
    text = said if isinstance(said, str) else json.dumps(said)
    source = open_source(f"wds:{shard('set.tar', {'0.png': b'1', '0.json': text, '1.png': b'2', '1.cls': '0'})}")
    other = "0" if isinstance(label, str) else 0
    assert listed(source) == [
        ("set.tar/0", label, "" if label is not None else NO_LABEL),
        ("set.tar/1", other, ""),
    ]


def test_names_beside_the_numbers(shard):
    members = {}
    for n, (label, name) in enumerate([(7, "fox"), (1, "cat"), (7, "fox")]):
        members |= {f"{n}.png": b"1", f"{n}.cls": str(label), f"{n}.json": json.dumps({"label": 0, "class_name": name})}
    source = open_source(f"wds:{shard('set.tar', members)}")
    assert ([e.label for e in source.entries], source.names) == ([7, 1, 7], {1: "cat", 7: "fox"})
    members["2.json"] = json.dumps({"label_name": "dog"})
    source = open_source(f"wds:{shard('set.tar', members)}")
    assert source.names == {1: "1", 7: "7"}
    assert "does not match the labels" in source.warnings[0]
    members |= {f"{n}.json": json.dumps({"name": f"{n}.png"}) for n in range(3)}
    assert open_source(f"wds:{shard('set.tar', members)}").warnings == []


def test_a_range_wants_every_number(shard, tmp_path):
    for n in range(9, 12):
        shard(f"{n // 10}/set-{n:03d}.tar", {"0.png": f"{n}", "0.cls": "0"})
    source = open_source(f"wds:{tmp_path}/{{0..1}}/set-0*.tar")
    assert [e.key for e in source.entries] == ["0/set-009.tar/0", "1/set-010.tar/0", "1/set-011.tar/0"]
    assert read_all(open_source(f"wds:{tmp_path}/1/set-{{010..011}}.tar")) == [b"10", b"11"]
    assert open_source(f"wds:{tmp_path}/1/set-{{010..011}}.tar").stem == "set"
    assert open_source(f"wds:{tmp_path}/1/*.tar").stem == "1"
    with pytest.raises(D2CError, match=r"no shard .*1/set-012\.tar"):
        open_source(f"wds:{tmp_path}/1/set-{{010..999999999999}}.tar")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("*.zip", "no shard"),
        ("", r"no shard .*name its shards, as in wds:.*/\*\.tar"),
        ("set-{5..3}.tar", "the range is empty"),
        ("x" * 5000, "cannot be opened|no shard"),
        ("\0", "cannot be opened|no shard"),
    ],
)
def test_patterns_that_name_nothing(shard, tmp_path, pattern, said):
    shard("set.tar", {"0.png": b"1", "0.cls": "0"})
    with pytest.raises(D2CError, match=said):
        open_source(f"wds:{tmp_path}/{pattern}")


def test_what_cannot_be_used_is_listed_with_its_problem(shard, tmp_path):
    path = shard("set.tar", {"0.png": b"1", "0.cls": "3", "1.png": b"2", "2.png": b"", "2.cls": "3", "3.cls": "3"})
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("4.png")
        link.type, link.linkname = tarfile.LNKTYPE, "0.png"
        tar.addfile(link)
        big = tarfile.TarInfo("4.cls")
        big.size = 2**20 + 1
        tar.addfile(big, io.BytesIO(b"3" * big.size))
        tar.addfile(tarfile.TarInfo("README"))
    source = open_source(f"wds:{path}")
    assert {key: problem for key, _, problem in listed(source)} == {
        "set.tar/0": "",
        "set.tar/1": NO_LABEL,
        "set.tar/2": EMPTY,
        "set.tar/3": NO_IMAGE,
        "set.tar/4": NO_LABEL,
        "set.tar/README": NO_IMAGE,
    }
    with tarfile.open(path, "a") as tar:
        label = tarfile.TarInfo("4.cls")
        label.size = 1
        tar.addfile(label, io.BytesIO(b"3"))
    assert ("set.tar/4", 3, UNREADABLE) in listed(open_source(f"wds:{path}"))


def test_a_member_longer_than_any_image_is_not_read(shard, tmp_path):
    path = shard("set.tar", {"0.png": b"1", "0.cls": "3", "1.cls": "3"})
    info = tarfile.TarInfo("1.png")
    info.size = 2**31
    data = path.read_bytes()[: 4 * 512 + 2 * 512]  # up to the end mark
    with path.open("wb") as file:
        file.write(data + info.tobuf())
        file.truncate(len(data) + 512 + info.size + 1024)
    source = open_source(f"wds:{path}")
    assert listed(source) == [("set.tar/0", 3, ""), ("set.tar/1", 3, TOO_LARGE)]
    assert [entry.key for entry, _ in source.items()] == ["set.tar/0", "set.tar/1"]


def test_names_that_are_not_utf8_are_escaped(shard):
    members = {b"caf\xe9.png".decode("utf-8", "surrogateescape"): b"1", "tee.png": b"2", "tee.cls": "1"}
    source = open_source(f"wds:{shard('set.tar', members)}")
    assert [e.key for e in source.entries] == ["set.tar/caf\\udce9", "set.tar/tee"]


def test_labels_are_needed_and_neither_columns_nor_splits_are_there(shard):
    path = shard("set.tar", {"0.png": b"1", "1.png": b"1"})
    with pytest.raises(D2CError, match=r"has no labels: expected KEY\.cls"):
        open_source(f"wds:{path}")
    with pytest.raises(UsageError, match="has no columns"):
        open_source(f"wds:{path}", label_column="cls")
    with pytest.raises(D2CError, match="no split at all"):
        open_source(f"wds:{path}", split="train")


def test_identity_is_the_content_not_the_place(shard):
    members = {"0.png": b"1", "0.cls": "0", "1.png": b"22", "1.cls": "1"}
    first = open_source(f"wds:{shard('here/set.tar', members)}").identity
    assert open_source(f"wds:{shard('there/set.tar', members)}").identity == first
    others = [{"0.png": b"123"}, {"0.cls": "1"}, {"2.png": b"1"}, {"0.json": '{"label_name": "x"}', "1.cls": "0"}]
    for n, other in enumerate(others):
        assert open_source(f"wds:{shard(f'{n}/set.tar', {**members, **other})}").identity != first


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_shards(shard, mode):
    members = {f"{n}.{kind}": f"{n}" for n in range(5) for kind in ("png", "cls")}
    source = open_source(f"wds:{shard('set.tar', members, mode)}")
    assert read_all(source) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("data", [b"", b"x" * 10_000, b"\x1f\x8b\x08" + b"x" * 100, b"\x89PNG\r\n\x1a\n" + b"x" * 600])
def test_what_is_no_tar_is_named_in_one_line(shard, tmp_path, data):
    shard("set-0.tar", {"0.png": b"1", "0.cls": "0"})
    (tmp_path / "set-1.tar").write_bytes(data)
    with pytest.raises(D2CError, match=rf"^shard {tmp_path}/set-1\.tar cannot be read \(no tar file, .*\): get it ag"):
        open_source(f"wds:{tmp_path}/*.tar")


def test_a_shard_that_went_away_is_named(shard):
    path = shard("set.tar", {"0.png": b"1", "0.cls": "0"})
    source = open_source(f"wds:{path}")
    path.unlink()
    with pytest.raises(D2CError, match="No such file"):
        read_all(source)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), cut=st.booleans(), mode=st.sampled_from(["w", "w:gz"]))
def test_of_a_damaged_shard_the_whole_images_are_kept(shard, place, cut, mode):
    images = [np.random.default_rng(n).bytes(700 + n) for n in range(6)]
    path = shard("set.tar", {f"{n}.{k}": d for n, i in enumerate(images) for k, d in (("cls", "0"), ("png", i))}, mode)
    with tarfile.open(path) as tar:
        ends = [member.offset_data + member.size for member in tar if member.name.endswith("png")]
    data = path.read_bytes()
    at = int(place * len(data))
    path.write_bytes(data[:at] if cut else data[:at] + bytes(64) + data[at + 64 :])
    kept, said = [], []
    try:
        for entry, read in open_source(f"wds:{path}").items():
            kept += [] if entry.problem else [read()]
    except (D2CError, Unusable) as why:
        said.append(str(why))
    assert all(re.search(f"cannot be read|has no labels|^{DAMAGED}", line) for line in said)
    if cut:
        assert kept == images[: len(kept)]
        assert mode != "w" or kept == [image for image, end in zip(images, ends, strict=True) if end <= at]


def test_a_damaged_header_is_not_taken_for_the_end(shard):
    path = shard("set.tar", {f"{n}.{kind}": f"{n}" for n in range(5) for kind in ("cls", "png")})
    data = bytearray(path.read_bytes())
    data[4 * 1024 + 148 : 4 * 1024 + 156] = b"\xff" * 8  # the checksum of 2.cls
    path.write_bytes(data)
    source = open_source(f"wds:{path}")
    assert listed(source) == [("set.tar/0", 0, ""), ("set.tar/1", 1, ""), ("set.tar", None, DAMAGED)]
    assert source.warnings == ["set.tar is cut off or damaged, what follows its sample 2 is missing"]


def test_a_cut_shard_is_rejected_beside_what_it_still_holds(shard, tmp_path, encode, workspace):
    for n in range(2):
        members = {}
        for k in range(3):
            members |= {f"{k}.cls": "cat" if k else "dog", f"{k}.png": encode(3 * n + k, (40, 40))}
        path = shard(f"set-{n}.tar", members)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(members["2.png"]) + 1000])
    dataset = ingest(f"wds:{tmp_path}/set-{{0..1}}.tar", workspace=workspace, quiet=True)
    rejects = dataset.table("rejects.parquet")[["key", "class", "reason"]].to_numpy().tolist()
    assert rejects == [["set-1.tar/2", "cat", DAMAGED], ["set-1.tar", "", DAMAGED]]
    samples = dataset.table("samples.parquet")
    assert samples["key"].tolist() == [f"set-{n}.tar/{k}" for n, k in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]]
    assert samples["label"].tolist() == [1, 0, 0, 1, 0]
    assert dataset.json("classes.json") == ["cat", "dog"]
    assert [Images(dataset).bytes(n) for n in range(5)] == [encode(n, (40, 40)) for n in range(5)]
    assert dataset.facts["store"] == "copy"
    assert dataset.facts["warnings"][0] == "set-1.tar is cut off or damaged, what follows its sample 3 is missing"
    referred = ingest(f"wds:{tmp_path}/set-{{0..1}}.tar", workspace=workspace, quiet=True, store="reference")
    assert referred.table("rejects.parquet").equals(dataset.table("rejects.parquet"))
    assert [Images(referred).bytes(n) for n in range(5)] == [encode(n, (40, 40)) for n in range(5)]


@pytest.fixture
def two_shards(shard, tmp_path, encode):
    """Two tars of three images each, in folders below one root, by the pattern that names them."""
    for n in range(2):
        members = {}
        for k in range(3):
            members |= {f"{k}.cls": "cat" if k else "dog", f"{k}.png": encode(3 * n + k, (40, 40))}
        shard(f"tars/{n}/set.tar", members)
    return f"wds:{tmp_path}/tars/{{0..1}}/set.tar"


def test_tars_are_referred_to_by_offset(two_shards, tmp_path, encode, workspace, monkeypatch):
    monkeypatch.setattr(sys.modules["d2c.data.ingest"], "COPY_UP_TO", 1)
    referred = ingest(two_shards, workspace=workspace, quiet=True)
    assert (referred.facts["store"], referred.facts["root"]) == ("reference", str(tmp_path / "tars"))
    assert not (referred.path / "images.bin").exists()
    table = referred.table("images.parquet")
    assert table["file"].tolist() == ["0/set.tar"] * 3 + ["1/set.tar"] * 3
    for row in table.itertuples():
        data = (tmp_path / "tars" / row.file).read_bytes()[row.offset : row.offset + row.length]
        assert data == encode(row.sample_id, (40, 40)) == Images(referred).bytes(row.sample_id)
    copied = ingest(two_shards, workspace=workspace, quiet=True, store="copy")
    assert referred.table("samples.parquet").equals(copied.table("samples.parquet"))
    assert referred.recipe["source"] == copied.recipe["source"]


def test_a_referenced_tar_that_was_cut_or_moved_is_named(two_shards, tmp_path, encode, workspace):
    referred = ingest(two_shards, workspace=workspace, quiet=True, store="reference")
    cut = tmp_path / "tars" / "1" / "set.tar"
    place = int(referred.table("images.parquet")["offset"][5])
    with cut.open("r+b") as file:
        file.truncate(place + 100)
    images = Images(referred)
    assert images.bytes(4) == encode(4, (40, 40))
    with pytest.raises(
        D2CError, match=rf"image 5 of datasets/.* \(1/set\.tar/2\) cannot be read: 1/set\.tar in {tmp_path}"
    ):
        images.bytes(5)
    with cut.open("r+b") as file:
        file.truncate(place - 100)
    with pytest.raises(D2CError, match="0 bytes instead of"):
        images.bytes(5)
    (tmp_path / "tars").rename(tmp_path / "moved")
    with pytest.raises(D2CError, match="No such file or directory; bring it back, or ingest the folder again"):
        Images(referred).bytes(0)
    again = ingest(
        two_shards.replace("/tars/", "/moved/").replace("{0..1}", "0"),
        workspace=workspace,
        quiet=True,
        store="reference",
    )
    assert Images(again).bytes(2) == encode(2, (40, 40))


def test_a_moved_root_is_found_again(two_shards, tmp_path, encode, workspace):
    before = ingest(two_shards, workspace=workspace, quiet=True, store="reference")
    (tmp_path / "tars").rename(tmp_path / "moved")
    again = ingest(two_shards.replace("/tars/", "/moved/"), workspace=workspace, quiet=True, store="reference")
    assert (again.path, again.facts["root"]) == (before.path, str(tmp_path / "moved"))
    assert Images(again).bytes(5) == encode(5, (40, 40))


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_compressed_tars_are_copied(shard, encode, workspace, mode, monkeypatch):
    monkeypatch.setattr(sys.modules["d2c.data.ingest"], "COPY_UP_TO", 1)
    members = {f"{n}.{kind}": d for n in range(2) for kind, d in (("png", encode(n)), ("cls", "1"))}
    path = shard("set.tar", members, mode)
    dataset = ingest(f"wds:{path}", workspace=workspace, quiet=True)
    assert (dataset.facts["store"], Images(dataset).bytes(1)) == ("copy", encode(1))
    with pytest.raises(D2CError, match="uncompressed tars to refer to: use --store copy"):
        ingest(f"wds:{path}", workspace=workspace, quiet=True, store="reference")


def test_memory_does_not_grow_with_the_shards(shard):
    image = np.random.default_rng(0).bytes(200_000)
    path = shard("set.tar", {f"{n}.{k}": d for n in range(100) for k, d in (("png", image), ("cls", "1"))})
    tracemalloc.start()
    try:
        for _ in open_source(f"wds:{path}").items():
            pass
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
