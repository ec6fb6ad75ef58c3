"""The hub path for real: open_clip and timm towers from a hub on loopback, cached, missing, and without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from d2c.attach.weights import beside, digest, local_file, read_config, source_of
from d2c.errors import D2CError

if TYPE_CHECKING:
    from conftest import Hub

ENCODE = """
import numpy as np, torch
from d2c.attach.text import describe_text, open_text_encoder
from d2c.attach.vision import describe_vision
from d2c.attach.dinov2 import TimmVision

def tokens():
    text = open_text_encoder("hf-hub:org/tiny-clip")
    where = dict(grid=4, weights=None, device=torch.device("cpu"), precision="fp32")
    vision = TimmVision(describe_vision("hf-hub:org/tiny-vit"), **where)
    named = TimmVision(describe_vision("timm:test_vit"), **where)
    print(text.source, vision.source, named.source)
    prompts, images = ["a photo of a cat"], np.full((1, 3, 56, 56), 9, np.uint8)
    return text.encode(prompts)[0], vision.encode(images), named.encode(np.full((1, 3, 64, 64), 9, np.uint8))

for once, again in zip(tokens(), tokens()):
    assert (once == again).all()
    print(once.shape)
"""
FETCH = """
from d2c.attach.weights import fetch
from d2c.errors import D2CError
try:
    print(fetch({repository!r}, ["a.safetensors", "b.bin"], wanted_by="clip-vit-b-32", flag="--text-weights"))
except D2CError as problem:
    print(problem)
"""


def run(code: str, cache: Path, endpoint: str, **environment: str) -> str:
    """Run code where huggingface_hub, which reads its settings at import, sees this hub and this cache."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
    settings = {**kept, "HF_HOME": str(cache), "HF_ENDPOINT": endpoint, **environment}
    done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fetch(repository: str, cache: Path, endpoint: str, **environment: str) -> str:
    return run(FETCH.format(repository=repository), cache, endpoint, **environment)


@pytest.fixture
def repository(tmp_path: Path, hub: Hub) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    hub.repositories["org/name"] = folder
    return folder


@pytest.mark.slow
def test_towers_from_a_hub(hub: Hub, tiny_clip: Path, tiny_vit: Path, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    (tmp_path / "named").mkdir()
    save_file(timm.create_model("test_vit", num_classes=1000).state_dict(), tmp_path / "named" / "model.safetensors")
    hub.repositories = {
        "org/tiny-clip": tiny_clip,
        "org/tiny-vit": tiny_vit,
        "timm/test_vit.r160_in1k": tmp_path / "named",
    }
    said = run(ENCODE, tmp_path / "cache", hub.url).splitlines()
    at = "@0123456789abcdef0123456789abcdef01234567"
    assert said[0] == f"org/tiny-clip{at} org/tiny-vit{at} timm/test_vit.r160_in1k{at}"
    assert said[2:] == ["(1, 16, 16)", "(1, 16, 32)", "(1, 16, 64)"]
    downloads = [r for r in hub.requests if r.startswith("GET")]
    assert len(downloads) == len(set(downloads)) == 5  # two configurations, three files; then the cache


def test_the_first_name_that_is_there(hub: Hub, repository: Path, tmp_path: Path) -> None:
    (repository / "b.bin").write_bytes(b"weights")
    found = Path(fetch("org/name", tmp_path / "cache", hub.url))
    assert (found.name, found.read_bytes()) == ("b.bin", b"weights")
    asked = len(hub.requests)
    assert fetch("org/name", tmp_path / "cache", hub.url) == str(found)
    assert fetch("org/name", tmp_path / "cache", hub.url, HF_HUB_OFFLINE="1") == str(found)
    assert len(hub.requests) == asked


def test_a_revision(hub: Hub, repository: Path, tmp_path: Path) -> None:
    (repository / "a.safetensors").write_bytes(b"weights")
    fetch("org/name@v2", tmp_path / "cache", hub.url)
    assert hub.requests
    assert all("/resolve/v2/" in request for request in hub.requests)


def three_ways(line: str, cache: Path, endpoint: str) -> None:
    """The line names the hub, the flag and the cache."""
    assert "\n" not in line
    assert line.startswith("no weights for clip-vit-b-32 (")
    assert f"let {endpoint} be reached and HF_HUB_OFFLINE unset" in line
    assert "give a file with --text-weights FILE" in line
    assert f"put org/name into the cache at {cache / 'hub'}" in line


def test_a_broken_hub_is_asked_once(hub: Hub, repository: Path, tmp_path: Path) -> None:
    hub.broken = True
    line = fetch("org/name", tmp_path / "cache", hub.url)
    three_ways(line, tmp_path / "cache", hub.url)
    assert "503" in line
    assert len(hub.requests) == 1


def test_nothing_suitable_in_the_repository(hub: Hub, repository: Path, tmp_path: Path) -> None:
    line = fetch("org/name", tmp_path / "cache", hub.url)
    three_ways(line, tmp_path / "cache", hub.url)
    assert "org/name has no a.safetensors or b.bin" in line
    assert len(hub.requests) == 2


def test_no_such_repository(hub: Hub, tmp_path: Path) -> None:
    line = fetch("org/name", tmp_path / "cache", hub.url)
    three_ways(line, tmp_path / "cache", hub.url)


def test_nobody_answers(tmp_path: Path) -> None:
    endpoint = "http://127.0.0.1:9"  # discard: nothing listens there
    line = fetch("org/name", tmp_path / "cache", endpoint)
    three_ways(line, tmp_path / "cache", endpoint)
    assert "refused" in line


def test_told_to_stay_offline(hub: Hub, repository: Path, tmp_path: Path) -> None:
    (repository / "a.safetensors").write_bytes(b"weights")
    line = fetch("org/name", tmp_path / "cache", hub.url, HF_HUB_OFFLINE="1")
    three_ways(line, tmp_path / "cache", hub.url)
    assert hub.requests == []


def test_files_given(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"abc")
    assert local_file("", "--text-weights") is None
    assert local_file(str(file), "--text-weights") == file
    assert digest(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(None) == ""
    assert source_of(file, given=True) == "file w.safetensors"
    with pytest.raises(D2CError, match=r"--text-weights .*gone\.pt: no such file"):
        local_file(str(tmp_path / "gone.pt"), "--text-weights")


def test_what_lies_beside(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    assert beside(None, "config.json") is None
    assert beside(file, "config.json") is None
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert read_config(beside(file, "config.json") or Path()) == {"a": 1}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(D2CError, match="not a model's configuration"):
        read_config(tmp_path / "config.json")


def test_an_index_counts_with_its_files(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}')
    (tmp_path / "1.safetensors").write_bytes(b"one")
    without = digest(index)
    (tmp_path / "2.safetensors").write_bytes(b"two")
    before = digest(index)
    (tmp_path / "2.safetensors").write_bytes(b"tow")
    assert len({without, before, digest(index)}) == 3
