import errno
import json
import multiprocessing
import os
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import save_file

from d2c.artifacts import Artifact, Build, Workspace, fingerprint_of, produce, slug, slugify
from d2c.config import option
from d2c.errors import Cancelled, D2CError


@dataclass(frozen=True)
class Config:
    k: int = option(1, "A number")
    workers: int = option(1, "Not part of the result", identity=False)


def make(workspace: Workspace, config: Config = Config(), kind: str = "maps", **options: object) -> Artifact:
    calls = options.pop("calls", [])

    def write(build: Build) -> None:
        calls.append(config.k)
        (build.folder / "value.json").write_text(json.dumps(config.k))
        build.note(value=config.k)

    return produce(workspace, kind, config, write, stem="thing", quiet=True, **options)


def test_the_record_says_what_was_done(workspace: Workspace) -> None:
    made = make(workspace, Config(k=3))
    record = json.loads((made.path / "artifact.json").read_text())
    assert record == made.record
    assert record["recipe"] == {"k": 3}
    assert record["execution"] == {"workers": 1}
    assert record["fingerprint"] == fingerprint_of({"k": 3}, [])
    assert {"schema", "versions", "device", "wall_seconds", "device_seconds", "peak_memory", "bytes", "created"} <= set(
        record
    )
    assert sorted(p.name for p in made.path.iterdir()) == ["artifact.json", "value.json"]


def test_the_same_recipe_is_found_not_computed(workspace: Workspace) -> None:
    calls: list[int] = []
    first = make(workspace, calls=calls)
    again = make(workspace, Config(workers=7), calls=calls)
    assert (first.path, calls) == (again.path, [1])
    make(workspace, calls=calls, force=True)
    assert calls == [1, 1]


def test_a_parent_changes_the_fingerprint(workspace: Workspace) -> None:
    one, two = make(workspace, Config(k=1)), make(workspace, Config(k=2))
    children = [make(workspace, Config(k=9), kind="reports", parents=[p]) for p in (one, two)]
    assert len({c.fingerprint for c in children}) == 2
    assert children[0].parent("maps").path == one.path


def test_the_data_of_a_run_is_not_that_of_the_run_it_began_with(workspace: Workspace) -> None:
    other, own = make(workspace, Config(k=1), kind="datasets"), make(workspace, Config(k=2), kind="datasets")
    first = make(workspace, Config(k=3), kind="runs", parents=[other])
    subset = make(workspace, Config(k=4), kind="subsets", parents=[own])
    condensed = make(workspace, Config(k=5), kind="condensed", parents=[subset])
    run = make(workspace, Config(k=6), kind="runs", parents=[condensed, first])
    assert run.parent("datasets").fingerprint == own.fingerprint
    assert make(workspace, Config(k=7), kind="samples", parents=[run]).parent("datasets").name == own.name
    assert run.parent("runs").fingerprint == first.fingerprint


def test_a_taken_name_is_refused_and_kept(workspace: Workspace) -> None:
    make(workspace, Config(k=1), name="mine")
    with pytest.raises(D2CError, match="k: 1 → 2"):
        make(workspace, Config(k=2), name="mine")
    assert workspace.find("maps", "mine").json("value.json") == 1
    assert make(workspace, Config(k=2), name="mine", force=True).json("value.json") == 2
    assert [p.name for p in (workspace.root / "maps").iterdir() if not p.name.startswith(".lock")] == ["mine"]


def test_an_interrupted_artifact_is_not_listed_and_goes_on(workspace: Workspace) -> None:
    seen: list[list[str]] = []

    def write(build: Build) -> None:
        seen.append(sorted(p.name for p in build.folder.glob("part-*")))
        (build.folder / f"part-{len(seen)}").write_text("x")
        if len(seen) == 1:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        produce(workspace, "maps", Config(), write, stem="thing", name="a", quiet=True)
    assert workspace.list("maps") == []
    with pytest.raises(D2CError, match="unfinished maps/a with another recipe"):
        make(workspace, Config(k=5), name="a")
    produce(workspace, "maps", Config(), write, stem="thing", name="a", quiet=True)
    assert seen == [[], ["part-1"]]
    assert [a.name for a in workspace.list("maps")] == ["a"]


def hold(root: Path, ready: object, done: object) -> None:
    def write(build: Build) -> None:
        ready.set()
        done.wait(20)

    produce(Workspace(root), "maps", Config(), write, stem="thing", name="a", quiet=True)


def test_two_processes_do_not_make_the_same_thing(workspace: Workspace) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(workspace.root, ready, done))
    other.start()
    assert ready.wait(20)
    with pytest.raises(D2CError, match="being made by another process"):
        make(workspace, name="a")
    done.set()
    other.join(20)
    assert make(workspace, name="a").name == "a"


