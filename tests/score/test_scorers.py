from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from d2c.artifacts import produce
from d2c.config import option
from d2c.diffusion.checkpoints import save_model
from d2c.diffusion.pretrained import RELEASES, Release
from d2c.errors import D2CError, UsageError
from d2c.score.scorers import known, locate, open_scorer


@dataclasses.dataclass(frozen=True)
class Recipe:
    task: str = option("generate", "What it does")


@pytest.fixture
def inputs():
    return torch.randn(2, 4, 8, 8), torch.tensor([17]), torch.tensor([0, 3])


@pytest.fixture
def make_run(workspace, scorer_file):
    def make(name: str, task: str = "generate"):
        def write(build):
            shutil.copyfile(scorer_file, build.folder / "ema.safetensors")
            build.note(task=task)

        return produce(workspace, "runs", Recipe(task=task), write, stem="run", name=name, quiet=True)

    return make


def test_by_path(scorer_file):
    found = locate(scorer_file)
    assert (found.name, found.path, found.run) == ("tiny", scorer_file, None)
    assert found.digest == hashlib.sha256(scorer_file.read_bytes()).hexdigest()
    assert found.config.name == "SiT-Ti/2"


def test_by_run(workspace, make_run):
    run = make_run("mine")
    for reference in ("mine", "runs/mine", run.fingerprint[:12], run):
        found = locate(reference, workspace)
        assert (found.name, found.path) == ("runs/mine", run.path / "ema.safetensors")
        assert found.run is not None
    assert "runs/mine" in known(workspace)


def test_by_shipped_name(monkeypatch, tmp_path, workspace, scorer_file):
    shutil.copyfile(scorer_file, tmp_path / "small.safetensors")
    monkeypatch.setattr(sys.modules["d2c.score.scorers"], "SHIPPED", (tmp_path / "absent", tmp_path))
    found = locate("small", workspace)
    assert (found.name, found.path) == ("small", tmp_path / "small.safetensors")
    assert known(workspace) == ["small", *RELEASES]
    assert found.licence == "Apache-2.0"


def test_unknown_lists_what_there_is(workspace, make_run):
    make_run("mine")
    with pytest.raises(D2CError, match=r"no scorer 'other'; there is: .*runs/mine"):
        locate("other", workspace)
    with pytest.raises(D2CError, match=r"no scorer at .*nowhere\.safetensors"):
        locate("nowhere.safetensors", workspace)


def test_a_classifier_cannot_score(workspace, make_run):
    make_run("classes", task="classifier")
    with pytest.raises(D2CError, match="runs/classes is no diffusion model"):
        locate("classes", workspace)
    assert "runs/classes" not in known(workspace)


def test_opens_in_eval_mode(scorer_file):
    model = open_scorer(scorer_file)
    assert not model.training
    assert model.config.num_classes == 3


def test_weights_that_are_no_dit(tmp_path):
    save_file({"pos_embed": torch.zeros(1)}, tmp_path / "released.safetensors")
    with pytest.raises(D2CError, match=r"released\.safetensors: not the weights of a DiT or SiT"):
        locate(tmp_path / "released.safetensors").config


@pytest.fixture
def small(make_model):
    """A full-depth tiny DiT in the released layout: four channels, eight out, ten classes."""
    return make_model("DiT", size="Ti", layers=0, channels=4, num_classes=10, learn_sigma=True)


@pytest.fixture
def release(small, monkeypatch, tmp_path):
    """A release on 127.0.0.1 whose model is tiny; `served` is what there is to download."""
    served = tmp_path / "served"
    served.mkdir()
    torch.save(small.state_dict(), served / "tiny.pt")
    handler = functools.partial(Quiet, directory=str(served))
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{httpd.server_port}/tiny.pt"
    made = Release(
        "tiny-release", address, "TINY.pt", "DiT-Ti/2", "dit", 64, "CC-BY-NC 4.0 (non-commercial use only)",
        commercial=False, homepage="https://example.org", classes=10,
    )  # fmt: skip
    monkeypatch.setitem(RELEASES, "tiny-release", made)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield made
    httpd.shutdown()
    httpd.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_release_is_described_before_it_is_here(release, tmp_path):
    found = locate("tiny-release")
    assert (found.name, found.source, found.kind, found.here) == ("tiny-release", release.address, "class", False)
    assert found.path == tmp_path / "torch" / "hub" / "checkpoints" / "TINY.pt"
    assert (found.config.name, found.config.image_size, found.config.num_classes) == ("DiT-Ti/2", 8, 10)
    assert found.classes == ()
    assert not (tmp_path / "torch").exists()
    with pytest.raises(D2CError, match="the weights of scorer tiny-release are not here yet"):
        found.digest


