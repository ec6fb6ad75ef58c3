from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2c.export.names import LONGEST, distinct, safe


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cat", "cat"),
        ("Schäferhund", "Schäferhund"),
        ("ネコ", "ネコ"),
        ("🦊 fox", "🦊 fox"),
        ("e\u0301te\u0301", "été"),
        ("../x", "_x"),
        ("..", "unnamed"),
        ("a/b", "a_b"),
        ("a\\b", "a_b"),
        ("con", "con_"),
        ("NUL.txt", "NUL.txt_"),
        ("console", "console"),
        ("", "unnamed"),
        (" . ", "unnamed"),
        ("a:b*c?", "a_b_c_"),
        ("tab\there\n", "tab_here_"),
        ("ends with dot.", "ends with dot"),
        (".hidden", "hidden"),
        ("x" * 300, "x" * LONGEST),
        ("é" * 300, "é" * (LONGEST // 2)),
        ("\ud800", "_"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert safe(name) == expected


@given(st.text(max_size=400))
def test_any_text_becomes_one_plain_name(text: str) -> None:
    name = safe(text)
    assert name
    assert len(name.encode()) <= LONGEST + 1
    assert not set(name) & set('/\\:*?"<>|\0')
    assert name == name.strip(" .") or name.startswith("_")
    assert not name.startswith(".")
    assert safe(name) == name


@given(st.lists(st.text(alphabet="aA-2", max_size=4), max_size=12))
def test_distinct_names_differ_on_any_file_system(names: list[str]) -> None:
    found = distinct(names, taken=["A"])
    assert len({name.casefold() for name in found} | {"a"}) == len(names) + 1
    assert all(new.startswith(old) for new, old in zip(found, names, strict=True))
