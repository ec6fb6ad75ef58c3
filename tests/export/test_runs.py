"""A run's weights for SiT's and REPA's code: the same prediction from a plain label."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from d2c import cli
from d2c.artifacts import Workspace
from d2c.diffusion.checkpoints import save_model
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.dit import DiT
from d2c.diffusion.sit import build
from d2c.errors import D2CError
from d2c.export import export
from d2c.export.official import official
from d2c.select.records import in_card

TEXT = {"text_dim": 6, "text_length": 4}
ALIGNED = {"align_dim": 7, "align_depth": 1}


def model(dtype=torch.float64, **options):
    torch.manual_seed(0)
    made = build(
        ModelConfig(
            **{"family": "SiT", "size": "Ti", "patch": 2, "image_size": 8, "channels": 3, "num_classes": 4, "layers": 2}
            | options
        )
    )
    for p in made.parameters():
        p.data += 0.05 * torch.randn_like(p)
    if "text_dim" in options:
        made.set_text(torch.randn(4, 4, 6), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]))
    return made.to(dtype).eval()


def plain(config, form, widths):
    """The code's own model, as a plain DiT of ours: class labels, and as many channels as it builds."""
    return DiT(
        ModelConfig(
            "SiT",
            config.size,
            config.patch,
            config.image_size,
            config.channels,
            config.num_classes,
            learn_sigma=form == "sit",
            path=form,
            layers=config.depth,
            qk_norm=config.qk_norm,
        )
    ).double()


@pytest.mark.parametrize("form", ["sit", "repa"])
@pytest.mark.parametrize("path", ["sit", "repa", "sit-cosine"])
@pytest.mark.parametrize(
    "options", [{}, TEXT, {**TEXT, "class_vector": False}, {**TEXT, **ALIGNED}, {**ALIGNED, "projector": "conv"}]
)
def test_the_same_prediction_from_a_label(form, path, options):
    own = model(path=path, **options)
    made = official(own, form)
    state = {k: v for k, v in made.state.items() if not k.startswith("projectors.")}
    other = plain(own.config, form, made.projectors)
    other.load_state_dict(state)
    x, y = torch.randn(6, 3, 8, 8).double(), torch.tensor([0, 1, 2, 3, 4, 4])
    t = torch.tensor([0.0, 0.1, 0.37, 0.5, 0.9, 1.0]).double()
    turned = (path == "repa") != (form == "repa")
    assert made.turned == turned
    want = -own(x, 1 - t, y) if turned else own(x, t, y)
    out = other.eval()(x, t, y)
    torch.testing.assert_close(out[:, :3], want, rtol=1e-9, atol=1e-9)
    assert out[:, 3:].abs().sum() == 0


def test_repas_projector_gives_the_same_tokens():
    own = model(path="repa", **ALIGNED)
    made = official(own, "repa")
    shapes = {k: tuple(v.shape) for k, v in made.state.items() if k.startswith("projectors.") and "weight" in k}
    assert shapes == {
        "projectors.0.0.weight": (2048, 192),
        "projectors.0.2.weight": (2048, 2048),
        "projectors.0.4.weight": (7, 2048),
    }
    tokens = torch.randn(2, 16, 192).double()
    h = tokens
    for layer in (0, 2, 4):
        h = h @ made.state[f"projectors.0.{layer}.weight"].T + made.state[f"projectors.0.{layer}.bias"]
        h = torch.nn.functional.silu(h) if layer < 4 else h
    torch.testing.assert_close(h, own.project(tokens), rtol=1e-9, atol=1e-9)


def test_a_run_without_repas_projector_gets_one_of_zeros():
    made = official(model(**ALIGNED, projector="conv"), "repa")
    assert made.projectors == (1,)
    assert all(v.abs().sum() == 0 for k, v in made.state.items() if k.startswith("projectors."))


def test_the_keys_are_the_published_ones():
    """DiT's and SiT's list (tests/diffusion/test_dit.py holds it too), and no text."""
    keys = set(official(model(**TEXT), "sit").state)
    want = {"pos_embed", "y_embedder.embedding_table.weight"}
    for layer in (
        "x_embedder.proj",
        "t_embedder.mlp.0",
        "t_embedder.mlp.2",
        "final_layer.linear",
        "final_layer.adaLN_modulation.1",
    ):
        want |= {f"{layer}.weight", f"{layer}.bias"}
    for i in range(2):
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1"):
            want |= {f"blocks.{i}.{layer}.weight", f"blocks.{i}.{layer}.bias"}
    assert keys == want


