"""Functions of the app's browser parts, run by node: what has no screen can be checked without one."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from app.places import ROOT

PARTS = ROOT / "app" / "parts"


def run(file: str, body: str, given: Any = None) -> Any:
    """What `body` returns, seeing the functions of app/parts/<file> and `given`; skips without node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    source = (PARTS / file).read_text()
    script = f"{source}\nconst given = JSON.parse(require('fs').readFileSync(0, 'utf8'))\n"
    script += f"process.stdout.write(JSON.stringify((() => {{ {body} }})()))"
    done = subprocess.run([node, "-e", script], input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
