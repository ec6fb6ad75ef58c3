"""What a plan is expected to take: by what the workspace has seen."""

from __future__ import annotations

import pytest

from d2c.artifacts import Artifact, Build, produce
from d2c.compare.steps import Step
from d2c.compare.timing import START, Guess, words_of
from tests.compare.conftest import Made

TRAIN = Step("a", "train", "", ("--model=SiT-Ti/4", "--steps=100", "--batch=50"))


def ran(scores: Artifact, images: int, rate: float) -> None:
    def write(build: Build) -> None:
        build.note(model="SiT-Ti/4", images_seen=images, images_per_second=rate)

    produce(scores.workspace, "runs", Made(f"{images} {rate}"), write, stem="run", quiet=True)


def test_a_run_takes_what_runs_of_its_model_took_by_images(scores: Artifact) -> None:
    assert Guess(scores.workspace).seconds(TRAIN) is None
    ran(scores, 9900, 100.0)  # 99 s
    ran(scores, 100, 1.0)  # 100 s, of which most went into starting
    assert Guess(scores.workspace).seconds(TRAIN) == pytest.approx(START + 5000 * 199 / 10000)
    assert Guess(scores.workspace).seconds(Step("b", "train", "", ("--model=SiT-B/2",))) is None


def test_steps_run_beside_each_other_and_what_is_not_known_is_said(scores: Artifact) -> None:
    ran(scores, 1000, 100.0)
    guess = Guess(scores.workspace)
    one = guess.seconds(TRAIN)
    assert one is not None
    assert guess.total([TRAIN, TRAIN], 2) == pytest.approx(one)
    assert guess.total([TRAIN, Step("c", "evaluate", "", ())]) is None
    assert [words_of(s) for s in (None, 60, 600, 7200)] == [
        "time not known before the first run",
        "about 60 s",
        "about 10 min",
        "about 2.0 h",
    ]
