"""The released checkpoints that can be scored with by name: where they are, what they are, under which licence.

Sources: the READMEs of DiT (facebookresearch/DiT), SiT (willisma/SiT) and REPA (sihyun-yu/REPA). None of them
publishes a digest, so the one that is computed while downloading is shown and kept. Free of torch.
"""

from __future__ import annotations

import dataclasses

from d2c.diffusion.config import ModelConfig, parse

#: the autoencoder that the released latent models were trained on; it halves the side three times.
RELEASED_AUTOENCODER = "stabilityai/sd-vae-ft-ema"
_FACTOR = 8
#: blocks before REPA's tap, in its released models.
REPA_DEPTH = 8


@dataclasses.dataclass(frozen=True)
class Release:
    """One released checkpoint. `image_size` is that of its images in px; `path` its convention."""

    name: str
    address: str
    file: str  # what it is called in the cache
    model: str  # such as DiT-XL/2
    path: str
    image_size: int
    licence: str  # one line, with what it forbids
    commercial: bool
    homepage: str
    classes: int = 1000
    channels: int = 4
    learn_sigma: bool = True
    autoencoder: str = RELEASED_AUTOENCODER
    align_dim: int = 0
    align_depth: int = 0
    sha256: str = ""  # "": not published
    size: int = 2_700_000_000  # bytes of the file, about: four a parameter

    @property
    def config(self) -> ModelConfig:
        """What the model is made of, known before the file is here."""
        family, size, patch = parse(self.model)
        return ModelConfig(
            family=family,
            size=size,
            patch=patch,
            image_size=self.image_size // (1 if self.autoencoder == "identity" else _FACTOR),
            channels=self.channels,
            num_classes=self.classes,
            learn_sigma=self.learn_sigma,
            path=self.path,
            autoencoder=self.autoencoder,
            align_dim=self.align_dim,
            align_depth=self.align_depth,
        )


_META = "CC-BY-NC 4.0 (non-commercial use only)"
_MIT = "MIT"
_DIT = "https://github.com/facebookresearch/DiT"
_DROPBOX = "https://www.dl.dropboxusercontent.com/scl/fi/"

RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        Release(
            "dit-xl-2-256",
            "https://dl.fbaipublicfiles.com/DiT/models/DiT-XL-2-256x256.pt",
            "DiT-XL-2-256x256.pt",
            "DiT-XL/2",
            "dit",
            256,
            _META,
            commercial=False,
            homepage=_DIT,
        ),
        Release(
            "dit-xl-2-512",
            "https://dl.fbaipublicfiles.com/DiT/models/DiT-XL-2-512x512.pt",
            "DiT-XL-2-512x512.pt",
            "DiT-XL/2",
            "dit",
            512,
            _META,
            commercial=False,
            homepage=_DIT,
        ),
        Release(
            "sit-xl-2-256",
            _DROPBOX + "as9oeomcbub47de5g4be0/SiT-XL-2-256.pt?rlkey=uxzxmpicu46coq3msb17b9ofa&dl=1",
            "SiT-XL-2-256x256.pt",
            "SiT-XL/2",
            "sit",
            256,
            _MIT,
            commercial=True,
            homepage="https://github.com/willisma/SiT",
        ),
        Release(
            "repa-sit-xl-2-256",
            _DROPBOX + "cxedbs4da5ugjq5wg3zrg/last.pt?rlkey=8otgrdkno0nd89po3dpwngwcc&st=apcc645o&dl=1",
            "SiT-XL-2-256-REPA.pt",
            "SiT-XL/2",
            "repa",
            256,
            _MIT,
            commercial=True,
            homepage="https://github.com/sihyun-yu/REPA",
            learn_sigma=False,
            align_dim=768,  # DINOv2-B
            align_depth=REPA_DEPTH,
        ),
    )
}
