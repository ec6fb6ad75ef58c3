"""The bank: every form in which a training image may come back, as pixels and as features.

A run that mirrors its images learns the mirror images too, and one that works on latents can draw no better than its
autoencoder decodes: a copy is then near to those, and further from the image itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from d2c.data.store import Images, labels_of, pixels
from d2c.diffusion.autoencoders import Autoencoder, load
from d2c.diffusion.encode import encode_images
from d2c.diffusion.samplers import to_uint8
from d2c.errors import D2CError
from d2c.evaluate.images import READ, Pictures, shrink

if TYPE_CHECKING:
    from d2c.artifacts import Artifact
    from d2c.progress import Progress

DECODED = 16  # latents at once
Read = Callable[[Pictures], NDArray[np.float32]]


def flat(images: Pictures) -> NDArray[np.float32]:
    """Images as rows whose Euclidean distance is the root mean square difference of pixels in 0…1."""
    rows = images.reshape(len(images), -1).astype(np.float32) if len(images) else _none(images)
    return rows / np.float32(255 * np.sqrt(rows.shape[1]))


def _none(images: Pictures) -> NDArray[np.float32]:
    return np.zeros((0, int(np.prod(images.shape[1:]))), np.float32)


def forms_of(
    images: Pictures,
    run: Artifact,
    trained_on: Artifact,
    device: torch.device,
    *,
    flips: bool,
    progress: Progress | None = None,
) -> tuple[dict[str, Pictures], str]:
    """By name the forms of the training images [m, C, s, s], in their order; and why one is missing, "" if none is.

    Mirror images where they are asked for, reconstructions where the run works on an autoencoder's latents.
    """
    found = {"images": images}
    if flips:
        found["mirror images"] = np.ascontiguousarray(images[..., ::-1])
    name = str(run.recipe.get("autoencoder", "identity"))
    if name == "identity":
        return found, ""
    if trained_on.kind != "condensed":
        return found, "reconstructions of a whole data set are not made"
    try:
        autoencoder = load(name, device)
    except D2CError as problem:  # the samples are there: not having it costs a form of the bank, not the report
        return found, f"the autoencoder cannot be loaded ({problem})"
    size, side = int(run.facts["image_size"]), images.shape[-1]
    for mirrored in (False, True)[: 1 + flips]:
        made = reconstructions(trained_on, autoencoder, size, images.shape[1], side, device, mirrored, progress)
        found["mirrored reconstructions" if mirrored else "reconstructions"] = made
    return found, ""


def reconstructions(
    trained_on: Artifact,
    autoencoder: Autoencoder,
    image_size: int,
    channels: int,
    side: int,
    device: torch.device,
    mirrored: bool = False,
    progress: Progress | None = None,
) -> Pictures:
    """The training images [m, channels, side, side] as the autoencoder gives them back, or its mirror images turned.

    They go the samples' own way: decoded at `image_size`, rounded to bytes, then shrunk.
    """
    stored, (ids, _) = Images(trained_on), labels_of(trained_on)
    out = np.empty((len(ids), channels, side, side), np.uint8)
    if progress is not None:
        progress.stage("reconstruct training images", len(ids))
    for start in range(0, len(ids), READ):
        rows = slice(start, start + READ)
        seen = pixels(stored, ids[rows], image_size, 3)
        given = np.ascontiguousarray(seen[..., ::-1]) if mirrored else seen
        latents = torch.from_numpy(encode_images(autoencoder, given, "mean", device, "fp32")["mean"])
        parts = []
        for part in torch.split(latents, DECODED):
            with torch.inference_mode():
                parts.append(to_uint8(autoencoder.decode(part.to(device).float())).cpu().numpy())
            if progress is not None:
                progress.advance(len(part))
        out[rows] = shrink(as_channels(np.concatenate(parts), channels), side)
    return out


def as_channels(images: Pictures, channels: int) -> Pictures:
    """RGB images [n, 3, S, S] as the judge reads them: as they are, or grey."""
    if channels == images.shape[1]:
        return images
    grey = [np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")) for image in images]
    return np.stack(grey)[:, None]
