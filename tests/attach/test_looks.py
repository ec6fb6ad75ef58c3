from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from d2c.artifacts import Artifact
from d2c.attach import attach, open_vision
from d2c.attach.looks import patch_colours, principal, text_map
from d2c.attach.stored import VisionTokens

HERE = {"device": "cpu", "precision": "fp32", "quiet": True}


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 9))
def test_principal_axes_are_those_of_the_svd(n: int, d: int, seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(n, d))
    found, share = principal(points, 2)
    left, sizes, _ = np.linalg.svd(points - points.mean(0), full_matrices=False)
    wanted = np.abs(left[:, :2] * sizes[:2])
    np.testing.assert_allclose(np.abs(found)[:, : wanted.shape[1]], wanted, atol=1e-6)
    assert share == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum(), abs=1e-6)
    np.testing.assert_allclose(principal(points, 2)[0], found)


def test_a_map_of_the_classes(subset: Artifact) -> None:
    made = attach(subset, vision="none", **HERE)
    tokens = np.zeros((3, 2, 4), np.float16)
    tokens[0, 0, 0] = tokens[1, 0, 0] = tokens[2, 0, 1] = 2
    tokens[1, 0, 2] = 0.5
    tokens[:, 1] = 9  # beyond the mask
    mask = np.array([[True, False]] * 3)
    save_file({"tokens": tokens, "mask": mask}, made.path / "text.safetensors")
    found = text_map(made)
    assert found.names == ["big_dog", "cat", "sea lion"]
    assert found.nearest[:2].tolist() == [1, 0]
    assert found.cosine[0] == pytest.approx(1 / np.sqrt(1 + 0.0625), abs=1e-3)
    spread = np.hypot(*(np.array([found.x, found.y])[:, [0, 0]] - np.array([found.x, found.y])[:, [1, 2]]))
    assert spread[0] < spread[1]
    assert found.share == pytest.approx(1.0, abs=1e-6)  # three points lie in a plane


def test_patches_that_are_alike_have_one_colour(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save

    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(3, 20))
    labels = np.repeat([0, 1, 2, 0], 4)
    tokens = torch.from_numpy(kinds[labels])[None].to(torch.bfloat16)
    file = tmp_path / "000000.safetensors"
    save({"tokens": tokens, "tokens_flip": tokens.flip(1).contiguous()}, file)
    stored = VisionTokens(tmp_path, (file,), (0, 1), 16, 20, 20, True)
    colours, share = patch_colours(stored, 0)
    assert (colours.shape, colours.dtype) == ((4, 4, 3), np.uint8)
    flat = colours.reshape(16, 3)
    assert [len(np.unique(flat[labels == k], axis=0)) for k in range(3)] == [1, 1, 1]
    assert len(np.unique(flat, axis=0)) == 3
    assert share == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_array_equal(patch_colours(stored, 0, flip=True)[0].reshape(16, 3), flat[::-1])


def test_looking_is_free_of_torch(subset: Artifact) -> None:
    made = attach(subset, flip=True, components=8, **HERE)
    assert open_vision(made) is not None
    code = f"""
import sys
from d2c.artifacts import Workspace
from d2c.attach import check, open_vision
from d2c.attach.looks import patch_colours, text_map
data = Workspace.at({str(made.workspace.root)!r}).resolve({made.name!r}, "condensed")
check(data, thorough=True)
print(patch_colours(open_vision(data), 3, flip=True)[0].shape, len(text_map(data).x))
print({{"torch", "timm", "open_clip", "transformers", "sklearn"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(4, 4, 3) 3", "set()"]
