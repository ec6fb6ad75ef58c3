import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.diffusion.config import PATCHES, SIZES, ModelConfig, model_names, parse, read_header
from d2c.errors import D2CError, UsageError


@settings(deadline=None)
@given(st.sampled_from(model_names()), st.integers(1, 4), st.integers(1, 1000), st.booleans(), st.sampled_from([0, 64]))
def test_json_round_trip(name, channels, classes, learn_sigma, text_dim):
    family, size, patch = parse(name)
    config = ModelConfig(
        family, size, patch, 32, channels, classes, learn_sigma, text_dim=text_dim, text_length=min(text_dim, 8)
    )
    assert config.name == name
    assert ModelConfig.from_json(config.to_json()) == config
    assert config.tokens == (32 // patch) ** 2


def test_every_family_size_and_patch_has_a_name():
    assert len(model_names()) == 2 * len(SIZES) * len(PATCHES)
    assert "SiT-XL/2" in model_names()


def test_the_family_has_its_own_path():
    assert ModelConfig("SiT", "Ti", 2, 8, 1, 2).path == "sit"
    assert ModelConfig("DiT", "Ti", 2, 8, 1, 2).path == "dit"
    assert ModelConfig("SiT", "Ti", 2, 8, 1, 2, path="repa").path == "repa"


@pytest.mark.parametrize("name", ["SiT-XL", "SiT-XXL/2", "UNet-S/2", "SiT-S/3", "SiT-S/02", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(UsageError, match="known: SiT-Ti/1"):
        parse(name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 9},
        {"image_size": 0},
        {"channels": 0},
        {"num_classes": 0},
        {"path": "dit"},
        {"text_dim": 8},
        {"align_dim": 8},
        {"align_dim": 8, "align_depth": 7},
        {"layers": -1},
    ],
)
def test_what_cannot_be_built_is_refused(wrong):
    with pytest.raises(UsageError):
        ModelConfig(
            **{"family": "SiT", "size": "Ti", "patch": 2, "image_size": 8, "channels": 1, "num_classes": 2} | wrong
        )


def test_a_configuration_of_a_newer_version_is_named():
    text = ModelConfig("SiT", "Ti", 2, 8, 1, 2).to_json()
    with pytest.raises(D2CError, match="unknown rope"):
        ModelConfig.from_json(json.dumps(json.loads(text) | {"rope": 1}))


EMPTY = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"
DAMAGED = r"model\.safetensors is cut off or damaged: copy it again$"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", DAMAGED),
        (b"hello", DAMAGED),
        (b"PK\x03\x04 not ours", DAMAGED),
        (EMPTY[:-1], DAMAGED),
        (EMPTY + b"more", DAMAGED),
        (EMPTY, "not a checkpoint of d2c"),
    ],
)
def test_a_foreign_file_has_no_header(tmp_path, content, said):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(D2CError, match=said):
        read_header(file)
    with pytest.raises(D2CError, match="no checkpoint at"):
        read_header(tmp_path / "absent.safetensors")


def test_importing_the_room_leaves_torch_alone():
    code = "import sys, d2c.diffusion, d2c.diffusion.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
