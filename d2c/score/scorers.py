"""The frozen model that scores: found by name, by run, or by path."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from d2c.artifacts import Artifact, Workspace
from d2c.diffusion.config import METADATA, ModelConfig, read_header
from d2c.errors import D2CError

if TYPE_CHECKING:
    from d2c.diffusion.dit import DiT

_PACKAGE = Path(__file__).resolve().parents[1]
# A checkout keeps the shipped scorers among its assets, a wheel inside the package.
SHIPPED = (_PACKAGE.parent / "assets" / "scorer", _PACKAGE / "_scorer")


@dataclasses.dataclass(frozen=True)
class Located:
    """A scorer's weights. `name` says which it is without saying where; `digest` is SHA-256 of the file."""

    name: str
    path: Path
    digest: str
    run: Artifact | None = None

    @property
    def config(self) -> ModelConfig:
        """What the model is made of, from the file's header. Raises D2CError for a file without one."""
        with contextlib.suppress(SafetensorError, OSError), safe_open(self.path, "numpy") as handle:
            if METADATA not in (handle.metadata() or {}):
                raise D2CError(
                    f"{self.path} does not say which model it is: write it anew with d2c.diffusion.checkpoints, "
                    "save_model(new, load_model(old, name='DiT-XL/2'))"
                )
        return read_header(self.path)[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes by label, or () for a checkpoint that does not say."""
        return tuple(read_header(self.path)[1].get("classes", ()))


def shipped() -> dict[str, Path]:
    """The scorers that come with d2c, by name."""
    files = [f for folder in SHIPPED for f in sorted(folder.glob("*.safetensors"))]
    return {f.stem: f for f in reversed(files)}


def locate(reference: Artifact | Path | str, workspace: Workspace | Path | str | None = None) -> Located:
    """The scorer meant by a shipped name, a run (name, fingerprint or artifact) or a path to .safetensors.

    Free of torch. Raises D2CError listing what there is when nothing fits, and for a run that is a
    classifier.
    """
    if not isinstance(reference, Artifact):
        if str(reference) in shipped():
            file = shipped()[str(reference)]
            return Located(str(reference), file, digest_of(file))
        if str(reference).endswith(".safetensors"):
            file = Path(reference).expanduser().absolute()
            if not file.is_file():
                raise D2CError(f"no scorer at {file}: give a path to a .safetensors, a run, or a shipped name")
            return Located(file.stem, file, digest_of(file))
    ws = Workspace.at(workspace)
    try:
        run = ws.resolve(reference, "runs")
    except D2CError:
        if isinstance(reference, Artifact):
            raise
        raise D2CError(f"no scorer {str(reference)!r}; there is: {', '.join(known(ws)) or 'nothing yet'}") from None
    file = run.path / "ema.safetensors"
    if run.facts.get("task", "generate") != "generate" or not file.is_file():
        raise D2CError(f"runs/{run.name} is no diffusion model, so it cannot score; there is: {', '.join(known(ws))}")
    return Located(f"runs/{run.name}", file, digest_of(file), run)


def known(workspace: Workspace | Path | str | None = None) -> list[str]:
    """Every scorer that can be given by name: the shipped ones, then the workspace's generators."""
    runs = [a.name for a in Workspace.at(workspace).list("runs") if a.facts.get("task", "generate") == "generate"]
    return [*sorted(shipped()), *(f"runs/{name}" for name in runs)]


def open_scorer(
    reference: Located | Artifact | Path | str, workspace: Workspace | Path | str | None = None, device: str = "cpu"
) -> DiT:
    """The model, in eval mode on a device. Raises D2CError as `locate` does, or when the weights do not fit."""
    from d2c.diffusion.checkpoints import load_model

    found = reference if isinstance(reference, Located) else locate(reference, workspace)
    return load_model(found.path, device)


def digest_of(file: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
