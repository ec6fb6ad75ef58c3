"""Vision tokens as a condensed set holds them, read without torch: shards of bfloat16, all of one shape.

    vision-<encoder>/000000.safetensors …   rows of `d2c.data.shards`, row i = row i of subset.parquet:
        tokens BF16 [n, N, d], with flips tokens_flip BF16 [n, N, d] of the mirrored images,
        optionally class_token BF16 [n, D], with flips class_token_flip: the encoder's own, never compressed,
        sample_ids I64 [n], cosine F32 [n]: how near what is stored is to what the encoder gave
    vision-<encoder>/basis.safetensors      of compressed tokens: mean F32 [D], components F32 [d, D]

Compressed tokens c stand for c · components + mean. Sets of the first layout, one file of fp16, are read as well.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2c.artifacts import Artifact, slugify
from d2c.data.mapped import open_shard
from d2c.data.shards import shards
from d2c.errors import D2CError

LAYOUT = 2
BASIS = "basis.safetensors"
TOKENS, FLIPPED = "tokens", "tokens_flip"
CLASS, CLASS_FLIPPED = "class_token", "class_token_flip"


def vision_folder(encoder: str) -> str:
    """The name of the folder that an encoder's tokens are kept in."""
    return f"vision-{slugify(encoder)}"


def shard_file(folder: Path, index: int) -> Path:
    """Where a shard lies."""
    return folder / f"{index:06d}.safetensors"


