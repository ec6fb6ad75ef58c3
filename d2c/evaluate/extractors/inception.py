"""Inception as TensorFlow published it on 2015-12-05, which FID, sFID, IS, precision and recall are defined on.

The network is torch-fidelity's, whose resize and pooling are those of that graph; ADM's evaluator reads these nodes of
it: pool_3 (FID, precision, recall), pool_3 times the last layer's weights without its bias (IS), and the first seven
channels of mixed_6/conv (sFID): the 1×1 branch of the fourth 17 px block, `Mixed_6d.branch1x1`, after its ReLU.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d2c.attach.weights import unfit
from d2c.download import cache_folder, digest, download
from d2c.errors import D2CError
from d2c.evaluate.extractors.base import Extractor, Pictures, files_given_as, full_precision
from d2c.evaluate.extractors.names import OPTION, Asked

ADDRESS = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
NAMES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")  # the same file
PUBLISHED = "6726825d"  # how its SHA-256 begins
SPATIAL = 7  # channels of mixed_6/conv: 17 · 17 · 7 = 2023 numbers


class Inception:
    """uint8 [n, 3, S, S] → `features` [n, 2048], `logits` [n, 1008] without bias, `spatial` [n, 2023], in fp32."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model, self.device = model.to(device), device
        self._spatial: Tensor | None = None
        model.Mixed_6d.branch1x1.register_forward_hook(self._keep)

    def _keep(self, module: Any, given: Any, found: Tensor) -> None:
        # Row by row, then column, then channel, as TensorFlow flattens: stored statistics are in this order.
        self._spatial = found[:, :SPATIAL].permute(0, 2, 3, 1).flatten(1).float()

    @torch.inference_mode()
    @full_precision()
    def __call__(self, images: Pictures) -> dict[str, Tensor]:
        """Of each image by itself; any side, resized to 299 px as the graph does."""
        features, logits = self.model(torch.from_numpy(images).to(self.device))
        assert self._spatial is not None
        return {"features": features, "logits": logits, "spatial": self._spatial}


def open_inception(asked: Asked, device: torch.device) -> Extractor:
    """Inception with the weights of a file, of the cache, or of torch-fidelity's release.

    Other weights than the published ones make no FID: their numbers are called FD-inception-<digest>. Raises D2CError
    where torch-fidelity or the weights are missing, or the file does not fit.
    """
    build = network()
    file = asked.file or weights()
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        # It would unpickle the file by itself, so it is given what was read safely.
        clean = io.BytesIO()
        torch.save(state, clean)
        clean.seek(0)
        model = build("inception", ["2048", "logits_unbiased"], clean)
    except Exception as problem:  # whatever a foreign file can make torch raise
        raise unfit(file, "Inception of 2015-12-05", problem) from None
    sha256 = digest(file)
    published = sha256.startswith(PUBLISHED)
    about = {
        "what": "pool_3 of Inception of 2015-12-05 at 299 px"
        if published
        else f"Inception with weights of {file.name}",
        "source": f"file {file.name}",
        "sha256": sha256,
        "side": 299,
    }
    label = "Inception" if published else f"inception-{sha256[:8]}"
    return Extractor("inception", label, Inception(model, device), about, published)


def network() -> Any:
    """The class of the network. Raises D2CError where torch-fidelity is not installed."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise D2CError("inception needs torch-fidelity: pip install 'd2c[fid]'") from None
    return FeatureExtractorInceptionV3


def weights() -> Path:
    """The published weights: from the usual cache under either of their names, else fetched into it."""
    for name in NAMES:
        if (file := cache_folder() / name).is_file():
            return file
    with files_given_as(OPTION, f"{OPTION} inception:FILE"):
        file = download(ADDRESS, cache_folder() / NAMES[0], flag=OPTION, quiet=True)
    if not digest(file).startswith(PUBLISHED):
        raise D2CError(f"{file} is not the published file, whose SHA-256 begins with {PUBLISHED}: remove it")
    return file
