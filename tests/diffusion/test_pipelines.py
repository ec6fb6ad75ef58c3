from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from d2c.diffusion.pipelines import KINDS, config_of, digest_of_pipeline, fetch, find, variant_of, weights
from d2c.errors import D2CError
from tests.diffusion.tiny_pipelines import edit, write

PLAIN, HALF = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"
SHARDS = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
HALVES = [f"model.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write("sd", tmp_path_factory.mktemp("pipeline") / "sd")


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "sd")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A cache of the hub in a folder; nothing answers."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def nobody(*args, **kwargs):
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", nobody)
    return huggingface_hub


def cached(original, hub, *, leave_out=()):
    """The original as the hub's cache would hold it, weights behind links that are named by their digest."""
    import hashlib

    home = Path(hub.constants.HF_HUB_CACHE) / "models--org--name"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    for file in original.rglob("*"):
        name = file.relative_to(original).as_posix()
        if file.is_dir() or name in leave_out:
            continue
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        link = home / "snapshots" / COMMIT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        (home / "blobs").mkdir(exist_ok=True)
        shutil.copyfile(file, home / "blobs" / digest)
        link.symlink_to(home / "blobs" / digest)
    return home / "snapshots" / COMMIT


@pytest.mark.parametrize(
    ("names", "variant", "chosen"),
    [
        ([PLAIN, HALF, "diffusion_pytorch_model.bin"], "", [PLAIN]),
        ([PLAIN, HALF], "fp16", [HALF]),
        ([PLAIN], "fp16", [PLAIN]),
        ([HALF], "", []),
        ([*SHARDS, *HALVES, "model.safetensors.index.json"], "", SHARDS),
        ([*SHARDS, *HALVES], "fp16", HALVES),
        ([PLAIN, "diffusion_pytorch_model.non_ema.safetensors", "pytorch_model.bin", "model.ckpt"], "", [PLAIN]),
    ],
)
def test_which_weights_are_read(names, variant, chosen):
    assert weights(names, variant) == chosen


def test_a_digest_is_of_what_scores_not_of_where_it_lies(folder, tmp_path, original):
    digest = digest_of_pipeline(original)
    assert len(digest) == 64
    assert digest_of_pipeline(shutil.copytree(folder, tmp_path / "deep" / "there")) == digest
    for part in ("unet", "text_encoder"):
        edit(folder / part / "config.json", _diffusers_version="0.1", _name_or_path="/elsewhere")
    edit(folder / "model_index.json", _diffusers_version="0.1", requires_safety_checker=True)
    (folder / "README.md").write_text("more")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"never read")
    assert digest_of_pipeline(folder) == digest


@pytest.mark.parametrize(
    "part",
    ["unet/config.json", "scheduler/scheduler_config.json", "vae/config.json", "tokenizer/tokenizer_config.json"],
)
def test_a_digest_notices_settings(folder, original, part):
    edit(folder / part, other=1)
    assert digest_of_pipeline(folder) != digest_of_pipeline(original)


