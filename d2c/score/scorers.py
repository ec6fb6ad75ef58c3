"""The frozen model that scores: found by name, by run, by path, in a diffusers folder or on the hub.

    digits                          shipped with d2c
    dit-xl-2-256                    a released checkpoint (`d2c.diffusion.pretrained`), downloaded when first used
    runs/NAME                       a run of this workspace
    FILE.safetensors, .pt, .pth     a checkpoint of d2c, or a foreign one in DiT's layout with its convention
    FOLDER, hf:ORG/NAME             diffusers' DiTTransformer2DModel or DiTPipeline, or a text-to-image pipeline

`locate` says what is meant and downloads nothing, `Located.ready` fetches what is missing, `open_scorer` loads.
Free of torch until then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from d2c import download
from d2c.artifacts import Artifact, Workspace
from d2c.diffusion import diffusers_dit, pipelines, shapes
from d2c.diffusion.config import METADATA, ModelConfig, read_header
from d2c.diffusion.pipelines import Text2ImageConfig
from d2c.diffusion.pretrained import RELEASES, Release
from d2c.errors import D2CError, UsageError

if TYPE_CHECKING:
    from d2c.diffusion.dit import DiT

_PACKAGE = Path(__file__).resolve().parents[1]
# A checkout keeps the shipped scorers among its assets, a wheel inside the package.
SHIPPED = (_PACKAGE.parent / "assets" / "scorer", _PACKAGE / "_scorer")
#: endings of files that hold weights.
FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
#: the option that names a local file in place of a release's download.
FLAG = "--weights"


@dataclasses.dataclass(frozen=True)
class Located:
    """A scorer's weights. `name` says which it is without saying where; `path` is a file, or a diffusers folder.

    `source` says where it comes from: an address, `file NAME`, a hub's ORG/NAME@COMMIT. `licence` is empty where
    nobody states one. `kind` is "class" for a model conditioned on classes, "text" for one conditioned on captions.
    """

    name: str
    path: Path
    run: Artifact | None = None
    kind: str = "class"
    licence: str = ""
    source: str = ""
    release: Release | None = None
    convention: str = ""  # dit, sit or repa of a checkpoint that does not say so itself
    hub: str = ""  # ORG/NAME[@REVISION]

    @property
    def here(self) -> bool:
        """Whether the weights are on this machine, so that `ready` has nothing to fetch."""
        if self.kind == "text":
            return pipelines.find(self.path) is not None
        return diffusers_dit.is_whole(self.path) if self.hub else self.path.exists()

    @property
    def described(self) -> bool:
        """Whether `config` can be told now: false for a hub's repository of which nothing is here yet."""
        return not self.hub or self.kind == "text" or diffusers_dit.has_model(self.path)

    @property
    def config(self) -> ModelConfig:
        """What the model is made of: a release's is known before the file is here.

        Raises D2CError for a file that is no DiT or SiT, or does not say its convention, and for kind "text".
        """
        if self.release is not None:
            return self.release.config
        if not self.described:
            raise D2CError(f"{self.name} is not here yet, so nothing can be said of it: scoring with it fetches it")
        if self.kind == "text":
            raise D2CError(f"scorer {self.name} is told captions: give one that is told classes")
        if self.path.is_dir():
            return diffusers_dit.describe(self.path).config
        if _is_ours(self.path):
            return read_header(self.path)[0]
        try:
            return shapes.infer(shapes.read(self.path), path=self.convention)
        except D2CError as problem:
            said = str(problem)
            raise type(problem)(said if str(self.path) in said else f"{self.path}: {said}") from None

    @property
    def model(self) -> ModelConfig | Text2ImageConfig:
        """What the model is made of, of either kind."""
        return pipelines.config_of(self.path) if self.kind == "text" else self.config

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes by label, or () for a checkpoint that does not say."""
        if self.kind == "text":
            return ()
        if self.path.is_dir():
            return diffusers_dit.describe(self.path).classes
        if not self.path.is_file() or not _is_ours(self.path):
            return ()
        return tuple(read_header(self.path)[1].get("classes", ()))

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, 64 hex digits: taken once, see `d2c.download.digest`.

        Of several files it is that of their digests and names. Raises D2CError when they are not here yet.
        """
        if not self.here:
            raise D2CError(
                f"the weights of scorer {self.name} are not here yet: scoring with it (d2c score) fetches them, and so "
                "does Located.ready"
            )
        if self.kind == "text":
            return pipelines.digest_of_pipeline(self.path)
        if self.path.is_file():
            return download.digest(self.path)
        files = diffusers_dit.weight_files(diffusers_dit.describe(self.path).place)
        if len(files) == 1:
            return download.digest(files[0])
        lines = "".join(f"{download.digest(file)}  {file.name}\n" for file in files)
        return hashlib.sha256(lines.encode()).hexdigest()

    def ready(self, quiet: bool = False) -> Located:
        """The same scorer with its weights on this machine, downloaded if need be; says its licence.

        Raises D2CError in one line when they cannot be had, and Cancelled when the user has asked to stop.
        """
        found = self
        if self.release is not None and self.path == download.cache_folder() / self.release.file:
            download.download(self.release.address, self.path, sha256=self.release.sha256, flag=FLAG, quiet=quiet)
        elif self.hub and not self.here:
            from d2c.score.hub import fetch_folder

            found = _on_hub(self.hub, fetch_folder(self.hub))
        if found.licence and (found.release or found.hub) and not quiet:
            home = found.release.homepage if found.release else found.source
            tqdm.write(f"scorer {found.name}: licence {found.licence}, {home}", file=sys.stderr)
        return found


