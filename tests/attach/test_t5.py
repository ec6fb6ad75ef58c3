from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from d2c.attach.t5 import T5Text
from d2c.attach.text import TEXT_ENCODERS, describe_text, open_text_encoder
from d2c.errors import D2CError

NAME = "t5:org/tiny-t5"
WORDS = ["a photo of a cat", "a photo of a great white shark", "tench", "an old dog on a boat", "sea lion"]
#: sizes that the releases publish: width of the encoder.
PUBLISHED = {"small": 512, "base": 768, "large": 1024, "xl": 2048, "xxl": 4096}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A T5 (encoder and decoder) of gated GELUs as v1.1 has them, 24 wide, with a real SentencePiece model."""
    import sentencepiece
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("tiny-t5")
    text = folder / "corpus.txt"
    text.write_text("\n".join(WORDS * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "spiece"), vocab_size=28, pad_id=0, eos_id=1, unk_id=2, bos_id=-1
    )
    config = T5Config(
        vocab_size=64,
        d_model=24,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=3,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(config).eval()
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    save_file({k: v for k, v in state.items() if "embed_tokens" not in k}, folder / "model.safetensors")
    return folder, model


def test_tokens_are_the_encoders_last_hidden_states(whole: tuple[Path, Any]) -> None:
    folder, model = whole
    encoder = T5Text(describe_text(NAME), tokens=16, weights=folder / "model.safetensors", device="cpu")
    tokens, mask = encoder.encode(WORDS)
    assert (tokens.shape, tokens.dtype, mask.shape) == ((5, 16, 24), np.float32, (5, 16))
    for row, text in enumerate(WORDS):  # one prompt alone, without padding
        ids = torch.tensor([[*encoder.pieces.encode(text)[:15], 1]])
        with torch.no_grad():
            wanted = model.get_encoder()(ids).last_hidden_state[0]
        assert mask[row].sum() == len(wanted)
        np.testing.assert_allclose(tokens[row, : len(wanted)], wanted, atol=1e-5)
        assert not tokens[row, len(wanted) :].any()


def test_a_long_prompt_keeps_its_end_mark(whole: tuple[Path, Any]) -> None:
    encoder = T5Text(describe_text(NAME), tokens=6, weights=whole[0] / "model.safetensors", device="cpu")
    ids, mask = encoder.ids(["a photo of a great white shark " * 9, "cat"])
    assert ids.shape == (2, 6)
    assert ids[0, -1] == 1
    assert mask[0].all()
    assert ids[1][mask[1]][-1] == 1


def test_many_prompts_are_those_of_each(whole: tuple[Path, Any]) -> None:
    encoder = T5Text(describe_text(NAME), tokens=16, weights=whole[0] / "model.safetensors", device="cpu")
    prompts = [WORDS[i % 5] for i in range(70)]
    tokens, _ = encoder.encode(prompts)
    np.testing.assert_allclose(tokens[66], encoder.encode([prompts[66]])[0][0], atol=1e-5)


def test_only_the_encoder_is_read(whole: tuple[Path, Any], tmp_path: Path) -> None:
    """The decoder's part of a model in several files is not even there."""
    folder, model = whole
    state = {k: v.clone() for k, v in model.state_dict().items() if "embed_tokens" not in k}
    encoder = {k: v for k, v in state.items() if k.startswith(("shared", "encoder"))}
    torch.save(encoder, tmp_path / "one.bin")
    places = {k: "one.bin" if k in encoder else "two.bin" for k in state}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    for name in ("config.json", "spiece.model"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    file = tmp_path / "pytorch_model.bin.index.json"
    cut = T5Text(describe_text(NAME), tokens=16, weights=file, device="cpu")
    full = T5Text(describe_text(NAME), tokens=16, weights=folder / "model.safetensors", device="cpu")
    np.testing.assert_array_equal(cut.encode(WORDS)[0], full.encode(WORDS)[0])
    assert not any("decoder" in name for name, _ in full.model.named_parameters())


def test_weights_alone_are_told_what_must_lie_beside_them(
    whole: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any, **__: Any) -> Path:
        raise D2CError("no weights for it: give a file")

    file = tmp_path / "model.safetensors"
    file.write_bytes((whole[0] / "model.safetensors").read_bytes())
    monkeypatch.setattr(sys.modules[T5Text.__module__], "fetch", nobody)
    with pytest.raises(D2CError, match=r"beside .*model\.safetensors there must be config\.json and spiece\.model"):
        T5Text(describe_text(NAME), tokens=16, weights=file, device="cpu")


def test_from_a_hub(whole: tuple[Path, Any], hub: Any, tmp_path: Path) -> None:
    hub.repositories["org/tiny-t5"] = whole[0]
    code = f"""
from d2c.attach.text import open_text_encoder
encoder = open_text_encoder({NAME!r})
print(encoder.encode(["tench"])[0].shape, encoder.source)
"""
    import os

    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(1, 16, 24) org/tiny-t5@")
    asked = {line.rpartition("/")[2] for line in hub.requests}
    assert asked == {"config.json", "spiece.model", "model.safetensors"}


def test_what_does_not_fit_is_one_line(whole: tuple[Path, Any], tmp_path: Path) -> None:
    for name in ("config.json", "spiece.model"):
        (tmp_path / name).write_bytes((whole[0] / name).read_bytes())
    (tmp_path / "cut.safetensors").write_bytes((whole[0] / "model.safetensors").read_bytes()[:3000])
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    for file, said in (("cut", "is cut off or damaged"), ("other", f"does not hold the weights of {NAME}")):
        with pytest.raises(D2CError, match=said) as caught:
            open_text_encoder(NAME, weights=tmp_path / f"{file}.safetensors")
        assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(D2CError, match="is not a T5"):
        open_text_encoder(NAME, weights=tmp_path / "other.safetensors")


@pytest.mark.parametrize("family", ["t5-v1_1", "flan-t5"])
@pytest.mark.parametrize("size", list(PUBLISHED))
def test_the_sizes_that_are_known(family: str, size: str) -> None:
    info = TEXT_ENCODERS[f"{family}-{size}"]
    assert (info.dim, info.reference) == (PUBLISHED[size], f"t5:google/{family}-{size}")
    assert info.licence.startswith("Apache-2.0")


def test_naming_one_loads_nothing() -> None:
    code = "import sys; from d2c.attach import describe_text; describe_text('t5-v1_1-xl'); " + (
        "print({'torch', 'transformers', 'sentencepiece'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
