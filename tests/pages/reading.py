"""What a page that was run says and shows."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from d2c.artifacts import Artifact


def tiles(test: AppTest, which: int = 0) -> list[list[object]]:
    """The tiles that the first (or another) gallery was given: id, source, caption, title, chosen, dimmed, group."""
    galleries = [c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery"]
    found: list[list[object]] = json.loads(galleries[which].json)["tiles"]
    return found


def numbers(values: object) -> list[float]:
    """What a trace holds on an axis, packed or not."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).astype(float).tolist()
    return [float(v) for v in values]  # type: ignore[attr-defined]


def said(test: AppTest) -> str:
    """All Markdown of a page, without its escapes."""
    return "\n".join(m.value for m in test.markdown).replace("\\", "")


def captions(test: AppTest) -> str:
    """All small print of a page, without its escapes."""
    return "\n".join(c.value for c in test.caption).replace("\\", "")


def traces(test: AppTest, chart: int) -> dict[str, dict[str, object]]:
    """A chart's traces that carry a name."""
    spec = json.loads(test.get("plotly_chart")[chart].proto.spec)
    return {trace["name"]: trace for trace in spec["data"] if trace.get("fill") != "toself"}


def note(artifact: Artifact, **facts: Any) -> None:
    """Put facts into an artifact's record, over those that are there."""
    file = artifact.path / "artifact.json"
    record = json.loads(file.read_text())
    record["facts"] |= facts
    file.write_text(json.dumps(record))


def put(artifact: Artifact, **arrays: np.ndarray) -> None:
    """Put arrays into an artifact's table of errors, over those that are there."""
    file = artifact.path / "errors.safetensors"
    with safe_open(file, framework="numpy") as opened:
        found, metadata = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
    save_file(found | arrays, file, metadata)