def shipped() -> dict[str, Path]:
    """The scorers that come with d2c, by name."""
    files = [f for folder in SHIPPED for f in sorted(folder.glob("*.safetensors"))]
    return {f.stem: f for f in reversed(files)}


def locate(
    reference: Artifact | Path | str,
    workspace: Workspace | Path | str | None = None,
    weights: Path | str = "",
    path: str = "",
) -> Located:
    """The scorer meant, by any of the ways above. Downloads nothing, hashes nothing, and is free of torch.

    `weights` is a local file in place of a release's download; `path` the convention (dit, sit or repa) of a
    foreign checkpoint, which nothing in the file tells. Raises D2CError listing what there is when nothing fits,
    and for a run that is a classifier, and UsageError for options that do not go
    with the scorer.
    """
    text = str(reference)
    if not isinstance(reference, Artifact) and text not in shipped() and text in RELEASES:
        return _released(RELEASES[text], weights, path)
    if weights:
        raise UsageError(
            f"{FLAG} takes the place of a release's download ({', '.join(RELEASES)}): give the file as the scorer"
        )
    found = _named(reference, workspace, path)
    if path and not found.convention:
        says = found.config.path if found.described else path
        if says != path:
            raise UsageError(f"scorer {found.name} is on path {says}, not {path}: leave the path out")
    return found


