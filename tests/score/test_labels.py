from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from d2c.diffusion.checkpoints import save_model
from d2c.errors import D2CError
from d2c.score import labels
from d2c.score.labels import class_map, fit, imagenet
from d2c.score.scorers import locate

IMAGENETTE = {
    "tench": 0,
    "English springer": 217,
    "cassette player": 482,
    "chain saw": 491,
    "church": 497,
    "French horn": 566,
    "garbage truck": 569,
    "gas pump": 571,
    "golf ball": 574,
    "parachute": 701,
}
IDS = [f"n0{n}" for n in (1440764, 2102040, 2979186, 3000684, 3028079, 3394916, 3417042, 3425413, 3445777, 3888257)]


def refused(*given: object) -> str:
    with pytest.raises(D2CError) as caught:
        class_map(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "written",
    [
        lambda name: name,
        lambda name: name.replace(" ", "_"),
        lambda name: name.upper().replace(" ", "-"),
        lambda name: IDS[list(IMAGENETTE).index(name)],
        lambda name: f"{IDS[list(IMAGENETTE).index(name)]}_{name}",
        lambda name: str(IMAGENETTE[name]),
        lambda name: f"{IMAGENETTE[name]:03d}",
        lambda name: imagenet()[1][IMAGENETTE[name]],
    ],
)
def test_imagenette(written):
    found = class_map([written(name) for name in IMAGENETTE], None, 1000)
    assert found.dtype == np.int64
    assert found.tolist() == list(IMAGENETTE.values())


def test_the_table_is_read_without_timm():
    code = "import sys; from d2c.score.labels import imagenet; ids, lemmas = imagenet(); "
    code += "print(len(ids), len(lemmas), sorted({'timm', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=2) == ["1000", "1000", "[]\n"]


def test_all_of_imagenet_by_id_in_any_order():
    ids = imagenet()[0]
    order = np.random.default_rng(0).permutation(1000)
    assert class_map([ids[i] for i in order], None, 1000).tolist() == order.tolist()


def test_a_name_of_two_classes_is_told_with_both():
    said = refused(["tench", "crane"], None, 1000)
    assert "'crane' may be 134 (n02012849 crane) or 517 (n03126707 crane)" in said
    assert "--class-map FILE" in said
    assert "tench" not in said
    assert class_map(["maillot, tank suit"], None, 1000).tolist() == [639]
    assert class_map(["skunk", "polecat"], None, 1000).tolist() == [361, 358]  # only one polecat is left


def test_unmatched_classes_are_listed_and_counted():
    names = ["tench", *(f"thing {i}" for i in range(8))]
    said = refused(names, None, 1000)
    assert "8 of 9 classes of the data set are not among its 1000: 'thing 0', 'thing 1'" in said
    assert "and 3 more; say which they are with --class-map FILE (CSV rows class,target" in said


def test_one_class_meant_twice_must_be_said(tmp_path):
    assert "'Tench', 'tinca_tinca' of the data set are all 0" in refused(["Tench", "tinca_tinca"], None, 1000)
    file = tmp_path / "map.csv"
    file.write_text("Tench,0\n")
    assert "are all 0" in refused(["Tench", "tinca_tinca"], None, 1000, file)
    file.write_text("Tench,0\ntinca_tinca,0\n")
    assert class_map(["Tench", "tinca_tinca"], None, 1000, file).tolist() == [0, 0]


def test_numbers_of_ones_own_are_no_indices():
    assert "'0'" in refused([str(i) for i in range(10)], None, 1000)
    assert class_map([str(i) for i in range(1000)], None, 1000).tolist() == list(range(1000))
    assert class_map(["7", "0", "300"], None, 1000).tolist() == [7, 0, 300]


def test_an_index_that_the_scorer_has_not():
    assert "'1000' of the data set is index 1000, the scorer has classes 0…999" in refused(["1", "1000"], None, 1000)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_class_map_overrides_and_completes(tmp_path, form):
    said = {"crane": 517, "hund": "n02102040", "spool, red": "golf_ball", "tench": "1"}
    file = _with(tmp_path / "map", form, said)
    names = ["church", "spool, red", "crane", "hund", "tench"]
    assert class_map(names, None, 1000, file).tolist() == [497, 574, 517, 217, 1]
    with pytest.raises(D2CError, match="class 'hund' is not in the data set, whose classes are 'church', 'spool, red'"):
        class_map(names[:3], None, 1000, file)


