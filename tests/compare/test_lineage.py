from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2c.artifacts import Artifact, Workspace
from d2c.compare import lineage
from d2c.data import ingest
from d2c.errors import D2CError
from tests.pages.compared import report_of, run_of, samples_of


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path) -> Artifact:
    """Twelve pictures of one shade each, in two classes."""
    for i in range(12):
        folder = tmp_path / "source" / ("dark" if i < 6 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 8), (20 * i, 10 * i, 120)).save(folder / f"{i:02d}.png")
    return ingest(tmp_path / "source", workspace=workspace, name="shades", quiet=True)


@pytest.fixture
def report(dataset: Artifact) -> Artifact:
    return report_of(samples_of(run_of(dataset, "plain", 0), 60), 1.0)


def test_a_sample_leads_to_the_nearest_in_each_space(report: Artifact) -> None:
    assert lineage.nearest_of(report, 3) == {"pixels": (9, 0.05), "features": (0, 1.5)}
    with pytest.raises(D2CError, match="nothing of sample 9: it judged 4"):
        lineage.nearest_of(report, 9)


def test_training_images_lead_back_to_their_samples(report: Artifact) -> None:
    table = report.table("nearest.parquet")
    met = lineage.hits(table, "pixels")
    assert met.to_numpy().tolist() == [[3, 2, 0.09], [9, 1, 0.05], [7, 1, 0.15]]
    assert lineage.generated_near(table, 3, "pixels")["index"].tolist() == [2, 0]
    assert met["samples"].sum() == len(table) == lineage.hits(table, "features")["samples"].sum()
    assert lineage.generated_near(table, 5, "pixels").empty


@pytest.mark.parametrize(
    ("distance", "level"), [(0.05, "copy"), (0.06, "near"), (0.09, "near"), (0.1, "usual"), (0.5, "usual")]
)
def test_the_risk_is_told_by_real_images(report: Artifact, distance: float, level: str) -> None:
    found = lineage.risk(report.json("report.json"), "pixels", distance)
    assert found.level == level
    assert found.ratio == pytest.approx(distance / 0.2)
    assert lineage.risk(report.json("report.json"), "pixels", distance, copied=True).level == "copied"


def test_without_held_out_images_there_is_no_risk_to_tell() -> None:
    assert lineage.risk({"nearest": {"pixels": {"held_out_median": None}}}, "pixels", 0.1) == lineage.Risk(
        "unknown", None
    )
    assert lineage.risk({}, "pixels", 0.1).level == "unknown"


def test_the_nearest_in_pixels_are_found_again(report: Artifact, dataset: Artifact) -> None:
    made, trained = lineage.banks_of(report, dataset)
    found = trained.nearest(made.of(2), 5)
    images = lineage.real_images(dataset, np.arange(12), 16, 3, 16).astype(float)
    wanted = np.sqrt(((images - 120.0) ** 2).mean((1, 2, 3))) / 255  # sample 2 is of one shade
    order = np.argsort(wanted, kind="stable")[:5]
    assert [i for i, _ in found] == order.tolist()
    assert [d for _, d in found] == pytest.approx(wanted[order].tolist(), rel=1e-4)
    back = dict(made.nearest(trained.of(int(order[0])), 4))
    assert back[2] == pytest.approx(found[0][1])
    assert list(back.values()) == sorted(back.values())
    with pytest.raises(D2CError, match="no image 9 among 4"):
        made.of(9)


def test_too_many_training_images_are_refused(
    report: Artifact,
    dataset: Artifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lineage, "MOST", 1000)
    with pytest.raises(D2CError, match="12 training images of 16 px are too many"):
        lineage.banks_of(report, dataset)
