"""The square crop of ADM, which DiT, SiT, REPA and EDM2 share."""

from __future__ import annotations

from PIL import Image

_LONGEST = 32  # sides in this ratio and beyond are cut first: resizing 1 × 100,000 to 256 would need 6.5 GP


def adm_crop(image: Image.Image, size: int) -> Image.Image:
    """Centre square of `size` px: halve with BOX while the short side is ≥ 2·size, then BICUBIC, then cut.

    Smaller images are enlarged by the same rule. The mode (L or RGB) is kept. Images longer than 32 times
    their short side are first cut to that around the centre.
    Dhariwal & Nichol 2021, guided-diffusion `center_crop_arr` (MIT).
    """
    if max(image.size) > _LONGEST * min(image.size):
        image = _centre(image, *(min(side, _LONGEST * min(image.size)) for side in image.size))
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    target = (round(image.width * scale), round(image.height * scale))
    return _centre(image.resize(target, Image.Resampling.BICUBIC), size, size)


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    x, y = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((x, y, x + width, y + height))
