import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import save_file

from d2c.artifacts import Workspace, produce
from d2c.config import option

CLASSES = ["zero", "one", "two"]
PER_CLASS = 4


def write_images(folder, labels, sides):
    draws = np.random.default_rng(0)
    rows = []
    for sample_id, (label, side) in enumerate(zip(labels, sides, strict=True)):
        pixels = (draws.random((side, side)) * 60 + 60 * label).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        file = f"images/{label}/{sample_id}.png"
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(buffer.getvalue())
        rows.append((sample_id, file, 0, -1))
    columns = ["sample_id", "file", "offset", "length"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "images.parquet", index=False)


def make(workspace, kind, *, text=True, vision=True, meaningful=True, labels=None, side=8, name="tiny"):
    """A hand-written condensed set or data set of grey images."""
    import dataclasses

    labels = list(np.repeat(range(3), PER_CLASS)) if labels is None else labels

    @dataclasses.dataclass(frozen=True)
    class Config:
        salt: str = option(f"{kind}-{text}-{vision}-{meaningful}-{labels}-{side}", "")

    def write(build):
        write_images(build.folder, labels, [side] * len(labels))
        (build.folder / "classes.json").write_text(json.dumps(CLASSES))
        table = pd.DataFrame({"sample_id": np.arange(len(labels)), "label": np.array(labels, np.int32)})
        if kind == "condensed":
            table.to_parquet(build.folder / "subset.parquet", index=False)
        else:
            table["width"] = table["height"] = np.int32(side)
            table.to_parquet(build.folder / "samples.parquet", index=False)
        draws = np.random.default_rng(1)
        build.note(channels=1)
        if kind == "condensed" and text:
            tokens = draws.standard_normal((3, 4, 6)).astype(np.float16)
            save_file({"tokens": tokens, "mask": np.ones((3, 4), bool)}, build.folder / "text.safetensors")
            build.note(text={"encoder": "hash", "meaningful": meaningful})
        if kind == "condensed" and vision:
            tokens = draws.standard_normal((len(labels), 16, 5)).astype(np.float16)
            save_file({"tokens": tokens}, build.folder / "vision-scorer.safetensors")
            build.note(vision={"encoder": "scorer", "grid": 4, "dim": 5})

    return produce(workspace, kind, Config(), write, stem=name, name=name, quiet=True)


@pytest.fixture
def shop(tmp_path):
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def made(shop):
    """Makes data by hand in the test's workspace: `made("condensed", text=False)`."""
    return lambda kind="condensed", **options: make(shop, kind, **options)


TINY = {
    "model": "SiT-Ti/8",  # 16 px in 4 tokens
    "steps": 12,
    "batch": 4,
    "log_every": 3,
    "sample_every": 0,
    "checkpoint_every": 4,
    "device": "cpu",
    "precision": "fp32",
    "quiet": True,
}


@pytest.fixture
def tiny():
    """Options of a run that takes a second."""
    return dict(TINY)