def test_a_copied_folder_opens_elsewhere(workspace: Workspace, tmp_path: Path) -> None:
    parent = make(workspace, Config(k=1))
    child = make(workspace, Config(k=2), kind="reports", parents=[parent], name="child")
    elsewhere = Workspace(tmp_path / "elsewhere")
    shutil.copytree(child.path, elsewhere.root / "reports" / "child")
    copied = elsewhere.resolve("child", "reports")
    assert copied.json("value.json") == 2
    with pytest.raises(D2CError, match="copy it there"):
        copied.parent("maps")


def test_references(workspace: Workspace) -> None:
    made = make(workspace, name="abc")
    for reference in ("abc", "maps/abc", made.fingerprint[:12], str(made.path), made):
        assert workspace.resolve(reference, ("maps", "reports")).path == made.path
    with pytest.raises(D2CError, match="there is: maps/abc"):
        workspace.resolve("abd", "maps")
    with pytest.raises(D2CError, match="not one of reports"):
        workspace.resolve(made, "reports")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "-a", "a" * 65, "ä", "a b"])
def test_names_that_are_not_slugs_are_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(D2CError, match="not a name"):
        workspace.folder("maps", name)


@given(st.text(max_size=200))
def test_slugify_gives_slugs(text: str) -> None:
    assert slug(slugify(text))


def test_slugify_keeps_letters_with_accents() -> None:
    assert slugify("Übung läuft, café 1") == "ubung-lauft-cafe-1"


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), max_size=5))
def test_the_fingerprint_does_not_depend_on_key_order(recipe: dict[str, object]) -> None:
    assert fingerprint_of(recipe, ["p"]) == fingerprint_of(dict(reversed(recipe.items())), ["p"])
    assert fingerprint_of(recipe, ["p"]) != fingerprint_of(recipe, ["q"])


def test_a_broken_record_is_named(workspace: Workspace) -> None:
    made = make(workspace, name="a")
    (made.path / "artifact.json").write_text("{")
    with pytest.raises(D2CError, match="cannot be read"):
        workspace.find("maps", "a")
    record = dict(made.record) | {"schema": 99}
    (made.path / "artifact.json").write_text(json.dumps(record))
    with pytest.raises(D2CError, match="schema 99"):
        workspace.find("maps", "a")


def test_the_workspace_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("D2C_WORKSPACE", str(tmp_path / "here"))
    assert Workspace.at().root == tmp_path / "here"
    monkeypatch.delenv("D2C_WORKSPACE")
    monkeypatch.chdir(tmp_path)
    assert Workspace.at().root == Path(os.path.realpath(tmp_path)) / "workspace"


