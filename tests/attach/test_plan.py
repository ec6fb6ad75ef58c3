from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from d2c.artifacts import Artifact, Workspace
from d2c.attach import AttachConfig, attach, estimate, open_vision
from d2c.attach.plan import find_scorer
from d2c.errors import D2CError, UsageError


@pytest.mark.parametrize(
    ("text", "vision"), [("hash", "scorer"), ("none", "none"), ("hash", "none"), ("none", "scorer")]
)
def test_the_estimate_is_what_comes(subset: Artifact, text: str, vision: str) -> None:
    config = AttachConfig(text=text, vision=vision, device="cpu", precision="fp32")
    expected, made = estimate(subset, config), attach(subset, config, quiet=True)
    assert (expected["images"], expected["classes"]) == (6, 3)
    assert expected["bytes"]["images"] == made.facts["bytes"]["images"]
    for part in ("text", "vision"):
        shape, size = expected[part]["shape"], made.facts["bytes"][part]
        if getattr(config, part) == "none":
            assert (shape, expected["bytes"][part], size) == (None, 0, 0)
        else:
            if part == "text":
                assert list(made.arrays("text.safetensors")["tokens"].shape) == shape
            else:
                stored = open_vision(made)
                assert stored is not None
                assert [stored.images, stored.count, stored.width] == shape
            assert 0 <= size - expected["bytes"][part] < 512  # the header
    assert expected["bytes"]["total"] == sum(expected["bytes"][p] for p in ("images", "text", "vision"))


def test_estimates_of_what_is_not_here(subset: Artifact) -> None:
    found = estimate(subset, AttachConfig(text="clip-vit-l-14", vision="dinov2-vit-b-14"))
    assert found["text"]["shape"] == [3, 16, 768]
    assert found["vision"]["shape"] == [6, 64, 768]  # 16 px a side, so an 8 × 8 grid
    unknown = estimate(subset, AttachConfig(text="hf-hub:org/name", vision="timm:nonsense", vision_grid=7))
    assert (unknown["grid"], unknown["vision"]["shape"], unknown["bytes"]["vision"]) == (7, None, None)
    assert (unknown["text"]["shape"], unknown["bytes"]["total"]) == (None, None)


def test_estimating_is_free_of_torch(subset: Artifact) -> None:
    code = f"""
import sys
from d2c.artifacts import Workspace
from d2c.attach import estimate
ws = Workspace.at({str(subset.workspace.root)!r})
print(estimate(ws.resolve({subset.name!r}, "subsets"))["vision"]["shape"])
print({{"torch", "timm", "open_clip"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[6, 16, 192]", "set()"]


def test_auto_is_the_scorer_of_the_scores(subset: Artifact, scorer_run: Artifact) -> None:
    found = find_scorer(subset, "auto")
    assert (found.name, found.digest) == (f"runs/{scorer_run.name}", subset.parent("scores").recipe["scorer_digest"])
    assert find_scorer(subset, f"runs/{scorer_run.name}").path == found.path


def test_a_scorer_that_became_another(subset: Artifact, scorer_run: Artifact) -> None:
    with (scorer_run.path / "ema.safetensors").open("ab") as handle:
        handle.write(b" ")
    with pytest.raises(D2CError, match="is another model now: give its file or a run with --scorer"):
        find_scorer(subset, "auto")


def test_a_scorer_that_is_gone(subset: Artifact, scorer_run: Artifact, scorer_file: Path) -> None:
    (scorer_run.path / "ema.safetensors").unlink()
    with pytest.raises(D2CError, match="is not here: give its file or a run with --scorer"):
        find_scorer(subset, "auto")
    assert find_scorer(subset, str(scorer_file)).path == scorer_file


def test_parents_that_were_not_copied_along(subset: Artifact, dataset: Artifact) -> None:
    (dataset.path / "artifact.json").unlink()
    with pytest.raises(D2CError, match=rf"datasets/{dataset.name} .*copy it there"):
        estimate(subset)


def test_a_wrong_configuration_is_refused_before_work(subset: Artifact, workspace: Workspace) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"text": "nonsense"}, "unknown text encoder"),
        ({"vision": "nonsense"}, "unknown vision encoder"),
        ({"prompt": "a photo"}, "every class"),
        ({"text_weights": "x"}, "reads no weights"),
        ({"vision_weights": "x"}, "reads no weights"),
        ({"text_tokens": 2}, "below 4"),
    ]
    for options, said in wrong:
        with pytest.raises(UsageError, match=said):
            attach(subset, quiet=True, **options)
    with pytest.raises(D2CError, match=r"--vision-weights .*no such file"):
        attach(subset, vision="dinov2-vit-s-14", vision_weights="gone.pth", quiet=True)
    assert workspace.list("condensed") == []
