import argparse
import dataclasses
import pickle

import pytest
import torch
from safetensors.torch import save_file

from d2c.diffusion.checkpoints import load_model, save_model
from d2c.diffusion.config import read_header
from d2c.diffusion.sit import SiT
from d2c.errors import D2CError, UsageError


@pytest.fixture
def inputs():
    return torch.randn(2, 3, 8, 8), torch.tensor([0.5]), torch.tensor([0, 4])


def full_depth(tiny, family="SiT", **options):
    return tiny(family, layers=0, **options)


def test_ours_round_trip_with_text_and_extra(tiny, tmp_path, inputs):
    model = tiny(text_dim=6, text_length=3, autoencoder="stabilityai/sd-vae-ft-mse", path="repa")
    model.set_text(torch.randn(4, 3, 6), torch.tensor([[1, 1, 0]] * 4))
    file = tmp_path / "ema.safetensors"
    save_model(file, model, {"steps": 7, "classes": ["a", "b"]})
    loaded = load_model(file)
    assert not loaded.training
    assert type(loaded) is SiT
    assert loaded.config == model.config
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    torch.testing.assert_close(loaded(*inputs), model(*inputs))  # not to the bit: tensors lie elsewhere in memory
    assert read_header(file) == (model.config, {"steps": 7, "classes": ["a", "b"]})
    assert list(tmp_path.iterdir()) == [file]


def test_a_loaded_model_can_be_trained_on(tiny, tmp_path, inputs):
    save_model(tmp_path / "m.safetensors", tiny())
    model = load_model(tmp_path / "m.safetensors").train()
    model(*inputs).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("wrap", "family"), [("flat", "DiT"), ("flat", "SiT"), ("ema", "SiT"), ("model", "SiT"), ("compiled", "SiT")]
)
def test_released_state_dicts_load_unchanged(tiny, tmp_path, inputs, wrap, family):
    model = full_depth(tiny, family, learn_sigma=True)
    state = model.state_dict()
    if wrap == "compiled":
        state = {"module._orig_mod." + k: v for k, v in state.items()}
    elif wrap == "model":
        state = {"model": state, "args": argparse.Namespace(model="SiT-Ti/2")}
    elif wrap == "ema":
        state = {"model": {k: v * 0 for k, v in state.items()}, "ema": state, "opt": {"step": 3}}
    torch.save(state, tmp_path / "released.pt")
    loaded = load_model(tmp_path / "released.pt", name=f"{family}-Ti/2")
    assert loaded.config.learn_sigma
    assert loaded.config.path == {"SiT": "sit", "DiT": "dit"}[family]
    assert loaded.config.autoencoder == "stabilityai/sd-vae-ft-ema"
    assert torch.equal(loaded(*inputs), model(*inputs))


def test_a_repa_state_dict_is_known_by_its_projectors(tiny, tmp_path, inputs):
    model = full_depth(tiny, path="repa", align_dim=16, align_depth=6, qk_norm=True)
    torch.save({"ema": model.half().state_dict()}, tmp_path / "repa.pt")
    loaded = load_model(tmp_path / "repa.pt", name="SiT-Ti/2")
    assert (loaded.config.path, loaded.config.align_dim, loaded.config.qk_norm) == ("repa", 16, True)
    assert not loaded.config.learn_sigma
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded(*inputs), model.float()(*inputs))
    assert load_model(tmp_path / "repa.pt", name="SiT-Ti/2", path="sit").path.name == "sit"


