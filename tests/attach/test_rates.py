"""How long it will take: measured, remembered, and nothing when it was not."""

from __future__ import annotations

import pytest

from d2c.artifacts import Artifact, Workspace
from d2c.attach import AttachConfig, attach, estimate
from d2c.attach.measure import measure
from d2c.attach.probe import probe
from d2c.errors import D2CError

HERE = {"device": "cpu", "precision": "fp32"}


def test_nothing_is_said_before_it_was_measured(subset: Artifact) -> None:
    found = estimate(subset, AttachConfig(**HERE))
    assert (found["rate"], found["seconds"], found["device"]) == (None, None, "")
    none = estimate(subset, AttachConfig(vision="none", **HERE))
    assert none["seconds"] == 0.0
    given = estimate(subset, AttachConfig(flip=True, **HERE), rate=4.0)
    assert given["seconds"] == pytest.approx(2 * 6 / 4.0)
    assert given["bytes"]["free"] > 0


def test_the_size_with_flips_and_components(subset: Artifact) -> None:
    config = AttachConfig(flip=True, components=8, **HERE)
    expected, made = estimate(subset, config), attach(subset, config, quiet=True)
    assert expected["vision"]["shape"] == [6, 16, 8]
    assert 0 <= made.facts["bytes"]["vision"] - expected["bytes"]["vision"] < 1024  # the headers


def test_attaching_remembers_its_rate(subset: Artifact) -> None:
    made = attach(subset, AttachConfig(batch_size=2, **HERE), quiet=True)
    found = estimate(subset, AttachConfig(**HERE))
    assert found["rate"] == pytest.approx(made.facts["vision"]["images_per_second"], rel=1e-3)
    assert found["seconds"] == pytest.approx(6 / found["rate"])
    assert found["device"] == "cpu"
    assert estimate(subset, AttachConfig(precision="bf16", device="cpu"))["rate"] is None


def test_a_probe_writes_a_rate_and_nothing_else(subset: Artifact, workspace: Workspace) -> None:
    config = AttachConfig(batch_size=2, **HERE)
    rate = probe(subset, config)
    assert rate > 0
    assert estimate(subset, config)["rate"] == pytest.approx(rate, rel=1e-2)
    assert [p.name for p in (workspace.root / "condensed").iterdir()] == [".rates.json"]
    with pytest.raises(D2CError, match="no vision encoder"):
        probe(subset, AttachConfig(vision="none"))


def test_measured_in_a_process_of_its_own(subset: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure(subset, AttachConfig(batch_size=2, **HERE)) > 0
    assert estimate(subset, AttachConfig(**HERE))["rate"] > 0
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(D2CError, match=r"^no weights for dinov2-vit-s-14 .*--vision-weights FILE"):
        measure(subset, AttachConfig(vision="dinov2-vit-s-14", **HERE))


def test_a_damaged_file_of_rates_is_none(subset: Artifact, workspace: Workspace) -> None:
    (workspace.root / "condensed").mkdir()
    (workspace.root / "condensed" / ".rates.json").write_text("[1")
    assert estimate(subset, AttachConfig(**HERE))["rate"] is None