def test_a_release_comes_when_it_is_needed(release, small, tmp_path, capsys, inputs):
    found = locate("tiny-release").ready()
    said = capsys.readouterr().err
    assert "scorer tiny-release: licence CC-BY-NC 4.0 (non-commercial use only), https://example.org" in said
    assert found.digest == hashlib.sha256((tmp_path / "served" / "tiny.pt").read_bytes()).hexdigest()
    assert f"sha256 {found.digest}" in said
    model = open_scorer(found)
    assert model.path.name == "dit"
    torch.testing.assert_close(model(*inputs), small(*inputs))
    (tmp_path / "served" / "tiny.pt").unlink()  # from now on nothing is asked for
    assert locate("tiny-release").ready(quiet=True) == found
    assert locate("tiny-release").digest == found.digest
    assert capsys.readouterr().err == ""


def test_opening_a_release_fetches_it(release):
    assert open_scorer("tiny-release").config == release.config


def test_a_local_file_in_place_of_the_download(release, small, tmp_path):
    file = tmp_path / "mine.pt"
    torch.save({"ema": small.state_dict()}, file)
    found = locate("tiny-release", weights=file).ready(quiet=True)
    assert (found.name, found.path, found.source) == ("tiny-release", file, "file mine.pt")
    assert found.licence == release.licence
    assert open_scorer(found).config == release.config
    save_model(tmp_path / "ours.safetensors", small)
    assert open_scorer(locate("tiny-release", weights=tmp_path / "ours.safetensors")).config.num_classes == 10
    assert not (tmp_path / "torch").exists()
    with pytest.raises(D2CError, match=r"--weights .*absent\.pt: no such file"):
        locate("tiny-release", weights=tmp_path / "absent.pt")
    with pytest.raises(UsageError, match="takes the place of a release's download"):
        locate(file, weights=file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_classes": 3}, "it has 3 classes, not 10"),
        ({"learn_sigma": False}, "it has 4 output channels, not 8"),
        ({"image_size": 16}, "it has 16 as the side of its input, not 8"),
        ({"size": "S"}, "does not fit DiT-Ti/2: blocks"),
    ],
)
def test_another_model_in_a_releases_place_is_told(release, make_model, tmp_path, change, said):
    fields = {"layers": 0, "channels": 4, "num_classes": 10, "learn_sigma": True} | change
    torch.save(make_model("DiT", **fields).state_dict(), tmp_path / "served" / "tiny.pt")
    with pytest.raises(D2CError, match=said) as caught:
        open_scorer(locate("tiny-release").ready(quiet=True))
    assert "TINY.pt" in str(caught.value)


class Evil:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_a_release_that_is_more_than_tensors_is_refused(release, tmp_path, capsys):
    torch.save({"pos_embed": Evil()}, tmp_path / "served" / "tiny.pt")
    with pytest.raises(D2CError, match=r"TINY\.pt holds more than tensors, which"):
        open_scorer("tiny-release")
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["pt", "pth", "safetensors"])
def test_a_foreign_checkpoint_needs_its_convention(small, tmp_path, inputs, ending):
    file = tmp_path / f"foreign.{ending}"
    (save_file if ending == "safetensors" else torch.save)(small.state_dict(), file)
    with pytest.raises(UsageError, match=rf"foreign\.{ending}: the weights do not say their convention") as caught:
        locate(file).config
    assert "\n" not in str(caught.value)
    found = locate(str(file), path="dit")
    assert (found.name, found.source, found.config.name) == ("foreign", f"file {file.name}", "DiT-Ti/2")
    assert found.config.num_classes == 10
    model = open_scorer(found)
    assert model.config == found.config
    torch.testing.assert_close(model(*inputs), small(*inputs))
    assert open_scorer(locate(file, path="sit")).path.name == "sit"


def test_projectors_say_that_it_is_repa(make_model, tmp_path):
    model = make_model(layers=0, channels=4, path="repa", align_dim=16, align_depth=6)
    torch.save({"ema": model.state_dict()}, tmp_path / "last.pt")
    found = locate(tmp_path / "last.pt")
    assert (found.config.name, found.config.path) == ("SiT-Ti/2", "repa")
    assert open_scorer(found).path.name == "repa"


def test_a_convention_that_contradicts_is_refused(release, scorer_file):
    with pytest.raises(UsageError, match="tiny-release is on path dit, not sit"):
        locate("tiny-release", path="sit")
    with pytest.raises(UsageError, match="tiny is on path sit, not repa"):
        locate(scorer_file, path="repa")
    assert locate(scorer_file, path="sit").config.path == "sit"


