"""Make the scorer that ships with d2c: a SiT-Ti/2 on all 1,797 digits, averaged weights in half precision.

    python benchmarks/make_scorer.py [--device cpu] [--out assets/scorer]

Writes digits.safetensors and, beside it, digits.json with the recipe.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

from d2c.artifacts import Artifact
from d2c.data import ingest
from d2c.train import PRESETS, train

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python benchmarks/make_scorer.py"


def pack(run: Artifact, out: Path) -> None:
    """Store a run's averaged weights as fp16 with the recipe beside them; `load_model` gives fp32 back."""
    from d2c.diffusion.checkpoints import load_model, save_model

    model = load_model(run.path / "ema.safetensors")
    out.mkdir(parents=True, exist_ok=True)
    file = out / "digits.safetensors"
    save_model(file, model.half(), {"classes": run.json("classes.json"), "steps": run.facts["steps"]})
    record = {
        "command": COMMAND,
        "data": "demo:digits, all 1,797 images",
        "recipe": dict(run.recipe),
        "facts": dict(run.facts),
        "versions": run.record["versions"],
        "device": run.record["device"],
        "wall_seconds": run.record["wall_seconds"],
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    (out / "digits.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Train, then pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "scorer")
    parser.add_argument("--workspace", type=Path, help="keep the run here (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        workspace = given.workspace or Path(scratch)
        data = ingest("demo:digits", workspace=workspace)
        pack(train(data, workspace=workspace, device=given.device, **PRESETS["scorer"]), given.out)


if __name__ == "__main__":
    main()
