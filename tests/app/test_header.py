from __future__ import annotations

import pytest

from app.parts.header import section
from app.places import PLACES, ROOT, Place


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_every_page_is_explained(place: Place) -> None:
    assert section("app", place.title)
    for topic, _, heading in (more.partition("#") for more in place.more):
        assert section(topic, heading), (topic, heading)


def test_a_section_ends_where_the_next_begins() -> None:
    assert "##" not in section("app", "Data")
    assert section("app", "Data").startswith("Bring images in")
    assert section("app", "Nowhere") == ""


def test_a_dialog_shows_no_picture_of_its_own_page() -> None:
    assert "![" in (ROOT / "docs" / "app.md").read_text()
    assert "![" not in section("app", "Difficulty")
    assert section("app", "Difficulty").startswith("How hard each image is")
