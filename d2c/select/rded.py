"""RDED: images stitched from the most telling crops of real ones."""

from __future__ import annotations

from d2c.errors import D2CError
from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.rows import missing


def rded(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Makes each image of f² crops of real ones, those that a classifier is surest of (RDED).

    Source: "On the Diversity and Realism of Distilled Dataset" (Sun et al. 2024, arXiv 2312.03526). Of each of at
    most `pool` images of a class, `crops` random square crops ξ (8 % to all of its area) are scored by how real they
    look to a classifier φ trained on the whole set,

        s(ξ) = −ℓ(φ(ξ), y),   ℓ the cross entropy with the image's class y,

    and the best crop of each is kept: one a picture, for diversity. Of those the m·f² with the highest s, in that
    order ξ_0, ξ_1, …, are shrunk into the f × f cells of m images: image j has ξ_j, ξ_{m+j}, ξ_{2m+j}, …, row by row.
    f = 1 keeps whole crops (the paper: CIFAR), f = 2 makes four of them one image (the paper: ImageNet).
    What the paper leaves open: a side that f does not divide gives its first cells one pixel more. Ours: crops are
    scored enlarged to what φ sees (the released code frames them in grey, which our φ never saw), and cells are cut
    from the original with antialiasing. Fewer than m·f² images in a class make fewer images.
    Cost: pool · crops passes of φ a class, and pool + m·f² decoded images. Needs: the images; not the scores.
    """
    raise D2CError(missing("rded", "images"))
