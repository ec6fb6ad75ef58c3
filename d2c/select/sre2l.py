"""SRe2L: images that a classifier dreams."""

from __future__ import annotations

from d2c.errors import D2CError
from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.rows import missing


def sre2l(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Makes images from noise, until a classifier reads their class and its statistics are those of real ones (SRe2L).

    Source: "Squeeze, Recover and Relabel" (Yin et al. 2023, arXiv 2306.13092). Squeeze: a classifier φ with batch norm
    is trained on the whole set. Recover: images x of classes y descend

        CE(φ(a(x)), y) + α_BN Σ_l w_l (‖μ_l(a(x)) − μ̂_l‖ + ‖σ²_l(a(x)) − σ̂²_l‖) + α_TV R_TV(a(x)) + α_2 R_2(a(x)),

    l over the batch-norm layers, μ_l and σ²_l over the batch, hats for the running ones, w = 10 for the first layer and
    1 for the others; R_TV sums the norms of the differences along both sides and both diagonals, R_2 is the mean norm
    of an image. Adam (.5, .9) with a cosine rate to 0, pixels cut to their range after each step, batches of at most
    100 with as many of each class as can be. a(x) shifts by up to an eighth of the side, what leaves coming in again;
    from 64 px on it first takes a random crop (8 % to all of the area), as the released ImageNet recipe does and its
    CIFAR recipe does not; `mirror` adds mirror images. α_BN = .01 as released, where ImageNet takes 4,000 steps and
    CIFAR 1,000; α_TV = 1e-4 and α_2 = 1e-5 (its defaults). Pixels run over −1 … 1 here, so a rate of .1 is its .25.
    Relabel is left out: soft labels teach classifiers, a diffusion model needs the class alone. How sure φ is of the
    class of each image is kept.
    Cost: `steps` passes of φ forward and back an image. Needs: the images, to train φ; not the scores.
    """
    raise D2CError(missing("sre2l", "images"))