def test_looking_for_a_scorer_hashes_nothing_and_needs_no_torch(release, small, tmp_path, scorer_file):
    torch.save(small.state_dict(), tmp_path / "foreign.pt")
    code = f"""
import hashlib, sys
hashlib.file_digest = None
from d2c.score.scorers import known, locate
from d2c.score.labels import fit
print(len(known({str(tmp_path)!r})), fit(locate({str(scorer_file)!r}), "abc").tolist())
print(locate({str(tmp_path / "foreign.pt")!r}, path="dit").config.name, locate("dit-xl-2-512").config.tokens)
print(sorted({{"torch", "diffusers", "timm", "huggingface_hub"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{len(known(tmp_path)) - 1} [0, 1, 2]", "DiT-Ti/2 1024", "[]"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A DiTPipeline with random weights, as diffusers writes it."""
    diffusers = pytest.importorskip("diffusers")
    place = tmp_path_factory.mktemp("hub") / "pipeline"
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=3, attention_head_dim=64, num_layers=6, sample_size=8, num_embeds_ada_norm=3,
        out_channels=8,
    )  # fmt: skip
    for block in transformer.transformer_blocks:
        block.norm1.emb.load_state_dict(transformer.transformer_blocks[0].norm1.emb.state_dict())
    vae = diffusers.AutoencoderKL(block_out_channels=[8], latent_channels=4, norm_num_groups=4)
    diffusers.DiTPipeline(transformer, vae, diffusers.DDIMScheduler()).save_pretrained(place)
    index = json.loads((place / "model_index.json").read_text())
    names = {"id2label": {"0": "ant", "1": "bee", "2": "cat"}}
    (place / "model_index.json").write_text(json.dumps(index | names))
    (place / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    return place


def test_a_diffusers_folder(pipeline):
    found = locate(pipeline)
    assert (found.name, found.source, found.licence) == ("pipeline", "folder pipeline", "cc-by-nc-4.0")
    assert found.ready(quiet=True) == found
    assert found.classes == ("ant", "bee", "cat")
    assert found.config.autoencoder == str(pipeline / "vae")
    weights = pipeline / "transformer" / "diffusion_pytorch_model.safetensors"
    assert found.digest == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert open_scorer(found).config == found.config
    with pytest.raises(UsageError, match="pipeline is on path dit, not sit"):
        locate(pipeline, path="sit")


def test_a_text_to_image_pipeline_is_told(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    found = locate(tmp_path)
    assert (found.kind, found.described, found.classes) == ("text", True, ())
    with pytest.raises(D2CError, match=r"lacks unet/ .*copy the pipeline again"):
        found.digest
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(D2CError, match="FluxPipeline"):
        locate(tmp_path)
    with pytest.raises(UsageError, match="write hf:ORG/NAME"):
        locate("hf:nonsense")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(Quiet):
    """The part of the hub that a download needs: /ORG/NAME/resolve/REVISION/FILE."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        words = self.path.strip("/").split("/")
        file = Path(self.directory).joinpath(*words[4:])
        there = words[:2] == ["org", "dit"] and file.is_file()
        data = file.read_bytes() if there else b""
        if self.command == "GET":
            self.server.sent.append("/".join(words[4:]))
        self.send_response(200 if there else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        if not there:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


@pytest.mark.slow
def test_a_folder_on_the_hub(pipeline, tmp_path):
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Hub, directory=str(pipeline)))
    httpd.sent = []
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    code = """
from d2c.errors import D2CError
from d2c.score.scorers import locate, open_scorer
found = locate("hf:org/dit")
print(found.described, found.here, found.source)
try:
    found.config
except D2CError as problem:
    print(problem)
try:
    found = found.ready()
    print(found.described, found.here, found.source, found.licence, found.classes, found.digest[:12])
    model = open_scorer(found)
    print(model.config == locate("hf:org/dit").config, model.config.autoencoder.split("/")[-3:])
except D2CError as problem:
    print(problem)
"""

    def run(**more):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
        settings = {**kept, "HF_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{httpd.server_port}", **more}
        done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), done.stderr

    offline, _ = run(HF_HUB_OFFLINE="1")
    assert offline[0] == "False False https://huggingface.co/org/dit"
    assert offline[1].startswith("hf:org/dit is not here yet")
    assert offline[2].startswith("no weights for scorer hf:org/dit (")
    said, errors = run()
    weights = pipeline / "transformer" / "diffusion_pytorch_model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    assert said[2] == f"True True org/dit@{COMMIT} cc-by-nc-4.0 ('ant', 'bee', 'cat') {digest}"
    assert said[3] == f"True ['snapshots', '{COMMIT}', 'vae']"
    assert f"scorer hf:org/dit: licence cc-by-nc-4.0, org/dit@{COMMIT}" in errors
    asked = len(httpd.sent)
    again, _ = run(HF_HUB_OFFLINE="1")
    assert again[0] == f"True True org/dit@{COMMIT}"
    assert again[1] == said[2]  # and the configuration could be told
    assert len(httpd.sent) == asked
    httpd.shutdown()
    httpd.server_close()
