"""The `hash` text encoder: one token a word, made of its letters. For where nothing can be downloaded."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np

DIM = 64
GRAMS = (3, 4, 5)  # characters


class HashText:
    """Signed feature hashing of character n-grams (Weinberger et al., 2009), a unit vector a word.

    Different names get different vectors and names that share letters get near ones; what a name means
    plays no part. Needs no weights, and gives the same numbers on every machine.
    """

    name = "hash"
    dim = DIM
    meaningful = False
    source = ""

    def __init__(self, tokens: int, note: str) -> None:
        self.length = tokens
        self.note = note

    def encode(self, prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [C, L, D] float32, zero beyond a prompt's words, and mask [C, L] bool; words beyond L are dropped."""
        tokens = np.zeros((len(prompts), self.length, self.dim), dtype=np.float32)
        mask = np.zeros((len(prompts), self.length), dtype=bool)
        for row, prompt in enumerate(prompts):
            for place, word in enumerate(words(prompt)[: self.length]):
                tokens[row, place] = word_vector(word, self.dim)
                mask[row, place] = True
        return tokens, mask


def words(prompt: str) -> list[str]:
    """The words of a prompt in one spelling: composed (NFC), lower case, cut at white space."""
    return unicodedata.normalize("NFC", prompt).lower().split()


def word_vector(word: str, dim: int = DIM) -> np.ndarray:
    """Unit vector [dim] of a word: each n-gram of `<word>` adds ±1 at a place, both taken from its BLAKE2b hash."""
    marked = f"<{word}>"
    vector = np.zeros(dim, dtype=np.float32)
    for n in GRAMS:
        for start in range(len(marked) - n + 1):
            gram = marked[start : start + n].encode()
            code = int.from_bytes(hashlib.blake2b(gram, digest_size=8).digest(), "little")
            vector[(code >> 1) % dim] += 1.0 if code & 1 else -1.0
    norm = float(np.linalg.norm(vector))
    if norm == 0.0:  # its n-grams met in one place with opposite signs
        vector[len(word) % dim] = norm = 1.0
    return vector / norm
