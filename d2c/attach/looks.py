"""What the encoders see, for pages: a map of the classes' texts, and an image's patches as colours. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from d2c.artifacts import Artifact
from d2c.attach.stored import VisionTokens


@dataclass(frozen=True)
class TextMap:
    """Classes laid out by their text tokens."""

    names: list[str]  # by class
    x: np.ndarray  # [C]
    y: np.ndarray  # [C]
    nearest: np.ndarray  # class of the nearest text [C] int64
    cosine: np.ndarray  # to that one [C]
    share: float  # of the variance that the plane shows


def text_map(data: Artifact) -> TextMap:
    """The classes of a condensed set on the two first principal axes of their texts, and each one's nearest text.

    A text is the mean of its tokens under the mask, as unit vector. Raises D2CError for a set without text.
    """
    stored = data.arrays("text.safetensors")
    tokens, mask = stored["tokens"].astype(np.float32), stored["mask"].astype(np.float32)
    mean = (tokens * mask[..., None]).sum(1) / np.maximum(mask.sum(1), 1)[:, None]
    unit = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    axes, share = principal(unit, 2)
    names = [str(name) for name in _names(data)]
    if len(unit) < 2:
        return TextMap(names, axes[:, 0], axes[:, 1], np.zeros(len(unit), np.int64), np.ones(len(unit)), share)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    nearest = near.argmax(1)
    return TextMap(names, axes[:, 0], axes[:, 1], nearest, near[np.arange(len(unit)), nearest], share)


def patch_colours(tokens: VisionTokens, row: int, *, flip: bool = False) -> tuple[np.ndarray, float]:
    """The patches of an image as colours uint8 [grid, grid, 3], and the share of their variance that this shows.

    Red, green and blue are the first three principal components of the image's own tokens, each stretched from its
    2nd to its 98th percentile (as the DINOv2 authors draw them): colours say which patches are alike within this
    image, and cannot be compared between images.
    """
    found = tokens.read([row], flip=flip)[0]
    values, share = principal(found, 3)
    low, high = np.percentile(values, [2, 98], axis=0)
    scaled = np.clip((values - low) / np.maximum(high - low, 1e-9), 0, 1)
    scaled[:, high - low < 1e-6 * max(float(np.abs(values).max()), 1e-9)] = 0.5  # nothing varies along it
    return (255 * scaled).round().astype(np.uint8).reshape(tokens.grid, tokens.grid, 3), share


def principal(points: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """Coordinates [n, count] on the first principal axes, zero where there are fewer, and their share of the variance.

    The sign of an axis is such that its point farthest out is positive, so that the same points give the same picture.
    """
    centred = (points - points.mean(0)).astype(np.float64)
    gram = centred @ centred.T if len(points) <= points.shape[1] else centred.T @ centred
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    found = np.zeros((len(points), count))
    if len(points) <= points.shape[1]:
        found[:, : vectors.shape[1]] = vectors * np.sqrt(np.maximum(values, 0))
    else:
        found[:, : vectors.shape[1]] = centred @ vectors
    far = np.take_along_axis(found, np.abs(found).argmax(0)[None], 0)
    total = float(np.trace(gram))
    return found * np.where(far < 0, -1.0, 1.0), float(values.sum() / total) if total > 0 else 0.0


def _names(data: Artifact) -> list[str]:
    """What the classes are called in their prompts, where the set says so."""
    if (data.path / "prompts.json").is_file():
        return list(data.json("prompts.json")["names"])
    return list(data.json("classes.json"))
