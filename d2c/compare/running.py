"""Running a plan's commands as child processes: the very `d2c …` a user would type, N at a time, stoppable."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Workspace
from d2c.compare.steps import Plan, Step
from d2c.data.threads import default_workers
from d2c.errors import D2CError
from d2c.jobs.processes import Lane, command, environment, lanes
from d2c.progress import Progress, read
from d2c.provenance import versions

LEDGER, STEPS = "steps.json", "steps"
POLL, LOOK = 0.1, 2.0  # s between looks at the commands, and at how long they will take
GRACE = 300.0  # s that a command gets to save before it is killed
AGAIN = 10.0  # s before a command that met another maker of its artifact is tried again
ATTEMPTS = 3  # of a command that a signal ended (out of memory, a lost machine): it goes on from its checkpoint
_ELSEWHERE = "is being made by another process"
# Ctrl-C reaches every process of a terminal's group. The commands are deaf to it: we ask each to save with SIGTERM.
_DEAF = 'trap "" INT; exec "$@"'


def at_once(parallel: int) -> int:
    """How many commands run at once: as asked; at 0 one for each GPU, or two on a processor of several cores."""
    heavy = [lane for lane in lanes() if lane.gpu]
    return parallel or (len(heavy) if heavy[0].visible is not None else min(2, default_workers()))


@dataclasses.dataclass
class _Child:
    step: Step
    lane: Lane
    process: subprocess.Popen[bytes]
    folder: Path
    began: float


class Runner:
    """The steps of one plan: what is done, what failed and why, what runs.

    `made` are artifacts by step, `failed` one line by step; a step that rests on a failed one has failed with its line.
    `ledgers` are files of earlier comparisons: a command that one of them has seen to its end, on the same parents by
    the same d2c, is not started again while its artifact is there.
    """

    def __init__(self, workspace: Workspace, plan: Plan, folder: Path, ledgers: Sequence[Path], parallel: int) -> None:
        self.plan, self.made, self.failed = plan, dict[str, Artifact](), dict[str, str]()
        self.seconds: dict[str, float] = {}  # of the steps whose command ran, by step
        self.commands: dict[str, str] = {}
        self._workspace, self._folder = workspace, folder
        self._lanes = [lane for lane in lanes() if lane.gpu]
        self._free = [self._lanes[i % len(self._lanes)] for i in range(at_once(parallel))]
        # Small models gain little from a second thread, so commands that share a CPU share its cores out.
        share = max(default_workers() // len(self._free), 1)
        alone = len(self._free) == 1 or self._lanes[0].visible is not None
        self._threads = {} if alone else {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(share))}
        self._children: list[_Child] = []
        self._attempts: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._known: dict[str, dict[str, Any]] = {}
        for path in (*ledgers, folder / LEDGER):
            with contextlib.suppress(OSError, ValueError):
                self._known |= json.loads(path.read_text())

    @property
    def parallel(self) -> int:
        """How many commands run at once."""
        return len(self._free) + len(self._children)

    def run(self, progress: Progress, changed: Callable[[], None], left: Callable[[], float | None]) -> None:
        """Run every step that can be run. `changed` is called after each that ended, `left` gives the seconds left.

        Raises Cancelled, after each command was asked to save and has left, when the user stops us.
        """
        looked = -LOOK
        try:
            while self._fill(changed):
                if time.monotonic() - looked >= LOOK:
                    progress.left, looked = left(), time.monotonic()
                progress.advance(0, **self._facts())
                time.sleep(POLL)
                self._collect(progress, changed)
        finally:
            self._stop()

    def running(self) -> dict[str, tuple[float, float | None]]:
        """Seconds that each step now running has taken, and that its command says are left."""
        now, found = time.monotonic(), {}
        for child in self._children:
            left = (read(child.folder) or {}).get("seconds_left")
            found[child.step.id] = now - child.began, None if left is None else float(left)
        return found

    def open(self) -> list[Step]:
        """Steps that are neither done nor failed."""
        return [s for s in self.plan.steps.values() if s.id not in self.made and s.id not in self.failed]

    def _fill(self, changed: Callable[[], None]) -> bool:
        """Start what can start; whether anything is left to wait for."""
        busy = {child.step.id for child in self._children}
        moved = True
        while moved:  # what is found or fails at once frees those after it
            moved = False
            for step in self.open():
                lost = next((self.failed[n] for n in step.needs if n in self.failed), None)
                if lost is not None:
                    self.failed[step.id] = lost
                    moved = True
                elif step.id not in busy and all(n in self.made for n in step.needs) and self._try(step):
                    moved = True
            if moved:
                changed()
            busy = {child.step.id for child in self._children}
        return bool(self.open())

    def _try(self, step: Step) -> bool:
        """Find a step's artifact, or start its command where a lane is free. True when it is done or failed at once."""
        if step.id in self.commands and not self._free:
            return False
        words = self._words(step)
        if words is None:  # the best snapshot is the end
            self.made[step.id] = self.made[step.needs[0]]
            return True
        if step.id not in self.commands:
            self.commands[step.id] = shlex.join(["d2c", *words])
            found = self._find(step)
            if found is not None:
                self.made[step.id] = found
                return True
        if self._free and time.monotonic() >= self._not_before.get(step.id, 0.0):
            try:
                self._start(step, words)
            except OSError as problem:
                self.failed[step.id] = f"{step.verb} could not be started: {problem.strerror or problem}"
                return True
        return False

    def _words(self, step: Step) -> list[str] | None:
        subject = self.made[step.subject] if step.subject in self.plan.steps else None
        words = [step.verb, subject.name if subject is not None else typed(step.subject), *step.flags]
        if step.best:
            from d2c.compare.snapshots import best_of

            run = subject or self._workspace.resolve(step.subject, "runs")
            best = best_of(run)
            return [*words, f"--step={best}"] if best else None
        return words

    def _start(self, step: Step, words: Sequence[str]) -> None:
        folder = self._folder / STEPS / step.id
        folder.mkdir(parents=True, exist_ok=True)
        lane = self._free.pop(0)
        more = {"D2C_JOB_DIR": str(folder), **self._threads}
        if lane.visible is not None:
            more["CUDA_VISIBLE_DEVICES"] = lane.visible
        argv = command([*words, "--workspace", str(self._workspace.root), "--json", "--quiet"])
        try:
            with (folder / "result.json").open("wb") as out, (folder / "log.txt").open("wb") as log:
                process = subprocess.Popen(
                    ["/bin/sh", "-c", _DEAF, "d2c-step", *argv],
                    env=environment(**more),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                )
        except OSError:
            self._free.append(lane)
            raise
        self._attempts[step.id] = self._attempts.get(step.id, 0) + 1
        self._children.append(_Child(step, lane, process, folder, time.monotonic()))

    def _collect(self, progress: Progress, changed: Callable[[], None]) -> None:
        for child in [c for c in self._children if c.process.poll() is not None]:
            self._children.remove(child)
            self._free.append(child.lane)
            if self._end(child, progress):
                changed()

    def _end(self, child: _Child, progress: Progress) -> bool:
        """Keep how a command ended; False when it will be tried again."""
        step, code = child.step, child.process.returncode
        self._not_before.pop(step.id, None)
        made = self._artifact(child.folder, step.makes) if code == 0 else None
        if made is not None:
            self.made[step.id], self.seconds[step.id] = made, time.monotonic() - child.began
            self._note(step, made)
            return True
        said = _last_line(child.folder / "log.txt")
        if _ELSEWHERE in said or (code < 0 and self._attempts[step.id] < ATTEMPTS):
            self._not_before[step.id] = time.monotonic() + AGAIN
            progress.say(f"d2c: {said or f'{step.verb} was ended by signal {-code}'}; tried again in {AGAIN:.0f} s")
            return False
        if code < 0:
            with contextlib.suppress(ValueError):
                said = f"ended by {signal.Signals(-code).name}" + (" (out of memory?)" if code == -9 else "")
        why = said.removeprefix("d2c: ") or f"exit status {code}"
        self.failed[step.id] = f"{step.verb}: {why}"
        progress.say(f"d2c: {self.commands[step.id]} failed: {why}")
        return True

    def _artifact(self, folder: Path, kind: str) -> Artifact | None:
        """What a command made, from the last line of its --json output."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, IndexError):
            said = json.loads((folder / "result.json").read_text().strip().splitlines()[-1])
            return self._workspace.find(kind, said["name"])
        return None

    def _key(self, step: Step) -> str:
        """What a command is, by the content of its parents: a ledger's key."""
        parents = [self.made[n].fingerprint for n in step.needs]
        if step.subject not in self.plan.steps:
            parents.append(self._workspace.resolve(step.subject, step.subject.partition("/")[0]).fingerprint)
        extra = self._words(step) if step.best else []
        said = [step.verb, list(step.flags), parents, (extra or [])[-1:], {k: versions()[k] for k in ("d2c", "git")}]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def _find(self, step: Step) -> Artifact | None:
        entry = self._known.get(self._key(step))
        if entry is None:
            return None
        with contextlib.suppress(D2CError, KeyError):
            found = self._workspace.find(entry["kind"], entry["name"])
            return found if found is not None and found.fingerprint == entry["fingerprint"] else None
        return None

    def _note(self, step: Step, made: Artifact) -> None:
        entry = {"kind": made.kind, "name": made.name, "fingerprint": made.fingerprint, "verb": step.verb}
        self._known[self._key(step)] = {**entry, "seconds": round(self.seconds[step.id], 3)}
        write_whole(self._folder / LEDGER, json.dumps(self._known, indent=1))

    def _facts(self) -> dict[str, float | int | str]:
        """What runs now, for whoever watches."""
        said = []
        for child in self._children:
            state: Mapping[str, Any] = read(child.folder) or {}
            total = f" {state['done']}/{state['total']}" if state.get("total") else ""
            stage = f": {state['stage']}{total}" if state.get("stage") else ""
            said.append(f"{child.step.verb}{stage}")
        steps = len(self.plan.steps)
        return {"steps": f"{steps - len(self.open())}/{steps}", "running": "; ".join(said)}

    def _stop(self) -> None:
        """Ask what runs to save and leave, and wait until it has."""
        for child in self._children:
            child.process.terminate()
        until = time.monotonic() + GRACE
        for child in self._children:
            try:
                child.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        self._children.clear()


def typed(subject: str) -> str:
    """How a user would name an artifact that is there: a data set with its kind, for other kinds may share its name."""
    return subject if subject.startswith("datasets/") else subject.partition("/")[2]


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader meets the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.replace(path)


def _last_line(path: Path) -> str:
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:500] if lines else ""
    return ""