@dataclass(frozen=True)
class VisionTokens:
    """The vision tokens of a condensed set: M images, N tokens of `dim` channels, `width` of them stored."""

    folder: Path  # or, in the first layout, the file
    files: tuple[Path, ...]
    starts: tuple[int, ...]  # first row of each file, and the number of rows
    count: int  # N
    width: int
    dim: int
    flips: bool
    class_tokens: bool = False

    @property
    def images(self) -> int:
        """M."""
        return self.starts[-1]

    @property
    def grid(self) -> int:
        """Tokens a side."""
        return math.isqrt(self.count)

    @functools.cached_property
    def basis(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean [D] and components [d, D] of compressed tokens, float32."""
        if not self.folder.is_dir() or not (self.folder / BASIS).is_file():
            return None
        found = open_shard(self.folder / BASIS)
        return found.floats("mean"), found.floats("components")

    def expand(self, stored: np.ndarray) -> np.ndarray:
        """What stored tokens [..., d] float32 stand for, [..., D] float32."""
        if self.basis is None:
            return stored
        mean, components = self.basis
        expanded: np.ndarray = stored @ components + mean
        return expanded

    def parts(self, *, flip: bool = False) -> Iterator[tuple[int, np.ndarray, str]]:
        """First row, the stored array [n, N, d] as a memory map, and its type (BF16 as uint16, F16), file by file."""
        name = self._named(flip)
        for start, file in zip(self.starts, self.files, strict=False):
            shard = open_shard(file)
            yield start, shard.arrays[name], shard.types[name]

    def read_class(self, *, flip: bool = False) -> np.ndarray:
        """The class tokens [M, D] float32 of all images. Raises D2CError where the set holds none."""
        name = CLASS_FLIPPED if flip else CLASS
        if not self.class_tokens or (flip and not self.flips):
            raise D2CError(f"{self.folder} holds no class tokens: attach with --class-token")
        return np.concatenate([open_shard(file).floats(name) for file in self.files])

    def read(self, rows: Sequence[int] | np.ndarray, *, flip: bool = False) -> np.ndarray:
        """Tokens [n, N, D] float32 of these rows of subset.parquet, compressed ones expanded.

        `flip` reads those of the mirrored images. Raises D2CError where there are none.
        """
        name, wanted = self._named(flip), np.asarray(rows, np.int64)
        found = np.empty((len(wanted), self.count, self.width), np.float32)
        which = np.searchsorted(self.starts, wanted, side="right") - 1
        for index in np.unique(which):
            here = which == index
            found[here] = open_shard(self.files[index]).floats(name, wanted[here] - self.starts[index])
        return self.expand(found)

    def _named(self, flip: bool) -> str:
        if flip and not self.flips:
            raise D2CError(f"{self.folder} holds no tokens of mirrored images: attach with --flip")
        return FLIPPED if flip else TOKENS


def open_vision(data: Artifact) -> VisionTokens | None:
    """The vision tokens of a condensed set, None where it has none.

    Raises D2CError in one line for a set of a later layout, files that are missing, cut or of different shapes, a
    grid that is no square, another number of rows than images, or tokens that are not those its record speaks of.
    """
    refuse_later(data)
    said = dict(data.facts.get("vision") or {})
    encoder = str(said.get("encoder", ""))
    there = sorted(p for p in data.path.glob("vision-*") if p.is_dir() or p.suffix == ".safetensors")
    own = vision_folder(encoder) if encoder else ""
    there.sort(key=lambda p: p.name.removesuffix(".safetensors") != own)
    if encoder not in ("", "none") and (not there or there[0].name.removesuffix(".safetensors") != own):
        raise D2CError(f"{data.path / own} is missing: copy the folder again, or attach again with --force")
    if not there:
        return None
    if there[0].is_dir():
        files = tuple(sorted(p for p in there[0].glob("*.safetensors") if p.name != BASIS))
    else:
        files = (there[0],)
    if not files:
        raise D2CError(f"{there[0]} holds no tokens: copy the folder again, or attach again with --force")
    shapes = []
    for file in files:
        shard = open_shard(file)
        if TOKENS not in shard.arrays or shard.arrays[TOKENS].ndim != 3:
            raise D2CError(f"{file} holds no vision tokens [n, N, D]: attach again with --force")
        shapes.append((*shard.arrays[TOKENS].shape, FLIPPED in shard.arrays, CLASS in shard.arrays))
    if len({shape[1:] for shape in shapes}) > 1:
        raise D2CError(
            f"{there[0]} mixes tokens of different shapes ({shapes[0]} and others): attach again with --force"
        )
    _, count, width, flips, whole = shapes[0]
    starts = (0, *np.cumsum([shape[0] for shape in shapes]).tolist())
    found = VisionTokens(there[0], files, starts, count, width, width, flips, whole)
    if found.grid**2 != count:
        raise D2CError(f"{there[0]}: {count} tokens an image are no square grid: attach again with --force")
    _check_rows(data, found)
    if found.basis is not None:
        components = found.basis[1]
        if components.shape[0] != width:
            raise D2CError(
                f"{there[0] / BASIS} is of {components.shape[0]} components, the tokens have {width}: attach again "
                "with --force"
            )
        found = VisionTokens(there[0], files, starts, count, width, int(components.shape[1]), flips, whole)
    _check_record(found, said)
    return found


def refuse_later(data: Artifact) -> None:
    """Raise D2CError for a set that a later d2c wrote in a way that this one does not know."""
    layout = int(data.facts.get("layout", 1))
    if layout > LAYOUT:
        raise D2CError(
            f"{data.kind}/{data.name} has layout {layout}, this d2c reads up to {LAYOUT}: update d2c, or attach again"
        )


def _check_record(found: VisionTokens, said: Mapping[str, object]) -> None:
    """Raise D2CError where tokens are not as the set's record says, which is what training and its recipe believe."""
    there = {
        "grid": found.grid,
        "dim": found.dim,
        "stored": found.width,
        "flip": found.flips,
        "class_token": found.class_tokens,
    }
    for name, value in there.items():
        if name in said and said[name] != value:
            raise D2CError(
                f"{found.folder} holds the tokens of another set ({name} {value}, its record says {said[name]}): copy "
                "the folder again, or attach again with --force"
            )


def _check_rows(data: Artifact, found: VisionTokens) -> None:
    import pyarrow.parquet as pq

    try:
        images = pq.ParquetFile(data.path / "subset.parquet").metadata.num_rows
    except (OSError, ValueError):
        return  # said by whoever reads the table
    if found.images != images:
        missing = len(shards(images)) - len(found.files) if found.folder.is_dir() else 0
        why = f": {missing} shards are missing" if missing > 0 else ""
        raise D2CError(
            f"{found.folder} has {found.images:,} rows for {images:,} images{why}: copy the folder again, or "
            "attach again with --force"
        )
