"""The workspace: one folder an artifact, whole or absent, with the recipe that made it.

    WORKSPACE/<kind>/<name>/artifact.json   plus the files of its kind (tables Parquet, arrays safetensors)

An artifact is written beside its place in a partial folder, flushed and renamed, so a listed artifact is
always complete. The fingerprint is SHA-256 over the recipe and the parents' fingerprints: the same recipe
on the same parents is found and not computed again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2c import energy
from d2c.config import execution_of, recipe_of
from d2c.errors import Cancelled, D2CError
from d2c.naming import KINDS, SCHEMA, SLUG, fingerprint_of, known_kind, slug, slugify
from d2c.partial import (
    Build,
    commit,
    completed,
    difference,
    forget_if_empty,
    lock,
    note_elapsed,
    restore,
    room,
    size,
    sweep,
    take_over,
    write_record,
)
from d2c.progress import Progress
from d2c.provenance import resources, versions

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["KINDS", "Artifact", "Build", "Workspace", "fingerprint_of", "produce", "slug", "slugify"]
_REQUIRED = {"schema", "kind", "name", "recipe", "parents", "fingerprint", "created"}


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A finished artifact folder. Cheap to make and to pass around; reads its files when asked."""

    path: Path
    record: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """One of KINDS."""
        return str(self.record["kind"])

    @property
    def name(self) -> str:
        """The folder's name, which is what it goes by in this workspace."""
        return self.path.name

    @property
    def fingerprint(self) -> str:
        """SHA-256 over recipe and parents' fingerprints, 64 hex digits; 12 are shown."""
        return str(self.record["fingerprint"])

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The configuration that decides the content, seeds included."""
        return dict(self.record["recipe"])

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the verb found out and a page may want to say (counts, reliability, warnings)."""
        return dict(self.record.get("facts", {}))

    @property
    def workspace(self) -> Workspace:
        """The workspace this artifact lies in."""
        return Workspace(self.path.parent.parent)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A Parquet table of this artifact."""
        import pandas as pd

        with self._reading(name) as path:
            return pd.read_parquet(path, columns=list(columns) if columns is not None else None)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """A safetensors file of this artifact as NumPy arrays (bfloat16 is not a NumPy type: use torch)."""
        from safetensors.numpy import load_file

        with self._reading(name) as path:
            return load_file(path)

    def json(self, name: str) -> Any:
        """A JSON file of this artifact."""
        with self._reading(name) as path:
            return json.loads(path.read_text())

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        from safetensors import SafetensorError

        try:
            yield self.path / name
        except FileNotFoundError:
            raise D2CError(f"{self.path} lacks {name}: copy the folder again, or make it again with --force") from None
        except (OSError, ValueError, SafetensorError) as problem:
            why = str(problem).splitlines()[0][:120] if str(problem) else type(problem).__name__
            raise D2CError(f"{self.path / name} cannot be read ({why}): copy or make it again") from None

    def parent(self, kind: str) -> Artifact:
        """The nearest ancestor of a kind, looked up in this workspace by fingerprint.

        A run's data comes first: the run it began with may have other. Raises D2CError when it was not copied along.
        """
        queue = list(self.record["parents"][: 1 if self.kind == "runs" != kind else None])
        while queue:
            entry = queue.pop(0)
            found = self.workspace.by_fingerprint(entry["kind"], entry["fingerprint"])
            if entry["kind"] == kind:
                if found is None:
                    raise D2CError(
                        f"{self.kind}/{self.name} was made from {kind}/{entry['name']} "
                        f"({entry['fingerprint'][:12]}), which is not in {self.workspace.root}: copy it there"
                    )
                return found
            if found is not None:
                queue.extend(found.record["parents"][: 1 if found.kind == "runs" != kind else None])
        missing = next((f"{p['kind']}/{p['name']}" for p in self.record["parents"]), "")
        raise D2CError(
            f"{self.kind}/{self.name} leads to none of the {kind} in {self.workspace.root}"
            + (f": copy {missing} there, and what that was made from" if missing else "")
        )


@dataclasses.dataclass(frozen=True)
class Workspace:
    """A folder of artifacts. Nothing is made on disk until something is written."""

    root: Path

    @staticmethod
    def at(where: Workspace | Path | str | None = None) -> Workspace:
        """The workspace at a path; without one, $D2C_WORKSPACE or ./workspace."""
        if isinstance(where, Workspace):
            return where
        return Workspace(Path(where or os.environ.get("D2C_WORKSPACE") or "workspace").expanduser().absolute())

    def folder(self, kind: str, name: str) -> Path:
        """Where an artifact of this kind and name lies or would lie."""
        return self.root / known_kind(kind) / slug(name)

    def partial(self, kind: str, name: str) -> Path:
        """Where it is while it is being made. The leading dot keeps it apart from every slug."""
        return self.root / known_kind(kind) / f".partial-{slug(name)}"

    def find(self, kind: str, name: str) -> Artifact | None:
        """The artifact of this kind and name, or None."""
        return _read(self.folder(kind, name))

    def list(self, kind: str) -> list[Artifact]:
        """All finished artifacts of a kind, oldest first. Damaged ones are left out: `find` says what is wrong."""
        folder = self.root / known_kind(kind)
        found = []
        for name in sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []:
            with contextlib.suppress(D2CError):
                if SLUG.fullmatch(name) and (artifact := _read(folder / name)) is not None:
                    found.append(artifact)
        return sorted(found, key=lambda a: (str(a.record["created"]), a.name))

    def by_fingerprint(self, kind: str, fingerprint: str) -> Artifact | None:
        """The artifact of a kind whose fingerprint begins so, or None."""
        return next((a for a in self.list(kind) if a.fingerprint.startswith(fingerprint)), None)

    def resolve(self, reference: Artifact | Path | str, kinds: str | Sequence[str]) -> Artifact:
        """The artifact meant by a name, `kind/name`, a fingerprint's first digits (≥ 6) or a folder.

        Raises D2CError naming what there is when nothing fits.
        """
        kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
        if isinstance(reference, Artifact):
            return _expect(reference, kinds)
        text = str(reference)
        whole = os.sep in text and (Path(text) / "artifact.json").is_file()
        if whole and (found := _read(Path(text).absolute())) is not None:
            return _expect(found, kinds)
        kind, _, rest = text.partition("/")
        if rest and kind in kinds:
            kinds, text = (kind,), rest
        for each in kinds:
            if SLUG.fullmatch(text) and (found := self.find(each, text)) is not None:
                return found
        if re.fullmatch(r"[0-9a-f]{6,64}", text):
            for each in kinds:
                if (found := self.by_fingerprint(each, text)) is not None:
                    return found
        there = [f"{k}/{a.name}" for k in kinds for a in self.list(k)]
        listed = ", ".join(there[:8]) + (", …" if len(there) > 8 else "")
        raise D2CError(f"no {' or '.join(kinds)} called {text!r} in {self.root}; there is: {listed or 'nothing yet'}")


def produce(
    workspace: Workspace,
    kind: str,
    config: Any,
    write: Callable[[Build], None],
    *,
    stem: str,
    name: str | None = None,
    parents: Sequence[Artifact] = (),
    extra: Mapping[str, Any] | None = None,
    force: bool = False,
    quiet: bool = False,
) -> Artifact:
    """Find the artifact of this recipe, or make it: the one way artifacts come into being.

    `extra` joins the recipe beside the configuration (a resolved precision, a source's digest).
    Without a `name` it is called `<stem>-<6 digits of the fingerprint>`. `write` is called only when
    there is something to compute; a partial folder that an interrupted attempt with the same recipe
    left behind is handed to it again.

    Raises D2CError when the name is taken by another recipe, another process is making it, or the disk is full.
    """
    recipe = {**recipe_of(config), **(extra or {})}
    lineage = [{"kind": p.kind, "name": p.name, "fingerprint": p.fingerprint} for p in parents]
    fingerprint = fingerprint_of(recipe, [p.fingerprint for p in parents])
    if name is None:
        name = f"{stem[:57]}-{fingerprint[:6]}"
    partial, final = workspace.partial(kind, name), workspace.folder(kind, name)
    restore(partial, final)
    named = workspace.find(kind, name)
    if not force:
        found = named if named and named.fingerprint == fingerprint else workspace.by_fingerprint(kind, fingerprint)
        if found is not None:
            return found
        if named is not None:
            raise D2CError(
                f"{kind}/{name} is there already with another recipe ({difference(named.recipe, recipe)}): "
                "give another --name, or --force to replace it"
            )
    with room(workspace.root, f"{kind}/{name}"), lock(partial):
        record = None if force else completed(partial, fingerprint)
        if record is None:
            started = take_over(partial, kind, name, recipe, fingerprint, force)
            build = Build(partial, Progress(partial, quiet=quiet, elapsed_before=started))
            meter = energy.Meter(partial)
            try:
                write(build)
            except D2CError as refused:
                if not isinstance(refused, Cancelled):
                    forget_if_empty(partial)  # a refused command leaves its name free
                raise
            finally:
                build.progress.close()
                note_elapsed(partial, build.progress.elapsed)
                spent = meter.stop(build.device, build.devices)
            record = {
                "schema": SCHEMA,
                "kind": kind,
                "name": name,
                "recipe": recipe,
                "execution": execution_of(config),
                "parents": lineage,
                "fingerprint": fingerprint,
                "versions": versions(),
                **resources(build.device, build.progress.elapsed, build.devices),
                **spent,
                "bytes": size(partial),
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "facts": build.facts,
            }
            write_record(partial, record)
        sweep(partial)
        commit(partial, final)
    return Artifact(final, record)


def _read(folder: Path) -> Artifact | None:
    try:
        record = json.loads((folder / "artifact.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise D2CError(f"{folder / 'artifact.json'} cannot be read ({problem}): restore or delete the folder") from None
    if not isinstance(record, dict) or not set(record) >= _REQUIRED:
        raise D2CError(f"{folder / 'artifact.json'} is not the record of an artifact: restore or delete the folder")
    if record.get("schema") != SCHEMA:
        raise D2CError(f"{folder} has schema {record.get('schema')}, this d2c reads {SCHEMA}: make it again")
    return Artifact(folder, record)


def _expect(artifact: Artifact, kinds: Sequence[str]) -> Artifact:
    if artifact.kind not in kinds:
        raise D2CError(f"{artifact.kind}/{artifact.name} is not one of {' or '.join(kinds)}")
    return artifact