def test_safetensors_without_our_header_need_a_name(tiny, tmp_path, inputs):
    model = full_depth(tiny, image_size=16)
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    with pytest.raises(D2CError, match="give its model name"):
        load_model(tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors", name="SiT-Ti/2").config.image_size == 16
    torch.save(model.state_dict(), tmp_path / "m.pt")
    with pytest.raises(UsageError, match="give its name"):
        load_model(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("blocks.0.attn.qkv.bias"), r"blocks.0.attn.qkv.bias is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), r"extra is not known"),
        (
            lambda s: s.update({"t_embedder.mlp.0.bias": torch.zeros(3)}),
            r"t_embedder.mlp.0.bias is \(3,\), not \(192,\)",
        ),
        (lambda s: [s.pop(k) for k in list(s) if "mlp.fc" in k], r"is missing; .* and 21 more"),
        (lambda s: s.pop("pos_embed"), r"not the weights of a SiT-Ti/2"),
        (lambda s: s.update({"final_layer.linear.bias": torch.zeros(7)}), r"7 rows for 3 channels"),
    ],
)
def test_what_does_not_fit_is_named(tiny, tmp_path, change, said):
    state = full_depth(tiny).state_dict()
    change(state)
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(D2CError, match=said) as caught:
        load_model(tmp_path / "m.pt", name="SiT-Ti/2")
    assert "\n" not in str(caught.value)


def test_another_size_than_named_is_told(tiny, tmp_path):
    torch.save(full_depth(tiny).state_dict(), tmp_path / "m.pt")
    with pytest.raises(D2CError, match=r"does not fit SiT-S/2: blocks\.6"):
        load_model(tmp_path / "m.pt", name="SiT-S/2")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_classes": 9}, "it has 4 classes, not 9"),
        ({"channels": 4}, "it has 3 channels, not 4; it has 3 output channels, not 4"),
        ({"learn_sigma": True}, "it has 3 output channels, not 6"),
        ({"image_size": 16}, "it has 8 as the side of its input, not 16"),
        ({"path": "repa"}, "it is on path sit, not repa"),
        ({"num_classes": 9, "image_size": 16}, "it has 4 classes, not 9; it has 8 as"),
    ],
)
@pytest.mark.parametrize("ours", [True, False])
def test_another_model_than_expected_is_told_in_words(tiny, tmp_path, change, said, ours):
    model = full_depth(tiny)
    expected = dataclasses.replace(model.config, **change)
    file = tmp_path / "m.safetensors"
    if ours:
        save_model(file, model)
    else:
        save_file(model.state_dict(), file)
    options = {} if ours else {"name": "SiT-Ti/2"}
    load_model(file, expected=model.config, **options)
    with pytest.raises(D2CError, match=said) as caught:
        load_model(file, expected=expected, **options)
    assert str(file) in str(caught.value)


def test_files_from_before_archives_load(tiny, tmp_path, inputs):
    model = full_depth(tiny)
    torch.save(model.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.testing.assert_close(load_model(tmp_path / "old.pt", name="SiT-Ti/2")(*inputs), model(*inputs))


class Evil:
    def __reduce__(self):
        return (print, ("unpickled",))


DAMAGED, UNSAFE = "is cut off or damaged: copy it again", "holds more than tensors, which d2c does not unpickle"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("absent", "no checkpoint at"),
        ("garbage", DAMAGED),
        ("empty", DAMAGED),
        ("pickle", UNSAFE),
        ("archive", UNSAFE),
        ("before archives", UNSAFE),
        ("list", "holds no state dict"),
        ("cut", DAMAGED),
        *((f"cut at {end}", DAMAGED) for end in (5, 60, 5000, -9)),
        *((f"old cut at {end}", DAMAGED) for end in (1, 60, 110, -9)),
    ],
)
def test_damaged_and_hostile_files_are_one_line(tiny, tmp_path, capsys, kind, said):
    file = tmp_path / ("m.safetensors" if kind == "cut" else "m.pt")
    if kind == "garbage":
        file.write_bytes(b"not a checkpoint")
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "pickle":
        file.write_bytes(pickle.dumps({"ema": Evil()}))
    elif kind in ("archive", "before archives"):
        torch.save({"ema": Evil()}, file, _use_new_zipfile_serialization=kind == "archive")
    elif "cut at" in kind:
        torch.save(tiny().state_dict(), file, _use_new_zipfile_serialization=not kind.startswith("old"))
        file.write_bytes(file.read_bytes()[: int(kind.split()[-1])])
    elif kind == "list":
        torch.save([1, 2], file)
    elif kind == "cut":
        save_model(file, tiny())
        file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(D2CError, match=said) as caught:
        load_model(file, name="SiT-Ti/2")
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)
    assert "unpickled" not in capsys.readouterr().out
