import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from d2c.diffusion.pretrained import RELEASES
from d2c.diffusion.shapes import infer, read, size_of
from d2c.diffusion.sit import build
from d2c.errors import D2CError, UsageError


def shapes_of(model):
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", list(RELEASES))
def test_a_release_is_known_by_its_shapes(name):
    release = RELEASES[name]
    with torch.device("meta"):
        model = build(release.config)
    assert infer(shapes_of(model), path=release.path) == release.config
    assert infer(shapes_of(model), release.model, release.path) == release.config
    assert len(model.state_dict()) == 292 + 6 * (release.path == "repa")


def test_the_convention_is_never_guessed(tiny):
    shapes = shapes_of(tiny("DiT", layers=0, learn_sigma=True))
    with pytest.raises(UsageError, match=r"give path dit .*sit .*or repa"):
        infer(shapes)
    with pytest.raises(UsageError, match="no path 'ddpm'; known: sit, repa, sit-cosine, dit"):
        infer(shapes, path="ddpm")
    for path, family in (("dit", "DiT"), ("sit", "SiT"), ("repa", "SiT")):
        found = infer(shapes, path=path)
        assert (found.family, found.path, found.size, found.num_classes) == (family, path, "Ti", 4)
    projected = shapes_of(tiny("SiT", layers=0, path="repa", align_dim=16, align_depth=6))
    assert infer(projected).path == "repa"
    assert infer(projected, path="sit").path == "sit"


def test_the_autoencoder_goes_by_the_channels(tiny):
    assert infer(shapes_of(tiny(layers=0)), path="sit").autoencoder == "identity"
    assert infer(shapes_of(tiny(layers=0, channels=4)), path="sit").autoencoder == "stabilityai/sd-vae-ft-ema"
    assert infer(shapes_of(tiny(layers=0, channels=16)), path="sit").autoencoder == ""  # whoever scores must name it


def test_sizes_that_nobody_released(tiny):
    assert size_of(1152, 28, 16, what="it") == "XL"
    with pytest.raises(D2CError, match="the checkpoint is 192 wide with 1 blocks, which is no DiT size known"):
        infer(shapes_of(tiny(layers=1)), path="sit")
    with pytest.raises(D2CError, match="it is 1152 wide with 28 blocks of 18 heads"):
        size_of(1152, 28, 18, what="it")
    with pytest.raises(D2CError, match="not the weights of a DiT or SiT"):
        infer({"conv.weight": (3, 3)}, path="sit")


@pytest.mark.parametrize("form", ["safetensors", "pt", "wrapped", "old", "prefixed"])
def test_shapes_of_files(tiny, tmp_path, form):
    model = tiny(layers=0)
    state = model.state_dict()
    file = tmp_path / ("m.safetensors" if form == "safetensors" else "m.pt")
    if form == "safetensors":
        save_file(state, file)
    elif form == "wrapped":
        torch.save({"ema": state, "opt": {}}, file)
    elif form == "prefixed":
        torch.save({f"module.{k}": v for k, v in state.items()}, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=form != "old")
    assert read(file) == shapes_of(model)


CHILD = """
import sys
from pathlib import Path
from d2c.diffusion.shapes import read
from d2c.errors import D2CError
try:
    print(sorted(read(Path(sys.argv[1])).items())[0])
except D2CError as problem:
    print(problem)
print(sorted({"torch"} & set(sys.modules)))
"""


@pytest.mark.parametrize("damage", [False, True])
def test_a_process_without_torch_stays_without(tiny, tmp_path, damage):
    file = tmp_path / "m.pt"
    torch.save(tiny(layers=0).state_dict(), file)
    if damage:
        file.write_bytes(file.read_bytes()[:5000])
    done = subprocess.run([sys.executable, "-c", CHILD, str(file)], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert second == "[]"
    assert first == (first if damage else "('blocks.0.adaLN_modulation.1.bias', (1152,))")
    assert ("is cut off or damaged: copy it again" in first) == damage


def test_files_that_are_none(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"short")
    with pytest.raises(D2CError, match=r"m\.safetensors cannot be read as a checkpoint"):
        read(tmp_path / "m.safetensors")
    with pytest.raises(D2CError, match="no checkpoint at"):
        read(tmp_path / "absent.pt")