@pytest.mark.parametrize(
    ("options", "form", "said"),
    [
        ({"family": "DiT", "learn_sigma": True}, "sit", "SiT's code wants a velocity"),
        ({"family": "DiT", "learn_sigma": True}, "repa", "REPA's code wants a velocity"),
        ({"feature_dim": 5}, "repa", r"class token \(REG\)"),
        ({"qk_norm": True}, "sit", "use --format repa"),
    ],
)
def test_what_the_code_cannot_hold(options, form, said):
    with pytest.raises(D2CError, match=said):
        official(model(torch.float32, **options), form)


@pytest.fixture
def run(tmp_path):
    """A run by hand: weights that were never trained."""
    return made_run(tmp_path, **TEXT, **ALIGNED)


def made_run(tmp_path, **options):
    import dataclasses

    from d2c.artifacts import produce
    from d2c.config import option

    own = model(torch.float32, **options)

    @dataclasses.dataclass(frozen=True)
    class Config:
        salt: str = option("run", "")

    def write(build_):
        save_model(build_.folder / "ema.safetensors", own)
        build_.note(task="generate", steps=7, images_seen=28)

    artifact = produce(Workspace(tmp_path / "ws"), "runs", Config(), write, stem="run", name="run", quiet=True)
    return SimpleNamespace(artifact=artifact, model=own)


@pytest.mark.parametrize("form", ["sit", "repa"])
def test_the_folder(run, tmp_path, form):
    out = tmp_path / "out"
    written = export(run.artifact, format=form, out=str(out), quiet=True)
    assert {p.name for p in out.iterdir()} == {"model.safetensors", "README.md"}
    assert (written.path, written.source, written.classes, written.images) == (out, "runs/run", 4, 0)
    state = load_file(out / "model.safetensors")
    want = official(run.model, form).state
    assert state.keys() == want.keys()
    assert all(torch.equal(state[k], want[k]) for k in state)
    card = (out / "README.md").read_text()
    assert in_card(card)["model"] == json.loads(run.model.config.to_json())
    assert in_card(card)["run"]["fingerprint"] == run.artifact.fingerprint
    with pytest.raises(D2CError, match="is there already"):
        export(run.artifact, format=form, out=str(out), quiet=True)
    export(run.artifact, format=form, out=str(out), quiet=True, force=True)


@pytest.mark.parametrize("form", ["sit", "repa"])
def test_the_card_names_every_option_of_the_model(run, tmp_path, form):
    """The constructor call in the card, run with a stand-in that keeps its arguments."""
    export(run.artifact, format=form, out=str(tmp_path / "out"), quiet=True)
    call = re.search(r"^model = (SiT\(.*\))$", (tmp_path / "out" / "README.md").read_text(), re.M)[1]
    given = eval(call, {"SiT": lambda **options: options})  # our own card
    shared = {
        "input_size": 8,
        "in_channels": 3,
        "num_classes": 4,
        "hidden_size": 192,
        "depth": 2,
        "num_heads": 3,
        "patch_size": 2,
    }
    more = {
        "use_cfg": True,
        "z_dims": [7],
        "encoder_depth": 1,
        "decoder_hidden_size": 192,
        "fused_attn": True,
        "qk_norm": False,
    }
    assert given == (shared | more if form == "repa" else shared)


def test_from_the_command_line(run, tmp_path, capsys):
    words = [
        "export",
        "run",
        "--workspace",
        str(tmp_path / "ws"),
        "--format",
        "sit",
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("sit  ")
    assert "images" not in said


def test_a_run_that_does_not_fit_leaves_nothing(tmp_path):
    run = made_run(tmp_path, qk_norm=True)
    with pytest.raises(D2CError, match=r"^runs/run: SiT-Ti/2 was trained with --qk-norm"):
        export(run.artifact, format="sit", out=str(tmp_path / "out"), quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_run_goes_out_as_weights_only(run, tmp_path):
    with pytest.raises(D2CError, match="subsets"):
        export(run.artifact, format="folder", out=str(tmp_path / "out"), quiet=True)
