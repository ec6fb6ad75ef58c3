from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import d2c
from d2c.artifacts import Artifact, Workspace
from d2c.cli import main
from d2c.export import FORMATS, export
from d2c.select import select
from d2c.select.recipes import recipe_of_set
from d2c.select.records import in_card


def card(subset: Artifact, folder: Path, format: str = "folder") -> str:
    return export(subset, format=format, out=str(folder / "out"), quiet=True).card.read_text(encoding="utf-8")


@pytest.mark.parametrize("format", FORMATS)
def test_a_card_says_where_it_came_from(subset: Artifact, tmp_path: Path, format: str) -> None:
    text = card(subset, tmp_path, format)
    dataset, scores = subset.parent("datasets"), subset.parent("scores")
    for said in (
        f"photos `{dataset.fingerprint[:12]}`, 18 images",
        f"{scores.name} `{scores.fingerprint[:12]}`, 4 evaluations an image",
        "dit-xl-2-256, digest `abababababab`",
        "strategy = interval, per_class = 5, interval = 1, offset = 0, seed = 0",
        f"recipe {subset.fingerprint[:12]}",
        f"by d2c {d2c.__version__}",
        "| ネコ | 5 |",
        "d2c select",
    ):
        assert said in text
    assert str(tmp_path) not in text  # nothing of this machine
    record = in_card(text)
    assert record["recipe"]["fingerprint"] == subset.fingerprint
    assert record["recipe"]["options"] == dict(subset.recipe)


def test_a_licence_that_forbids_commerce_stands_first(
    subset: Artifact, tmp_path: Path, scored: Callable[..., Artifact]
) -> None:
    text = card(subset, tmp_path)
    assert text.index("**Non-commercial.** The scorer dit-xl-2-256 is under CC-BY-NC 4.0") < text.index("15 images")
    free = {"name": "own", "digest": "cd" * 32, "licence": "Apache-2.0"}
    other = select(scored(subset.parent("datasets"), free), per_class=1, quiet=True)
    assert "Non-commercial" not in card(other, tmp_path / "free")


def test_the_hub_head_is_yaml(subset: Artifact, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    head = yaml.safe_load(card(subset, tmp_path, "hf").split("---\n")[1])
    assert head["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}]
    assert head["size_categories"] == ["n<1K"]
    assert head["pretty_name"] == "five"


@pytest.mark.parametrize("format", ["csv", "parquet", "folder", "hf", "webdataset"])
def test_the_code_on_the_card_runs(
    subset: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    for package in {"hf": ["datasets"], "webdataset": ["webdataset"]}.get(format, []):
        pytest.importorskip(package)
    text = card(subset, tmp_path, format)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    found = re.search(r"```python\n(.*?)\n```", text, re.S)
    assert found is not None
    names: dict[str, object] = {}
    exec(found[1], names)
    read = names["chosen" if FORMATS[format].suffix else "images"]
    assert len(list(read) if format == "webdataset" else read) == 15  # type: ignore[call-overload, arg-type]


def test_many_classes_are_folded(named: Callable[..., Artifact], tmp_path: Path) -> None:
    text = card(named([f"class {i:02d}" for i in range(40)]), tmp_path)
    assert "<details><summary>40 classes</summary>" in text
    assert "| class 39 | 2 |" in text


@pytest.mark.slow
def test_the_commands_on_the_card_make_the_same_recipe_elsewhere(
    digits_chain: dict[str, Artifact],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subset = digits_chain["subsets"]
    text = card(subset, tmp_path, "csv")
    monkeypatch.chdir(tmp_path)
    lines = [shlex.split(line) for line in text.splitlines() if line.startswith("    d2c ")]
    assert [words[1] for words in lines] == ["ingest", "score", "select", "export"]
    elsewhere = ["--workspace", str(tmp_path / "elsewhere"), "--quiet", "--json"]
    for words in lines:
        more = ["--force"] if words[1] == "export" else []
        assert main([*words[1:], *elsewhere, *more]) == 0
        result = json.loads(capsys.readouterr().out)
    assert result["fingerprint"] == subset.fingerprint
    (again,) = Workspace(tmp_path / "elsewhere").list("subsets")
    assert again.table("subset.parquet").equals(subset.table("subset.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "verb", "kind"), [("tdds", "measure", "measures"), ("kcenter", "map", "maps")])
def test_a_card_says_how_to_make_what_the_choice_read(
    digits_chain: dict[str, Artifact],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    strategy: str,
    verb: str,
    kind: str,
) -> None:
    subset = select(digits_chain["scores"], strategy=strategy, per_class=2, quiet=True)
    lines = [shlex.split(line) for line in card(subset, tmp_path, "csv").splitlines() if line.startswith("    d2c ")]
    assert [words[1] for words in lines] == ["ingest", "score", verb, "select", "export"]
    assert main([*lines[2][1:], "--workspace", str(subset.workspace.root), "--quiet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)  # found, not made: it is the same recipe
    assert found["fingerprint"] == digits_chain[kind].fingerprint


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ("hf:owner/name:small", "hf:owner/name:small"),
        ("wds:/data/in/{0..9}.tar", "wds:{0..9}.tar"),
        ("demo:digits", "demo:digits"),
        ("/data/flowers/", "flowers"),
        ("~/flowers", "flowers"),
        ("flowers", "flowers"),
    ],
)
def test_an_origin_is_told_without_the_folders_of_this_machine(subset: Artifact, origin: str, said: str) -> None:
    file = subset.parent("datasets").path / "artifact.json"
    record = json.loads(file.read_text())
    record["facts"]["origin"] = origin
    file.write_text(json.dumps(record))
    assert recipe_of_set(subset).dataset["origin"] == said
