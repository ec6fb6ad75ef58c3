"""The command's own promises: exit codes, one line of error, one JSON object on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from d2c.artifacts import Artifact
from d2c.cli import main
from d2c.verbs import VERBS

ROOT = Path(__file__).resolve().parents[1]


def test_every_verb_shows_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in VERBS.values():
        with pytest.raises(SystemExit) as stopped:
            main([verb.name, "--help"])
        assert stopped.value.code == 0
        text = capsys.readouterr().out
        assert verb.argument in text
        assert "--workspace" in text
        assert "--seed" in text or "--json" in text


def test_forty_models_do_not_fill_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert text.count("{SiT-Ti/1,…,DiT-XL/8}") == 2
    assert "SiT-XL/2" not in text


@pytest.mark.parametrize(
    "words", [["nonsense"], ["select"], ["select", "x", "--strategy", "best"], ["export", "x", "--format", "zip"], []]
)
def test_usage_is_two(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "d2c", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["select", "nowhere"], "no scores called 'nowhere'"),
        (["ingest", "/does/not/exist"], "/does/not/exist"),
        (["ingest", "demo:digits", "--name", "../x"], "'../x' is not a name"),
        (["train", "nowhere"], "no condensed or datasets called"),
        (["export", "nowhere", "--format", "csv", "--out", "x"], "no subsets or condensed called 'nowhere'"),
    ],
)
def test_failure_is_one_line(tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--workspace", str(tmp_path), "--quiet"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("d2c: ")
    assert said in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--interval", "0"], "--interval = 0 is below 1"),
        (["--window=-1"], "--window = -1 is below 0"),
        (["--strategy", "d2", "--gamma", "inf"], "--gamma = inf is not a finite number"),
        (["--pin", "9" * 20], f"--pin = '{'9' * 20}' is no list of sample_ids: '{'9' * 20}' in it is no sample_id"),
        (["--pin", "3", "--exclude", "3"], "sample 3 is pinned and excluded: leave it out of pin or of exclude"),
        (["--gamma", "nan"], "--gamma = nan is not a finite number"),
    ],
)
def test_a_value_out_of_range_is_usage(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["select", "x", *words, "--workspace", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"d2c: {said}\n"


def test_json_is_one_object_and_the_second_call_computes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "ingest",
        "demo:digits",
        "--workspace",
        str(tmp_path),
        "--json",
        "--quiet",
        "--device",
        "cpu",
        "--seed",
        "3",
    ]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert {"kind", "name", "path", "fingerprint", "recipe", "parents", "facts"} <= set(first)
    stamp = (Path(first["path"]) / "artifact.json").stat().st_mtime_ns
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert (Path(first["path"]) / "artifact.json").stat().st_mtime_ns == stamp


def test_export_writes_where_it_is_told(
    digits_chain: dict[str, Artifact], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subset = digits_chain["subsets"]
    words = ["export", subset.name, "--workspace", str(subset.workspace.root), "--quiet", "--format", "webdataset"]
    assert main(words) == 2
    assert "--out FOLDER" in capsys.readouterr().err
    words += ["--out", str(tmp_path / "out"), "--shard-size", "25"]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["format"], said["images"], said["fingerprint"]) == ("webdataset", 40, subset.fingerprint)
    assert sorted(p.name for p in Path(said["path"]).glob("*.tar")) == ["shard-000000.tar", "shard-000001.tar"]
    assert Path(said["card"]).is_file()
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("d2c: ")
    assert "--force" in line
    assert main([*words, "--force"]) == 0
    assert capsys.readouterr().out.startswith(f"webdataset  {subset.fingerprint[:12]}  40 images")
