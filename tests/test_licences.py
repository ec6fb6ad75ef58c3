from __future__ import annotations

import pytest

from d2c.licences import forbids_commercial


@pytest.mark.parametrize(
    ("licence", "binds"),
    [
        *((name, True) for name in ("CC-BY-NC-4.0", "Non-Commercial use only", "noncommercial", "cc by-nc-sa")),
        *((name, False) for name in ("Apache-2.0", "MIT", "NCSA", "Licence", "")),
    ],
)
def test_a_licence_that_forbids_commerce_is_known(licence: str, binds: bool) -> None:
    assert forbids_commercial(licence) is binds
