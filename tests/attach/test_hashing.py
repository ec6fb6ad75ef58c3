from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from d2c.attach.hashing import HashText, word_vector, words

GOLDEN = "e11d6d4ff4e858bb5e2c7dddd5f9959d9cf4b12a6adb1c31fc240af157631eaa"
WORD = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=12)


def test_golden_values() -> None:
    cat = word_vector("cat")
    assert np.flatnonzero(cat).tolist() == [9, 25, 31, 41, 57, 60]
    np.testing.assert_allclose(cat[np.flatnonzero(cat)], np.array([1, 1, 1, -1, -1, -1]) / 6**0.5, rtol=1e-6)
    tokens, mask = HashText(16, "").encode(["a photo of a cat"])
    assert hashlib.sha256((tokens * 1000).round().astype("<i4").tobytes()).hexdigest() == GOLDEN
    assert tokens.shape == (1, 16, 64)
    assert tokens.dtype == np.float32
    assert mask.tolist() == [[True] * 5 + [False] * 11]


def test_the_same_in_another_process() -> None:
    code = "from d2c.attach.hashing import word_vector; print(word_vector('straße').tobytes().hex())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == word_vector("straße").tobytes().hex()


@given(WORD)
def test_unit_length(word: str) -> None:
    assert abs(np.linalg.norm(word_vector(word)) - 1) < 1e-5


@given(st.lists(WORD, max_size=30), st.integers(1, 16))
def test_a_token_a_word_and_nothing_behind(found: list[str], length: int) -> None:
    prompt = " ".join(found)
    tokens, mask = HashText(length, "").encode([prompt])
    assert mask.sum() == min(len(words(prompt)), length)
    assert not tokens[~mask].any()
    assert (np.diff(mask[0].astype(int)) <= 0).all()


def test_letters_in_common_bring_words_near() -> None:
    near = word_vector("retriever") @ word_vector("retrievers")
    assert near > 0.7 > 0.4 > abs(word_vector("retriever") @ word_vector("ocean"))


def test_spelling_is_settled_before_hashing() -> None:
    composed, decomposed = "Caf\u00e9 au lait", "cafe\u0301  AU\tlait"
    one, other = (HashText(8, "").encode([p])[0] for p in (composed, decomposed))
    np.testing.assert_array_equal(one, other)
