from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2c.attach.templates import prompts_of
from d2c.attach.text import TEXT_ENCODERS, describe_text, open_text_encoder
from d2c.errors import UsageError


def test_prompts() -> None:
    assert prompts_of("a photo of a {class}", ["great_white_shark", "cat"]) == [
        "a photo of a great white shark",
        "a photo of a cat",
    ]
    assert prompts_of("{class}", ["{class}"]) == ["{class}"]
    with pytest.raises(UsageError, match="every class would get the same text"):
        prompts_of("a photo", ["cat"])


@given(st.text(min_size=1))
def test_names_are_never_read_as_format_strings(name: str) -> None:
    assert prompts_of("<{class}>", [name]) == [" ".join(f"<{name.replace('_', ' ')}>".split())]


def test_hash_says_that_it_carries_no_meaning() -> None:
    encoder = open_text_encoder("hash")
    assert not encoder.meaningful
    assert "no meaning" in encoder.note
    assert encoder.note.count(".") == 1
    tokens, mask = encoder.encode(["a photo of a cat"])
    assert tokens.shape == (1, encoder.length, encoder.dim) == (1, 16, 64)
    assert mask.shape == (1, 16)


def test_only_hash_is_without_meaning() -> None:
    assert {n for n, info in TEXT_ENCODERS.items() if info.meaningful is False} == {"hash"}


def test_described_by_name() -> None:
    assert describe_text("clip-vit-l-14").dim == 768
    assert describe_text("open_clip:ViT-B-32/laion2b_s34b_b79k").dim == 512
    assert describe_text("open_clip:nonsense/openai").dim is None
    assert describe_text("hf-hub:org/name").reference == "hf-hub:org/name"


@pytest.mark.parametrize("name", ["", "clip", "open_clip:", "hf-hub:name", "hf-hub:a/b/c", "t5:xl", "HASH"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown text encoder.*known: hash, "):
        describe_text(name)


def test_hash_reads_no_weights() -> None:
    with pytest.raises(UsageError, match="reads no weights"):
        open_text_encoder("hash", weights=Path("x"))