def _with(file, form, said):
    rows = "class,target\n" + "".join(f'"{k}", {v}\n\n' for k, v in said.items())
    file.write_text(json.dumps(said) if form == "json" else rows)
    return file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tench,1000\n", "class 'tench' is index 1000, the scorer has classes 0…999"),
        ("tench,-1\n", "is index -1"),
        ("tench,crane\n", "'crane' is 134 .* or 517 .*; write an index 0…999"),
        ("tench,nonsense\n", "'nonsense' is nothing that the scorer knows"),
        ("tench,n99999999\n", "'n99999999' is nothing"),
        ("tench;0\n", "row 1 is not class,target"),
        ("tench,0\ntench,1\n", "there twice"),
        ("{1:", "neither a CSV nor a JSON object"),
        ('{"tench": [0]}', "the target of 'tench' is neither an index nor a name"),
        ("\xff\xfe".encode("latin1"), "neither a CSV nor a JSON object"),
        (None, "no such file"),
    ],
)
def test_class_maps_that_cannot_be_meant(tmp_path, text, said):
    file = tmp_path / "map.csv"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(D2CError, match=said) as caught:
        class_map(["tench"], None, 1000, file)
    assert "\n" not in str(caught.value)


def test_a_scorer_with_names_is_matched_by_name():
    own = ["ant", "bee", "black cat", "7"]
    assert class_map(own, own, 4).tolist() == [0, 1, 2, 3]
    assert class_map(["7", "Black_Cat", "ant"], own, 4).tolist() == [3, 2, 0]
    assert "1 of 2 classes of the data set are not among its 4: 'dog'" in refused(["ant", "dog"], own, 4)
    assert "names 4 classes and has 5" in refused(own, own, 5)
    assert class_map(["3", "1"], list("0123456789"), 10).tolist() == [3, 1]


def test_a_scorer_that_names_imagenets_classes_is_matched_as_imagenet():
    ids, lemmas = imagenet()
    for own in (lemmas, ids, [f"my {i}" if i < 3 else name for i, name in enumerate(lemmas)]):
        assert class_map(["n02102040", "cassette_player"], own, 1000).tolist() == [217, 482]
    other = [f"kind {i}" for i in range(1000)]
    assert class_map(["kind 5"], other, 1000).tolist() == [5]
    assert "not among its 1000: 'tench'" in refused(["tench"], other, 1000)


def test_a_scorer_of_which_only_the_number_is_known(tmp_path):
    assert class_map(["a", "b", "c"], None, 3).tolist() == [0, 1, 2]
    assert "knows 10 classes, the data set has 3" in refused(["a", "b", "c"], None, 10)
    assert class_map(["4", "9"], None, 10).tolist() == [4, 9]
    file = _with(tmp_path / "map.csv", "csv", {"a": 7, "b": 2})
    assert class_map(["a", "b"], None, 10, file).tolist() == [7, 2]


def test_without_timm_ids_cannot_be_matched(monkeypatch):
    monkeypatch.setattr(labels, "imagenet", lambda: ([], []))
    assert "timm's table of ImageNet is not here" in refused(["tench"], None, 1000)
    assert class_map(["0", "217"], None, 1000).tolist() == [0, 217]


def test_fit_names_the_scorer(make_model, scorer_file, tmp_path):
    assert fit(locate(scorer_file), ["a", "b", "c"]).tolist() == [0, 1, 2]
    with pytest.raises(D2CError, match="scorer tiny: it knows 3 classes, the data set has 2"):
        fit(locate(scorer_file), ["a", "b"])
    file = tmp_path / "latent.safetensors"
    save_model(file, make_model(channels=4), {"classes": ["a", "b", "c"]})
    with pytest.raises(D2CError, match="scorer latent takes 4 channels, images have 1 or 3"):
        fit(locate(file), ["a", "b", "c"])
    save_model(file, make_model(), {"classes": ["a", "b", "c"]})
    assert fit(locate(file), ["c", "a"]).tolist() == [2, 0]


def test_fit_of_a_release_needs_no_file(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert fit(locate("dit-xl-2-256"), list(IMAGENETTE)).tolist() == list(IMAGENETTE.values())
    with pytest.raises(D2CError, match="scorer dit-xl-2-256: 1 of 1 classes"):
        fit(locate("dit-xl-2-256"), ["nonsense"])