@pytest.mark.parametrize("part", [f"unet/{PLAIN}", f"vae/{PLAIN}", "text_encoder/model.safetensors"])
def test_a_digest_notices_weights(folder, original, part):
    data = bytearray((folder / part).read_bytes())
    data[-1] ^= 1
    (folder / part).write_bytes(data)
    assert digest_of_pipeline(folder) != digest_of_pipeline(original)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (f"unet/{PLAIN}", r"lacks unet/ \(weights as .safetensors\)"),
        ("vae/config.json", r"lacks vae/ \(config.json\)"),
        ("scheduler/scheduler_config.json", "lacks scheduler/"),
        ("tokenizer", r"lacks tokenizer/ \(its files\)"),
        ("model_index.json", "no .*model_index.json: expected the folder of a diffusers pipeline"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(folder, gone, said):
    shutil.rmtree(folder / gone) if (folder / gone).is_dir() else (folder / gone).unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle is no help")
    with pytest.raises(D2CError, match=said) as caught:
        find(folder)
    assert "\n" not in str(caught.value)


def test_a_shard_that_did_not_come_along_is_named(folder):
    (folder / "unet" / PLAIN).rename(folder / "unet" / "diffusion_pytorch_model-00002-of-00003.safetensors")
    with pytest.raises(D2CError, match=r"lacks unet/ \(shard 1 of 3\)"):
        find(folder)


@pytest.mark.parametrize("named", ["StableDiffusionInpaintPipeline", None, ["mine", "MyPipeline"]])
def test_unknown_kinds_are_refused_with_those_known(folder, named):
    edit(folder / "model_index.json", _class_name=named)
    with pytest.raises(D2CError, match=f"is known; known: {', '.join(KINDS)}"):
        find(folder)


def test_networks_that_take_something_else_are_refused(folder):
    edit(folder / "unet" / "config.json", in_channels=9)
    with pytest.raises(D2CError, match="takes 9 channels, its vae gives 4"):
        config_of(folder)
    edit(folder / "unet" / "config.json", in_channels=4, sample_size=[64, 96])
    with pytest.raises(D2CError, match="not the side of a square"):
        config_of(folder)
    (folder / "unet" / "config.json").write_text("[")
    with pytest.raises(D2CError, match="is not a JSON object"):
        config_of(folder)


def test_the_hubs_cache_is_read_and_its_names_trusted(original, hub, monkeypatch):
    place = cached(original, hub)
    assert find("hf:org/name") == fetch("hf:org/name") == find(f"hf:org/name@{COMMIT}") == place
    assert digest_of_pipeline(place) == digest_of_pipeline(original)
    for file in place.rglob("*.safetensors"):
        file.resolve().write_bytes(b"not read again")
    assert digest_of_pipeline(place) == digest_of_pipeline(original)


@pytest.mark.parametrize("leave_out", [("model_index.json",), (f"unet/{PLAIN}",)])
def test_what_is_not_there_and_cannot_be_had_is_one_line(original, hub, leave_out):
    cached(original, hub, leave_out=leave_out)
    assert find("hf:org/name") is None
    with pytest.raises(D2CError, match=r"no weights for pipeline org/name \(OSError: no route to host\)") as caught:
        fetch("hf:org/name")
    for way in ("HF_HUB_OFFLINE", "give its folder", hub.constants.HF_HUB_CACHE):
        assert way in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cache_without_t5_is_not_a_pipeline_without_t5(hub, tmp_path):
    place = cached(write("sd3", tmp_path / "sd3"), hub)
    shutil.rmtree(place / "text_encoder_3")
    assert find("hf:org/name") is None
    assert find(place) == place


def test_names_that_are_no_repositories_are_refused(hub):
    with pytest.raises(D2CError, match="expected hf:ORG/NAME"):
        find("hf:a/b/c/d")


def test_only_what_scoring_reads_is_fetched(original, hub, monkeypatch):
    """From a repository that holds, as Stable Diffusion's do, every format there is."""
    there = [f.relative_to(original).as_posix() for f in original.rglob("*") if f.is_file()]
    more = [f"unet/{HALF}", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.non_ema.safetensors"]
    more += ["v1-5-pruned.ckpt", "safety_checker/model.safetensors", "text_encoder/pytorch_model.bin", "README.md"]
    asked = {}

    def download(repository, revision, allow_patterns):
        asked.update(repository=repository, revision=revision, names=sorted(allow_patterns))
        return str(original)

    info = SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=n) for n in [*there, *more]])
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *a, **k: None)
    monkeypatch.setattr(hub, "hf_hub_download", lambda *a, **k: str(original / "model_index.json"))
    monkeypatch.setattr(hub.HfApi, "model_info", lambda self, repository, **k: info)
    monkeypatch.setattr(hub, "snapshot_download", download)
    assert fetch("hf:org/name", quiet=True) == original
    assert asked == {"repository": "org/name", "revision": COMMIT, "names": sorted(there)}


def test_a_variant_is_read_only_where_there_is_nothing_else(folder):
    assert variant_of(folder) == ""
    shutil.copy(folder / "unet" / PLAIN, folder / "unet" / HALF)
    assert variant_of(folder) == ""
    (folder / "unet" / PLAIN).unlink()
    assert variant_of(folder) == "fp16"


def test_looking_loads_no_models(original):
    code = f"""
import sys
from d2c.diffusion.pipelines import config_of, digest_of_pipeline, find
print(find({str(original)!r}).name, config_of(find({str(original)!r})).name, len(digest_of_pipeline({str(original)!r})))
print(sorted({{"torch", "diffusers", "transformers"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["sd StableDiffusionPipeline 64", "[]"]
    assert json.loads((original / "model_index.json").read_text())["_class_name"] in KINDS
