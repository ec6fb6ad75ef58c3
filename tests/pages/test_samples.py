from __future__ import annotations

import json
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from d2c import jobs
from d2c.artifacts import Artifact, Workspace

Page = Callable[..., AppTest]


def tiles(test: AppTest) -> list[list[object]]:
    """The tiles that the gallery was given."""
    gallery = next(c.proto for c in test.get("bidi_component") if c.proto.component_name == "d2c_gallery")
    found: list[list[object]] = json.loads(gallery.json)["tiles"]
    return found


def test_without_a_run_it_leads_to_training(page: Page, here: Workspace) -> None:
    assert page("samples").button(key="no_runs_go")


def test_the_form_draws_what_it_says(page: Page, run: Artifact) -> None:
    test = page("samples")
    test.number_input(key="sample_count").set_value(20)
    test.number_input(key="sample_guidance").set_value(2.5)
    test.multiselect(key="sample_names").set_value(["light"])
    test.run()
    test.button(key="sample_go").click().run()
    assert not test.exception
    (job,) = jobs.jobs(run.workspace)
    assert job.argv == ("sample", "runs/small", "--count=20", "--guidance=2.5", "--classes=light")


def test_images_are_shown_by_class(page: Page, samples: Artifact) -> None:
    shown = tiles(page("samples"))
    assert [(t[0], t[2]) for t in shown] == [(0, "dark"), (2, "dark"), (1, "light"), (3, "light")]
    assert shown[0][1] == f"/d2c/file/samples/drawn/images/000000.png?v={samples.fingerprint[:12]}"
    assert [t[0] for t in tiles(page("samples", sample_class="light"))] == [1, 3]
