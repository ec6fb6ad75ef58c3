"""What a classifier early in its training says of an image: how wrong it is, and how hard the image pulls at it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from d2c.evaluate.classifier import Classifier

# Numbers of per-image gradients held at a time: 256 MB on a GPU; on a CPU 32 MB, beyond which its caches are of no use
# (of digits, 1,260 images a second on a core with 32 at a time, 555 with 232).
ROOM = {"cuda": 2**26, "cpu": 2**23}


def el2n(scores: Tensor, labels: Tensor) -> Tensor:
    """‖softmax(scores) − onehot(label)‖₂ [n] of scores [n, C], in their precision.

    Error L2-norm, Paul et al., NeurIPS 2021 (arXiv 2107.07075), equation 2 within the mean over seeds. From 0 to √2.
    """
    error = scores.softmax(dim=1) - F.one_hot(labels, scores.shape[1]).to(scores.dtype)
    found: Tensor = torch.linalg.vector_norm(error, dim=1)
    return found


def grand(model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """‖∇_θ ℓ(f_θ(x), y)‖₂ [n]: the norm of each image's own gradient of the cross-entropy, over all weights.

    Gradient norm, Paul et al. 2021, definition 2.1 within the mean over seeds. The model is in eval mode, so that an
    image's gradient is its own (a batch's statistics would mix them). Exact, by vmap over per-image gradients, `chunk`
    of them at a time: each is as large as the network. On a CPU it costs about five passes of training.
    """
    weights = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        scores: Tensor = functional_call(model, (weights, buffers), (image[None],))
        return F.cross_entropy(scores, label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    size, norms = chunk(model, images.device), []
    for first in range(0, len(images), size):
        found: dict[str, Tensor] = each(weights, images[first : first + size], labels[first : first + size])
        norms.append(torch.stack([g.flatten(1).square().sum(dim=1) for g in found.values()]).sum(dim=0).sqrt())
    return torch.cat(norms)


def grand_of_last(features: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """The same over the weights and the bias of the last layer alone [n]: EL2N · √(1 + ‖h‖²), h its input [n, D].

    Exact too: with e = softmax(scores) − onehot the gradient is e hᵀ for the weights and e for the bias.
    """
    return el2n(scores, labels) * (1 + features.square().sum(dim=1)).sqrt()


def chunk(model: Classifier, device: torch.device) -> int:
    """How many images' gradients are held at a time."""
    room = ROOM["cuda" if device.type == "cuda" else "cpu"]
    return max(1, min(256, room // sum(p.numel() for p in model.parameters())))
