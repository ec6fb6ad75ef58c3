"""What the Train page has drawn, read back."""

from __future__ import annotations

import json
from typing import Any

from streamlit.testing.v1 import AppTest


def lines(test: AppTest) -> dict[str, dict[str, Any]]:
    """The curves of the large chart by run."""
    spec = json.loads(test.get("plotly_chart")[0].proto.spec)
    return {trace["name"]: trace for trace in spec["data"] if trace["xaxis"] == "x"}


def strips(test: AppTest) -> dict[str, list[dict[str, Any]]]:
    """The frames that the grids were given, by run."""
    found = [c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_strips"]
    return {run["name"]: run["frames"] for strip in found for run in json.loads(strip.json)["runs"]}


def table(test: AppTest) -> dict[str, str]:
    rows = test.table[0].value
    return {n: v.replace("\\", "") for n, v in zip(rows["name"], rows["value"], strict=True)}
