import dataclasses
import json
import os
import time

import pytest

from d2c.artifacts import produce
from d2c.config import option
from d2c.errors import Cancelled
from d2c.explore.lineage import SILENCE, STAGES, alive, lineage
from d2c.explore.summaries import summary_of

NOBODY = 2**22 + 1  # above every pid


@dataclasses.dataclass(frozen=True)
class Recipe:
    guidance: float = option(1.5, "guidance")
    strategy: str = option("interval", "strategy")
    interval: int = option(16, "k")


def made(workspace, kind, name, parents=(), k=16, **facts):
    def write(build):
        build.note(**facts)

    return produce(workspace, kind, Recipe(interval=k), write, stem=kind, name=name, parents=parents, quiet=True)


def stage(workspace, kind):
    return next(s for s in lineage(workspace) if s.kind == kind)


def test_an_empty_workspace_can_only_begin(workspace):
    stages = lineage(workspace)
    assert [s.kind for s in stages] == [kind for kind, _, _ in STAGES]
    assert {s.state for s in stages} == {"missing"}
    assert [s.verb for s in stages if s.possible] == ["ingest"]


def test_ready_artifacts_say_what_they_are_and_open_the_next_stage(workspace):
    digits = made(workspace, "datasets", "digits", images=1797, classes=["0", "1"], channels=1, warnings=["tiny"])
    made(workspace, "scores", "easy", [digits], reliability=0.834, evaluations=8, scorer={"name": "digits"})
    ready = stage(workspace, "datasets")
    assert ready.state == "ready"
    (card,) = ready.cards
    assert card.summary == "1,797 images in 2 classes, greyscale"
    assert card.warnings == ("tiny",)
    assert card.fingerprint == digits.fingerprint
    assert card.bytes == digits.record["bytes"]
    (scored,) = stage(workspace, "scores").cards
    assert scored.parents == (("datasets", "digits"),)
    assert scored.summary == "8 evaluations an image, scorer digits, reliability 0.83"
    assert {s.verb for s in lineage(workspace) if s.possible} == {"ingest", "score", "select", "map", "measure"}


def interrupted(workspace):
    def write(build):
        build.progress.stage("train", total=8, unit="step")
        build.progress.advance(2)
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        produce(workspace, "runs", Recipe(), write, stem="run", name="half", quiet=True)
    return workspace.partial("runs", "half")


def test_an_unfinished_run_shows_how_far_it_is(workspace):
    partial = interrupted(workspace)
    state = json.loads((partial / "progress.json").read_text())
    (partial / "progress.json").write_text(json.dumps({**state, "done": 2, "seconds_left": 9.0}))
    (card,) = stage(workspace, "runs").cards
    assert (card.name, card.state, card.stage, card.fraction, card.seconds_left) == ("half", "making", "train", 0.25, 9)
    assert card.summary == "train, 25%"
    dead = {**state, "done": 2, "heartbeat": time.time() - 2 * SILENCE, "pid": NOBODY}
    (partial / "progress.json").write_text(json.dumps(dead))
    runs = stage(workspace, "runs")
    assert (runs.state, runs.cards[0].state, runs.cards[0].seconds_left) == ("stopped", "stopped", None)
    assert "goes on" in runs.cards[0].summary


def test_a_partial_folder_without_progress_has_just_begun(workspace):
    partial = workspace.partial("maps", "new")
    partial.mkdir(parents=True)
    (card,) = stage(workspace, "maps").cards
    assert (card.state, card.summary, card.fraction) == ("making", "starting", None)


def test_alive_needs_a_heartbeat_or_a_process():
    now = time.time()
    assert alive({"heartbeat": now, "pid": NOBODY})
    assert not alive({"heartbeat": now - 2 * SILENCE, "pid": NOBODY})
    assert alive({"heartbeat": now - 2 * SILENCE, "pid": os.getpid()})
    assert not alive({"heartbeat": now - 7200, "pid": os.getpid()})
    assert not alive({})


def test_a_broken_artifact_is_a_card_and_hides_no_other(workspace):
    made(workspace, "maps", "good")
    bad = workspace.folder("maps", "bad")
    bad.mkdir()
    (bad / "artifact.json").write_text("{")
    (workspace.root / "maps" / "notes.txt").write_text("not an artifact")
    maps = stage(workspace, "maps")
    assert {card.name: card.state for card in maps.cards} == {"good": "ready", "bad": "broken"}
    assert maps.state == "ready"
    assert "cannot be read" in next(card.summary for card in maps.cards if card.state == "broken")


def test_newest_first_and_the_unfinished_before(workspace):
    for name, created in (("old", "2026-01-01T00:00:00Z"), ("new", "2026-02-01T00:00:00Z")):
        artifact = made(workspace, "runs", name, k=int(created[6]))
        (artifact.path / "artifact.json").write_text(json.dumps({**artifact.record, "created": created}))
    interrupted(workspace)
    assert [card.name for card in stage(workspace, "runs").cards] == ["half", "new", "old"]


@pytest.mark.parametrize(
    ("kind", "facts", "said"),
    [
        ("datasets", {}, ""),
        ("datasets", {"images": 1, "classes": 1, "rejected": 2}, "1 image in 1 class, 2 files rejected"),
        ("datasets", {"images": 9, "classes": 1, "captions": 9}, "9 images with captions"),
        ("datasets", {"images": 9, "classes": 3, "captions": 9}, "9 images with captions in 3 classes"),
        ("subsets", {"chosen": 100}, "100 images chosen, interval k = 16"),
        (
            "condensed",
            {"images": 9, "text": {"encoder": "hash", "meaningful": False}},
            "9 images, text hash (carries no meaning)",
        ),
        ("runs", {"task": "generate", "steps": 400, "final_loss": 0.25}, "generator, 400 steps, loss 0.250"),
        ("runs", {"task": "classifier", "held_out_accuracy": 0.9876}, "classifier, 98.8% of held-out images right"),
        ("samples", {"images": 500}, "500 images drawn, guidance 1.5"),
        (
            "reports",
            {"accuracy": 0.91, "fd": 12.34, "fd_name": "FD-classifier"},
            "91.0% read as the class asked for, FD-classifier 12.3",
        ),
        ("maps", {"method": "umap", "features": "scorer", "images": 5}, "UMAP map of 5 images, features scorer"),
        (
            "measures",
            {"images": 5, "seeds": 4, "accuracy": 0.975},
            "training dynamics of 5 images, 4 classifiers, 97.5% of held-out images right",
        ),
        ("measures", {"images": 5, "seeds": 1, "accuracy": None}, "training dynamics of 5 images, 1 classifier"),
    ],
)
def test_summaries_are_plain_sentences(workspace, kind, facts, said):
    assert summary_of(made(workspace, kind, "one", **facts)) == said
