from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.explore.asking import ROOT, Asker
from d2c.explore.map import map_
from d2c.explore.search import search

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def asker() -> Iterator[Asker]:
    made = Asker()
    yield made
    made.close()


@pytest.fixture
def plan(dataset: Artifact) -> Artifact:
    return map_(dataset, features="pixels", method="pca", device="cpu", quiet=True)


def until(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")  # where there is no such file, only what was reaped is gone
    return stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_one_child_answers_as_the_function_does(asker: Asker, clip_map: Artifact) -> None:
    found = asker.ask(clip_map, text="a picture of bars", most=7)
    wanted = search(clip_map, text="a picture of bars", most=7).table
    assert found["sample_id"].tolist() == wanted["sample_id"].tolist()
    assert found["similarity"].to_numpy() == pytest.approx(wanted["similarity"].to_numpy())
    first = asker.pid
    assert asker.ask(clip_map, like=22, most=3)["sample_id"].tolist()[0] == 23
    assert asker.pid == first is not None


def test_an_error_is_its_own_line_and_the_child_stays(asker: Asker, plan: Artifact) -> None:
    with pytest.raises(D2CError, match=r"d2c map .* --features clip-vit-b-32"):
        asker.ask(plan, text="a cat")
    first = asker.pid
    assert len(asker.ask(plan, like=3, most=5)) == 5
    assert asker.pid == first


def test_a_child_that_died_is_replaced(asker: Asker, plan: Artifact) -> None:
    asker.ask(plan, like=3)
    first = asker.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert len(asker.ask(plan, like=3, most=5)) == 5
    assert asker.pid != first


def test_idle_it_goes_and_comes_again(plan: Artifact) -> None:
    asker = Asker(idle=0.2)
    asker.ask(plan, like=3)
    assert until(lambda: asker.pid is None)
    assert len(asker.ask(plan, like=3, most=5)) == 5
    asker.close()


def test_no_answer_is_not_waited_for(asker: Asker, plan: Artifact) -> None:
    with pytest.raises(D2CError, match="no answer in 0 s"):
        asker.ask(plan, like=3, patience=0)
    assert asker.pid is None


def test_it_ends_with_the_process_that_asked(plan: Artifact) -> None:
    code = (
        "import os, sys; from d2c.artifacts import Workspace; from d2c.explore.asking import Asker\n"
        "asker = Asker(); asker.ask(Workspace.at(sys.argv[1]).resolve(sys.argv[2], 'maps'), like=3)\n"
        "print(asker.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    words = [sys.executable, "-c", code, str(plan.workspace.root), plan.name]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9
    assert until(lambda: gone(int(done.stdout)))
