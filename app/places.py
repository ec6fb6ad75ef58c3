"""Where things are: the pages of the app, in the order in which data passes through them, and their files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from urllib.parse import quote

from d2c.artifacts import Artifact

ROOT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Place:
    """One page: its file's name is its address."""

    name: str
    title: str
    icon: str
    purpose: str
    more: tuple[str, ...] = ()  # what docs/ says beyond the page's own section: a topic, or topic#Heading

    @property
    def file(self) -> Path:
        """The page's script."""
        return ROOT / "pages" / f"{self.name}.py"


PLACES = {
    place.name: place
    for place in (
        Place(
            "overview",
            "Overview",
            "route",
            "From a labelled image set to a few images a diffusion model learns from.",
            ("method", "artifacts"),
        ),
        Place("data", "Data", "photo_library", "Bring images in, and see what is in them."),
        Place(
            "difficulty",
            "Difficulty",
            "stacked_line_chart",
            "How hard each image is for a diffusion model.",
            ("method#Score", "method#Conventions"),
        ),
        Place(
            "select",
            "Select",
            "filter_alt",
            "Choose the few images that stand for the whole set.",
            ("method#Select", "method#Attach"),
        ),
        Place("explore", "Explore", "scatter_plot", "Walk through the images on a map of what they look like."),
        Place(
            "train",
            "Train",
            "model_training",
            "Teach a diffusion transformer the condensed set, and watch it learn.",
            ("method#Train",),
        ),
        Place(
            "samples",
            "Samples",
            "auto_awesome",
            "Draw new images from a trained model, and compare two drawings.",
            ("sampling",),
        ),
        Place(
            "judge",
            "Judge",
            "balance",
            "How good are the images, are they copies, and what did they cost?",
            ("method#Judge", "judging"),
        ),
        Place(
            "compare",
            "Compare",
            "leaderboard",
            "Many runs in one table, side by side, and against each other blind.",
            ("comparing",),
        ),
        Place("jobs", "Jobs", "checklist", "Everything that is computed in the background.", ("jobs",)),
    )
}


def thumb(dataset: Artifact, sample_id: int) -> str:
    """The address of a thumbnail. The fingerprint in it lets a browser keep the picture for ever."""
    return f"/d2c/thumb/{_where(dataset)}/{sample_id}.webp?v={dataset.fingerprint[:12]}"


def image(dataset: Artifact, sample_id: int) -> str:
    """The address of an image itself, for showing it large."""
    return f"/d2c/image/{_where(dataset)}/{sample_id}.webp?v={dataset.fingerprint[:12]}"


def sprite(dataset: Artifact, sample_ids: list[int], *, columns: int, tile: int) -> str:
    """The address of one picture that holds the thumbnails of up to 600 images, row by row."""
    ids = ",".join(map(str, sample_ids))
    return f"/d2c/sprite/{_where(dataset)}.webp?ids={ids}&columns={columns}&tile={tile}&v={dataset.fingerprint[:12]}"


def _where(holder: Artifact) -> str:
    """A data set's name alone; before that of a chosen set that made its images stands its kind."""
    return holder.name if holder.kind == "datasets" else f"{holder.kind}/{holder.name}"


def picture(artifact: Artifact, relative: str) -> str:
    """The address of a picture in a finished artifact's folder."""
    return f"/d2c/file/{artifact.kind}/{artifact.name}/{quote(relative)}?v={artifact.fingerprint[:12]}"


def taken_home(samples: Artifact, suffix: str) -> str:
    """The address from which a drawing is downloaded: its sheet (png), its pictures (zip), its array (npz)."""
    return f"/d2c/samples/{samples.name}.{suffix}?v={samples.fingerprint[:12]}"


def unfinished_picture(kind: str, name: str, relative: str) -> str:
    """The address of a picture in the partial folder of an artifact that is being made."""
    return f"/d2c/file/{kind}/{name}/{quote(relative)}"
