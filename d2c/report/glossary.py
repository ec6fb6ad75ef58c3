"""The words of a report, one line each, for somebody who has not seen the app. Only those that the page uses."""

from __future__ import annotations

from collections.abc import Iterable

ALWAYS = ("diffusion", "difficulty", "condensed", "held_out", "copying", "fingerprint")
TERMS = {
    "diffusion": ("Diffusion model", "A model that draws images by taking noise away, a little at each step."),
    "difficulty": (
        "Difficulty of an image",
        "How far off a trained diffusion model is when it takes noise out of that image: near 0 is easy.",
    ),
    "condensed": (
        "Condensed set",
        "The few chosen images, with text and visual features stored beside them, that a model is trained on.",
    ),
    "interval": ("Interval k", "A class is put in order from easy to hard, and every k-th image is taken."),
    "held_out": (
        "Real images, held out",
        "Images of the data set that the model was not trained on: what a good model equals.",
    ),
    "copies": (
        "Copy machine",
        "A control that only shows the training images again. A number on which it wins is blind to copying.",
    ),
    "copying": ("Copying", "Drawing training images again, more or less as they are, instead of new ones like them."),
    "accuracy": (
        "Read as asked",
        "Share of samples in which a classifier, trained on the full data set, reads the class that was asked for.",
    ),
    "fd": (
        "FD (Fréchet distance)",
        "How far the samples are from real images as a crowd, in the features that the name says; 0 is equal.",
    ),
    "fid": ("FID", "FD in the features of one certain network (Inception of 2015); only these compare with papers."),
    "kid": (
        "KID (kernel distance)",
        "Another distance of two crowds of images, which does not depend on their number; 0 is equal.",
    ),
    "is": ("Inception score", "High where each image is clearly of some class and all classes come up."),
    "precision": ("Precision", "Share of samples that lie among real images."),
    "recall": ("Recall", "Share of real images that lie among the samples: low means variety is missing."),
    "density": ("Density", "In how many neighbourhoods of real images a sample lies; near 1 for real ones."),
    "coverage": ("Coverage", "Share of real images that have a sample in their neighbourhood."),
    "vendi": ("Vendi score", "How many clearly different images the samples amount to."),
    "nearest_ratio": (
        "Distance ratio",
        "How far samples are from their nearest training image, against held-out images: 1 is like real, 0 a copy.",
    ),
    "share_below": (
        "Closer than real",
        "Share of samples nearer to a training image than 99 % of real held-out images are.",
    ),
    "memorised": ("Memorised", "Share of samples whose nearest training image is three times as near as the second."),
    "auth_pct": (
        "AuthPct",
        "Share of samples that are further from their training image than its own nearest neighbour is.",
    ),
    "ct": ("C_T", "A test of samples' distances against held-out ones; far below 0 is copying."),
    "gap": (
        "Held-out gap",
        "Loss on images that were not trained on, minus loss on those that were. It opens with learning by heart.",
    ),
    "loss": ("Loss", "The number that training lowers: how badly noise is taken out."),
    "alignment": ("Alignment", "Training the model's inner features to be like those of a vision model."),
    "guidance": ("Guidance", "How strongly drawing is pulled towards the class asked for; 1 is not at all."),
    "interval95": (
        "Interval (2.9 to 3.3)",
        "Where the number would lie in 95 of 100 repetitions; numbers whose intervals overlap may be equal.",
    ),
    "seed": ("Seed", "The number that all chance is drawn from; the same seed gives the same result."),
    "fingerprint": (
        "Fingerprint",
        "A short name for a recipe and all it was made from: two artifacts with one fingerprint were made alike.",
    ),
    "artifact": ("Artifact", "One stage's result in a folder of its own, with the recipe that made it."),
    "device_seconds": (
        "Device time",
        "Seconds that the GPUs (or, without one, the machine) worked, added up over all devices.",
    ),
}


def terms(used: Iterable[str]) -> list[tuple[str, str]]:
    """The lines for these keys, those that every report needs among them, in the order of the table."""
    wanted = {*ALWAYS, *used}
    return [line for key, line in TERMS.items() if key in wanted]