def test_nothing_finished_is_lost_before_the_last_rename(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    calls: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr("d2c.artifacts.commit", full)
        with pytest.raises(D2CError, match="is full while maps/a was being made"):
            make(workspace, name="a", calls=calls)
    assert workspace.list("maps") == []
    assert make(workspace, name="a", calls=calls).json("value.json") == 1
    assert calls == [1]


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("problem", FULL, ids=["disk", "quota", "safetensors"])
@pytest.mark.parametrize("where", ["write", "recipe.json", ".artifact.json"])
def test_a_full_disk_is_said_in_one_line(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, problem: Exception, where: str
) -> None:
    seen: list[bool] = []
    plain = Path.write_text

    def full(path: Path, text: str, **options: object) -> int:
        if path.name in (where, "elapsed") or "progress.json" in path.name:
            raise problem if path.name == where else FULL[0]
        return plain(path, text, **options)

    def write(build: Build) -> None:
        seen.append((build.folder / "part").exists())
        (build.folder / "part").touch()
        if where == "write" and len(seen) == 1:
            raise problem
        build.progress.stage("work", total=1)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(D2CError) as caught:
            produce(workspace, "maps", Config(), write, stem="thing", name="a", quiet=True)
    assert str(caught.value) == (
        f"the disk of {workspace.root} is full while maps/a was being made: make room there; the same command then "
        "goes on"
    )
    assert workspace.list("maps") == []
    made = produce(workspace, "maps", Config(), write, stem="thing", name="a", quiet=True)
    assert seen == ([False] if where == "recipe.json" else [False, True])
    assert sorted(p.name for p in made.path.iterdir()) == ["artifact.json", "part"]


@pytest.mark.parametrize("writer", ["arrow", "python", "safetensors"])
def test_a_file_too_large_is_said_in_one_line(workspace: Workspace, writer: str) -> None:
    """The limit is the system's own; it is put back before the test ends."""
    values = np.random.default_rng(0).random(100_000)

    def write(build: Build) -> None:
        if writer == "arrow":
            pd.DataFrame({"value": values}).to_parquet(build.folder / "part")
        elif writer == "python":
            (build.folder / "part").write_bytes(values.tobytes())
        else:
            save_file({"value": values}, build.folder / "part")

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, before[1]))
    try:
        with pytest.raises(D2CError) as caught:
            produce(workspace, "maps", Config(), write, stem="thing", name="a", quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == (
        f"a file of maps/a grew larger than {workspace.root} lets it: raise the limit (ulimit -f), or take a workspace "
        "on another file system; the same command then goes on"
    )
    assert workspace.list("maps") == []
    assert produce(workspace, "maps", Config(), write, stem="thing", name="a", quiet=True).name == "a"


def test_what_arrow_cannot_write_has_a_path(workspace: Workspace) -> None:
    said = "Error writing bytes to file. Detail: [errno 5] Input/output error"

    def write(build: Build) -> None:
        raise OSError(errno.EIO, said)

    with pytest.raises(D2CError) as caught:
        produce(workspace, "maps", Config(), write, stem="thing", name="a", quiet=True)
    assert str(caught.value) == (
        f"maps/a could not be written to {workspace.root} (Input/output error): see to that disk; the same command "
        "then goes on"
    )


@pytest.mark.parametrize("problem", [OSError(errno.EACCES, "Permission denied"), RuntimeError("No space")])
def test_other_errors_are_not_taken_for_a_full_disk(workspace: Workspace, problem: Exception) -> None:
    def write(build: Build) -> None:
        raise problem

    with pytest.raises(type(problem)) as caught:
        produce(workspace, "maps", Config(), write, stem="thing", quiet=True)
    assert caught.value is problem


def test_a_replacement_that_died_between_its_renames_is_put_back(workspace: Workspace) -> None:
    made = make(workspace, name="a")
    made.path.rename(made.path.with_name(".old-a"))
    assert make(workspace, name="a", calls=(calls := [])).path == made.path
    assert calls == []


def test_an_interrupted_force_goes_on(workspace: Workspace) -> None:
    make(workspace, name="a")
    seen: list[list[str]] = []

    def write(build: Build) -> None:
        seen.append(sorted(p.name for p in build.folder.glob("part-*")))
        (build.folder / f"part-{len(seen)}").write_text("x")
        if len(seen) == 1:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        produce(workspace, "maps", Config(), write, stem="thing", name="a", quiet=True, force=True)
    assert workspace.find("maps", "a").json("value.json") == 1
    produce(workspace, "maps", Config(), write, stem="thing", name="a", quiet=True, force=True)
    assert seen == [[], ["part-1"]]


def test_a_refused_attempt_leaves_its_name_free(workspace: Workspace) -> None:
    def refuse(build: Build) -> None:
        raise D2CError("does not fit")

    with pytest.raises(D2CError, match="does not fit"):
        produce(workspace, "maps", Config(k=1), refuse, stem="thing", name="a", quiet=True)
    assert make(workspace, Config(k=2), name="a").recipe == {"k": 2}


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"schema": 1}'])
def test_a_damaged_neighbour_stops_nothing(workspace: Workspace, text: str) -> None:
    bad = make(workspace, Config(k=1), name="bad")
    (bad.path / "artifact.json").write_text(text)
    good = make(workspace, Config(k=2), name="good")
    assert [a.name for a in workspace.list("maps")] == ["good"]
    assert workspace.resolve(good.fingerprint[:12], "maps").path == good.path
    with pytest.raises(D2CError, match=r"artifact\.json"):
        workspace.resolve("bad", "maps")


def test_a_damaged_file_is_named(workspace: Workspace) -> None:
    made = make(workspace, name="a")
    for name in ("t.parquet", "t.safetensors", "t.json"):
        (made.path / name).write_bytes(b"PAR1 no more")
        read = {".parquet": made.table, ".json": made.json}.get(Path(name).suffix, made.arrays)
        with pytest.raises(D2CError, match=rf"{name} cannot be read"):
            read(name)
        with pytest.raises(D2CError, match="lacks gone"):
            read("gone" + Path(name).suffix)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (MemoryError("Unable to allocate 3 TiB"), "needs more memory than there is (Unable to allocate 3 TiB)"),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: no"
            ),
            "needs more memory than there is ([enforce",
        ),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."), "needs more memory of the GPU than"),
    ],
)
def test_too_little_memory_is_one_line(workspace: Workspace, problem: Exception, said: str) -> None:
    def write(build: Build) -> None:
        raise problem

    with pytest.raises(D2CError) as caught:
        produce(workspace, "maps", Config(), write, stem="thing", name="a", quiet=True)
    assert str(caught.value).startswith(f"maps/a {said}")
    assert "\n" not in str(caught.value)
