"""What a row of the table says beside what other rooms say of the same artifacts."""

from __future__ import annotations

from d2c.artifacts import Artifact
from d2c.compare.facts import cost_of
from d2c.evaluate.cost import receipt


def test_a_row_costs_what_its_receipt_says(scores: Artifact) -> None:
    """Stages on a CPU note no device's seconds of their own; scoring was left out for it."""
    said, total = cost_of(scores), receipt(scores).totals["all"]
    assert said["device_seconds"] == total.device_seconds > 0
    assert (said["wall_seconds"], said["bytes"]) == (total.wall_seconds, total.bytes)
