from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from d2c.artifacts import Artifact
from d2c.attach import attach
from d2c.attach.hashing import HashText
from d2c.attach.names import names_of
from d2c.attach.templates import encode, read_templates
from d2c.errors import D2CError
from d2c.score.labels import imagenet


def test_a_file_of_templates(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("﻿# after CLIP\na photo of a {class}\n\n  a   drawing of {class} \na photo of a {class}\n", "utf-8")
    assert read_templates(str(file)) == ["a photo of a {class}", "a drawing of {class}"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a photo of a {class}\na photo", r"t\.txt, line 2: no \{class\} in 'a photo'"),
        (b"# nothing\n", "holds 0 templates"),
        (b"\xff\xfe\x00{class}", "cannot be read as text"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(D2CError, match=said):
        read_templates(str(tmp_path / "t.txt"))
    with pytest.raises(D2CError, match="no such file"):
        read_templates(str(tmp_path / "gone.txt"))


def test_the_mean_of_templates_place_by_place() -> None:
    encoder = HashText(8, "")
    templates, names = ["a {class}", "one more {class} here", "{class}"], ["cat", "sea lion"]
    tokens, mask = encode(encoder, templates, names)
    each = [encoder.encode([t.replace("{class}", n) for n in names]) for t in templates]
    for row in range(2):
        for place in range(8):
            there = [t[row, place] for t, m in each if m[row, place]]
            assert mask[row, place] == bool(there)
            np.testing.assert_allclose(tokens[row, place], np.mean(there, 0) if there else 0, atol=1e-6)


def test_one_template_is_taken_as_it_is() -> None:
    encoder = HashText(8, "")
    tokens, mask = encode(encoder, ["a {class}"], ["cat"])
    np.testing.assert_array_equal(tokens, encoder.encode(["a cat"])[0])
    assert mask.sum() == 2


def test_templates_count_by_their_content(subset: Artifact, tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("a {class}\nthe {class}\n")
    two.write_text("# the same\na {class}\nthe   {class}\n")
    given = {"vision": "none", "device": "cpu", "quiet": True}
    first = attach(subset, templates=str(one), **given)
    assert attach(subset, templates=str(two), prompt="unread {class}", **given).path == first.path
    assert first.facts["text"]["templates"] == 2
    assert first.json("prompts.json")["templates"] == ["a {class}", "the {class}"]
    card = (first.path / "README.md").read_text()
    assert "--templates=TEMPLATES.txt" in card.partition("## Make it again")[2]
    assert "TEMPLATES.txt holds the lines under `templates` in `prompts.json`." in card
    assert str(one) not in card
    two.write_text("a {class}\n")
    assert attach(subset, templates=str(two), **given).fingerprint != first.fingerprint


def test_wordnet_ids_become_names() -> None:
    assert names_of(["n01440764", "dog", "n02979186"]) == ["tench", "dog", "cassette player"]
    assert names_of(["n99999999", "n0144"]) == ["n99999999", "n0144"]


def test_every_class_of_imagenet_has_a_name_of_its_own() -> None:
    ids, _ = imagenet()
    names = names_of(ids)
    assert len({name.casefold() for name in names}) == 1000
    assert not any(name.startswith("n0") for name in names)
    cranes = [name for name in names if name.startswith("crane")]
    assert len(cranes) == 2


def test_names_of_ids_are_what_is_read(subset: Artifact, dataset: Artifact) -> None:
    import json

    (dataset.path / "classes.json").write_text(json.dumps(["n01440764", "cat", "n02077923"]))
    made = attach(subset, vision="none", device="cpu", quiet=True)
    assert made.json("prompts.json")["names"] == ["tench", "cat", "sea lion"]
    assert made.json("classes.json") == ["n01440764", "cat", "n02077923"]
    wanted = HashText(16, "").encode(["a photo of a tench"])[0][0]
    np.testing.assert_allclose(made.arrays("text.safetensors")["tokens"][0], wanted, atol=1e-3)
