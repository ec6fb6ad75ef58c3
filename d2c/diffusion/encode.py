"""Images to latents: the one place where scoring and training do it, in batches that fit the device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from d2c.device import autocast, compiles
from d2c.diffusion.autoencoders import Autoencoder, networks
from d2c.errors import D2CError

LATENTS = {"mean": ("mean",), "moments": ("mean", "std", "mean_flip", "std_flip")}
"""What is kept of an image: to score it, its mean; to train on it, mean and std also of its mirror image, because
no latent can be flipped."""
COMPILE_FROM = 1.2e9  # pixels: of 18,000 images of 256 px; compiling takes what it then saves of their time
AUTO_PIXELS = {"cuda": 64 * 256**2, "cpu": 8 * 256**2}  # in a batch


def auto_batch(device: torch.device | str, image_size: int) -> int:
    """Images in a batch when nothing is said: 64 of 256 px on a GPU, 8 on a CPU, fewer when they are larger."""
    return max(1, min(1024, AUTO_PIXELS.get(torch.device(device).type, 2**19) // image_size**2))


def hasten(autoencoder: Autoencoder, device: torch.device, precision: str, pixels: float) -> bool:
    """Compile the encoder where that pays: in bf16 on a GPU, so many pixels being to come. Batches are then `fixed`."""
    if device.type != "cuda" or precision != "bf16" or pixels < COMPILE_FROM or not compiles(device):
        return False
    for net in networks(autoencoder).values():
        getattr(net, "encoder", net).compile(dynamic=False)
    return True


@torch.inference_mode()
def encode_images(
    autoencoder: Autoencoder,
    images: np.ndarray,
    what: str,
    device: torch.device | str,
    precision: str,
    batch: int = 0,
    *,
    name: Callable[[int], str] = "image {}".format,
    fixed: bool = False,
) -> dict[str, np.ndarray]:
    """Latents of uint8 images [n, C, S, S], scaled as the autoencoder scales them.

    `what` is "mean" or "moments". Gives fp16 [n, c, h, w] under the names in `LATENTS`, and total_variation float32
    [n], that of the mean. Images cross the bus as uint8; on a GPU bf16 takes the faster memory layout (fp16 is not
    offered: some autoencoders overflow in it). A batch that does not fit is halved, which changes no latent; with
    `fixed` a smaller last one is filled up, as a compiled network wants it.

    Raises D2CError when a latent is not finite, saying which image by `name(row)`, or when one image does not fit.
    """
    device = torch.device(device)
    layout = torch.preserve_format
    if device.type == "cuda" and precision == "bf16":
        layout = torch.channels_last
        for net in networks(autoencoder).values():
            net.to(memory_format=layout)
    n, channels, side, _ = images.shape
    shape = (n, autoencoder.channels or channels, side // autoencoder.factor, side // autoencoder.factor)
    found = {key: torch.empty(shape, dtype=torch.float16, device=device) for key in LATENTS[what]}
    batch, start = batch or auto_batch(device, side), 0
    while start < n:
        stop, fits = min(start + batch, n), True
        try:
            x = torch.from_numpy(images[start:stop]).to(device, non_blocking=True).float() / 127.5 - 1
            if fixed and len(x) < batch:
                x = torch.cat([x, x[-1:].expand(batch - len(x), -1, -1, -1)])
            for key in found:
                if key.startswith("std"):
                    continue
                view = (x.flip(-1) if key.endswith("_flip") else x).contiguous(memory_format=layout)
                with autocast(device, precision):
                    mean, std = autoencoder.encode(view)
                found[key][start:stop] = mean[: stop - start].float()
                if what == "moments":
                    found[key.replace("mean", "std")][start:stop] = std[: stop - start].float()
        except torch.OutOfMemoryError:
            fits = False  # what was computed goes out of scope with the exception, so the next try is outside
        if not fits:
            x = view = mean = std = None  # type: ignore[assignment]
            if batch == 1:
                raise D2CError(f"not even one image of {side} px fits into the memory of {device}: encode on another")
            batch = max(1, min(batch, stop - start) // 2)
            if device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        start = stop
    bad = torch.zeros(n, dtype=torch.bool, device=device)
    for latent in found.values():
        bad |= ~torch.isfinite(latent).flatten(1).all(1)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise D2CError(
            f"the latent of {name(row)} by {autoencoder.name} is not finite: its weights are damaged, or try "
            "--precision fp32"
        )
    variation = total_variation(found["mean"]).cpu().numpy()
    return {**{key: latent.cpu().numpy() for key, latent in found.items()}, "total_variation": variation}


def total_variation(z: Tensor) -> Tensor:
    """Mean absolute difference between horizontal and vertical neighbours of z [n, c, h, w], float32 [n]."""
    z = z.float()
    across, down = z.diff(dim=-1).abs().flatten(1), z.diff(dim=-2).abs().flatten(1)
    differences = across.shape[1] + down.shape[1]
    return (across.sum(1) + down.sum(1)) / max(1, differences)