def _named(reference: Artifact | Path | str, workspace: Workspace | Path | str | None, path: str) -> Located:
    """Everything but a release."""
    if not isinstance(reference, Artifact):
        text, file = str(reference), Path(reference).expanduser().absolute()
        if text in shipped():
            return Located(text, shipped()[text], licence="Apache-2.0", source="shipped with d2c")
        if text.startswith("hf:"):
            from d2c.score.hub import cached, repository_of

            return _on_hub(repository_of(text), cached(repository_of(text)))
        if text.endswith(FILES):
            if not file.is_file():
                raise D2CError(f"no scorer at {file}: give a path to a .safetensors, a run, or a shipped name")
            convention = "" if _is_ours(file) else path
            return Located(file.stem, file, source=f"file {file.name}", convention=convention)
        if pipelines.of_text(file):
            return Located(file.name, file, kind="text", source=f"folder {file.name}")
        if diffusers_dit.is_folder(file):
            found = diffusers_dit.describe(file)
            return Located(file.name, file, licence=found.licence, source=f"folder {file.name}")
    ws = Workspace.at(workspace)
    try:
        run = ws.resolve(reference, "runs")
    except D2CError:
        if isinstance(reference, Artifact):
            raise
        raise D2CError(f"no scorer {str(reference)!r}; there is: {', '.join(known(ws)) or 'nothing yet'}") from None
    weights = run.path / "ema.safetensors"
    if run.facts.get("task", "generate") != "generate" or not weights.is_file():
        raise D2CError(f"runs/{run.name} is no diffusion model, so it cannot score; there is: {', '.join(known(ws))}")
    return Located(f"runs/{run.name}", weights, run, source=f"runs/{run.name}")


def known(workspace: Workspace | Path | str | None = None) -> list[str]:
    """Every scorer that can be given by name: the shipped ones, the workspace's generators, then the releases."""
    runs = [a.name for a in Workspace.at(workspace).list("runs") if a.facts.get("task", "generate") == "generate"]
    return [*sorted(shipped()), *(f"runs/{name}" for name in runs), *RELEASES]


def open_scorer(
    reference: Located | Artifact | Path | str, workspace: Workspace | Path | str | None = None, device: str = "cpu"
) -> DiT:
    """The model, in eval mode on a device; downloads it if `ready` has not.

    Raises D2CError as `locate` and `ready` do, or when the weights do not fit. Nothing but tensors is unpickled.
    """
    from d2c.device import pick
    from d2c.diffusion.checkpoints import load_model

    found = reference if isinstance(reference, Located) else locate(reference, workspace)
    found = found if found.here else found.ready()
    if found.path.is_dir():
        return diffusers_dit.load(diffusers_dit.describe(found.path), pick(device))
    expected = found.release.config if found.release else None
    if _is_ours(found.path):
        return load_model(found.path, device, expected=expected)
    config = found.config
    return load_model(
        found.path, device, name=config.name, path=config.path, autoencoder=config.autoencoder, expected=expected
    )


def _released(release: Release, weights: Path | str, path: str) -> Located:
    if path not in ("", release.path):
        raise UsageError(f"scorer {release.name} is on path {release.path}, not {path}: leave the path out")
    file, source = download.cache_folder() / release.file, release.address
    if weights:
        file = Path(weights).expanduser().absolute()
        if not file.is_file():
            raise D2CError(f"{FLAG} {weights}: no such file")
        source = f"file {file.name}"
    return Located(release.name, file, licence=release.licence, source=source, release=release)


def _on_hub(repository: str, folder: Path | None) -> Located:
    """A hub's repository, `folder` being where the cache has it."""
    from d2c.attach.weights import source_of
    from d2c.score.hub import SCHEME

    name, licence, source = SCHEME + repository, "", f"https://huggingface.co/{repository.partition('@')[0]}"
    if folder is None:
        return Located(name, Path(name), source=source, hub=repository)
    if pipelines.of_text(folder):
        source = source_of(folder / pipelines.INDEX, given=False)
        return Located(name, folder, kind="text", licence=diffusers_dit.licence(folder), source=source, hub=repository)
    if diffusers_dit.has_model(folder):
        licence = diffusers_dit.describe(folder).licence
    source = source_of(folder / diffusers_dit.CONFIG, given=False)
    return Located(name, folder, licence=licence, source=source, hub=repository)


def _is_ours(file: Path) -> bool:
    """Whether a file is a checkpoint that d2c wrote. One that cannot be read is: its reading then says why."""
    if file.suffix != ".safetensors":
        return False
    with contextlib.suppress(SafetensorError, OSError), safe_open(file, "numpy") as handle:
        return METADATA in (handle.metadata() or {})
    return True
