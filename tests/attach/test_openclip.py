from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from d2c.attach.openclip import OpenClipText
from d2c.attach.text import describe_text, open_text_encoder
from d2c.errors import D2CError

NAME = "hf-hub:org/tiny-clip"
WEIGHTS = "open_clip_model.safetensors"
LONG = "a photo of a " + "very " * 30 + "old dog"


@pytest.fixture
def encoder(tiny_clip: Path) -> OpenClipText:
    return OpenClipText(describe_text(NAME), tokens=16, weights=tiny_clip / WEIGHTS, device="cpu")


def test_tokens_are_the_tower_before_pooling(encoder: OpenClipText, tiny_clip: Path) -> None:
    model = open_clip.create_model(f"local-dir:{tiny_clip}").eval()
    prompts = ["a photo of a cat", "a photo of a great white shark"]
    tokens, mask = encoder.encode(prompts)
    assert tokens.shape == (2, 16, 16)
    assert tokens.dtype == np.float32
    with torch.no_grad():
        pooled = model.encode_text(open_clip.tokenize(prompts))
        for row, end in enumerate(mask.sum(1) - 1):
            projected = torch.from_numpy(tokens[row, end]) @ model.text_projection
            torch.testing.assert_close(projected, pooled[row], rtol=1e-5, atol=1e-5)


def test_mask_is_the_prompt_with_its_marks(encoder: OpenClipText) -> None:
    tokens, mask = encoder.encode(["a photo of a cat", LONG, "wow !"])
    assert mask[0].tolist() == [True] * 7 + [False] * 9
    assert mask[1].all()
    assert mask[2].sum() == 4
    assert not tokens[~mask].any()
    assert (np.abs(tokens).sum(-1) > 0)[mask].all()


def test_a_cut_prompt_still_ends_with_the_end_mark(encoder: OpenClipText) -> None:
    ids = encoder.tokenizer([LONG], context_length=16)
    assert ids[0, -1] == encoder.tokenizer.eot_token_id
    assert ids.shape == (1, 16)


def test_a_row_depends_on_its_own_prompt(encoder: OpenClipText) -> None:
    prompts = [f"a photo of a {'cat' * (i % 3)} {i}" for i in range(70)]
    tokens, mask = encoder.encode(prompts)
    alone = encoder.encode(prompts[66:67])
    np.testing.assert_allclose(tokens[66], alone[0][0], atol=1e-5)
    np.testing.assert_array_equal(mask[66], alone[1][0])


def test_a_tower_that_looks_both_ways_gets_its_padding(encoder: OpenClipText) -> None:
    ids = open_clip.tokenize(["a photo of a cat"])
    encoder.tower.attn_mask = None
    with torch.no_grad():
        tower = encoder.tower
        x = tower.token_embedding(ids) + tower.positional_embedding
        wanted = tower.ln_final(tower.transformer(x))[0, :7]
    tokens, _ = encoder.encode(["a photo of a cat"])
    np.testing.assert_allclose(tokens[0, :7], wanted.numpy(), atol=1e-5)


def test_the_image_tower_is_dropped(encoder: OpenClipText) -> None:
    assert not hasattr(encoder.tower, "visual")


def test_a_file_that_does_not_fit_is_one_line(tiny_clip: Path, tiny_vit: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_clip / "open_clip_config.json", tmp_path)
    shutil.copy(tiny_vit / "model.safetensors", tmp_path)
    (tmp_path / "torn.safetensors").write_bytes((tiny_clip / WEIGHTS).read_bytes()[:1000])
    (tmp_path / "text.pt").write_bytes(b"not a checkpoint")
    foreign, damaged = f"does not hold the weights of {NAME}", "is cut off or damaged: copy it again"
    for file, said in (("model.safetensors", foreign), ("torn.safetensors", damaged), ("text.pt", damaged)):
        with pytest.raises(D2CError, match=f"{file} {said}") as caught:
            open_text_encoder(NAME, weights=tmp_path / file)
        assert "\n" not in str(caught.value)


def test_a_file_for_a_named_tower(tiny_clip: Path) -> None:
    with pytest.raises(D2CError, match="does not hold the weights of clip-vit-b-32: "):
        open_text_encoder("clip-vit-b-32", weights=tiny_clip / WEIGHTS)


def test_unpickling_is_refused(tmp_path: Path, tiny_clip: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    shutil.copy(tiny_clip / "open_clip_config.json", tmp_path)
    torch.save({"state_dict": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(D2CError, match=r"trap\.pt holds more than tensors"):
        open_text_encoder(NAME, weights=tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("clip-vit-b-32", "timm/vit_base_patch32_clip_224.openai"),
        ("clip-vit-l-14", "timm/vit_large_patch14_clip_224.openai"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    ],
)
def test_where_named_towers_come_from(name: str, repository: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(asked: str, names: tuple[str, ...], **_: str) -> Path:
        raise D2CError(f"{asked} {names[0]}")

    monkeypatch.setattr(sys.modules["d2c.attach.openclip"], "fetch", refuse)
    with pytest.raises(D2CError, match=f"^{repository} open_clip_model.safetensors$"):
        open_text_encoder(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("open_clip:nonsense/openai", "no architecture 'nonsense'"),
        ("open_clip:ViT-B-32/nonsense", "no weights 'nonsense' for ViT-B-32; it has: openai, "),
        ("open_clip:ViT-B-16-SigLIP/webli", "transformers model or tokenizer"),
    ],
)
def test_what_open_clip_does_not_have(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["d2c.attach.openclip"], "fetch", lambda *_, **__: Path("nowhere"))
    with pytest.raises(D2CError, match=said):
        open_text_encoder(name)


def test_openai_towers_get_their_own_activation(tiny_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def spy(name: str, **options: object) -> object:
        seen.update(options, name=name)
        raise ValueError("stop here")

    monkeypatch.setattr(open_clip, "create_model", spy)
    with pytest.raises(D2CError, match="stop here"):
        open_text_encoder("clip-vit-b-32", weights=tiny_clip / WEIGHTS)
    assert (seen["name"], seen["force_quick_gelu"]) == ("ViT-B-32", True)
