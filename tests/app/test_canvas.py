from __future__ import annotations

import base64

import numpy as np
import pandas as pd
import pytest

from d2c.explore.gaps import gaps
from d2c.explore.lasso import points_in_polygon
from d2c.explore.points import pack, points_of
from d2c.explore.view import bits
from tests.app.scripts import run

UNPACK = "const points = unframe(Uint8Array.from(Buffer.from(given.file, 'base64')).buffer);"


def cloud(n: int = 500, classes: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"sample_id": rng.permutation(n), "x": rng.normal(size=n), "y": rng.normal(3, 5, n)})
    points = points_of(table, pd.DataFrame({"sample_id": range(n), "label": rng.integers(0, classes, n)}))
    return points, base64.b64encode(pack(points, [f"class {c}" for c in range(classes)])).decode()


def test_points_arrive() -> None:
    points, file = cloud()
    told = run(
        "canvas_points.js",
        UNPACK + "return [points.points, [...points.label], [...points.id], points.names]",
        {"file": file},
    )
    assert told == [500, points.label.tolist(), points.sample_id.tolist(), ["class 0", "class 1", "class 2"]]


def test_a_mask_arrives() -> None:
    held = np.random.default_rng(1).random(101) < 0.3
    marks = np.random.default_rng(2).random(101) < 0.5
    given = {"mask": list(bits(held)), "marks": list(bits(marks))}
    body = (
        "const f = flags(101, given.mask, given.marks); return [f.lit, [...f.found], [...flags(101, null, null).found]]"
    )
    lit, found, without = run("canvas_points.js", body, given)
    assert lit == held.sum()
    assert found == (held + 2 * marks).tolist()
    assert without == [1] * 101


def test_the_nearest_point_is_the_nearest() -> None:
    _, file = cloud(2000)
    rng = np.random.default_rng(3)
    asked = rng.integers(0, 65536, (60, 2)).tolist()
    body = UNPACK + "const g = grid(points); return given.asked.map(([x, y]) => nearest(points, g, x, y, 3000, 1500))"
    told = run("canvas_points.js", body, {"file": file, "asked": asked})
    xy = np.frombuffer(base64.b64decode(file), np.uint8)
    start = 4 + int.from_bytes(xy[:4].tobytes(), "little")
    places = np.frombuffer(xy[start : start + 8000].tobytes(), "<u2").reshape(-1, 2).astype(float)
    hits = 0
    for (x, y), row in zip(asked, told, strict=True):
        far = np.hypot((places[:, 0] - x) / 3000, (places[:, 1] - y) / 1500)
        assert (row == -1) == (far.min() > 1)
        if row >= 0:
            hits += 1
            assert far[row] == pytest.approx(far.min())
    assert 10 < hits < 60


def test_a_polygon_of_few_corners_holds_nearly_the_same() -> None:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    shape = np.column_stack([np.cos(angle), np.sin(angle)]) * (200 + 40 * np.sin(5 * angle))[:, None]
    told = run("canvas_points.js", "return simplify(given, 48)", shape.tolist())
    assert 20 < len(told) <= 48
    x, y = np.random.default_rng(4).uniform(-250, 250, (2, 20_000))
    assert (points_in_polygon(x, y, shape) != points_in_polygon(x, y, told)).mean() < 0.01
    square = [[0, 0], [50, 0], [100, 0], [100, 40], [100, 100], [30, 100], [0, 100], [0, 1]]
    assert run("canvas_points.js", "return simplify(given, 48)", square) == [[0, 0], [100, 0], [100, 100], [0, 100]]


def test_a_thousand_classes_stay_tellable() -> None:
    counts = [100 + (7 * i) % 1000 for i in range(1000)]
    own, asked, few = run(
        "canvas_points.js", "return [coloured(given, []), coloured(given, [5, 900]), coloured([3, 1, 2], [])]", counts
    )
    assert own == sorted(range(1000), key=lambda c: (-counts[c], c))[:9]
    assert set(asked[:2]) == {5, 900}
    assert asked[2:] == own[:7]
    assert few == [0, 1, 2]


def test_names_stand_where_their_class_is_densest() -> None:
    x = [0, 0.01, 0.02, 1, 0.5]
    points = points_of(
        pd.DataFrame({"sample_id": range(5), "x": x, "y": x}),
        pd.DataFrame({"sample_id": range(5), "label": [0, 0, 0, 0, 1]}),
    )
    given = {"file": base64.b64encode(pack(points, ["a", "b", "empty"])).decode()}
    first, second, none = run("canvas_points.js", UNPACK + "return spots(points, [0, 1, 2])", given)
    assert first == pytest.approx([655.35, 655.35], abs=1)
    assert second == pytest.approx([32768, 32768], abs=1)
    assert none is None


def test_the_lit_rows_arrive_with_their_places_and_tints() -> None:
    _, file = cloud(2000)
    rows = np.unique(np.random.default_rng(1).integers(0, 2000, 60))
    rows = np.unique([*rows, 0, 255, 256, 1999])
    told = run(
        "canvas_points.js",
        UNPACK + "const tint = Uint8Array.from({ length: points.points }, (_, i) => i % 251);"
        "const rows = ungap(given.gaps); const g = gathered(points, tint, rows);"
        "return [[...rows], [...g.place], [...g.tint], [...g.flag], [...points.xy]]",
        {"file": file, "gaps": base64.b64encode(gaps(rows)).decode()},
    )
    assert told[0] == rows.tolist()
    assert told[1] == np.array(told[4]).reshape(-1, 2)[rows].ravel().tolist()
    assert told[2] == (rows % 251).tolist()
    assert told[3] == [1] * len(rows)
    assert run("canvas_points.js", "return [...ungap('')]") == []


def test_many_pictures_are_taken_apart() -> None:
    files = [b"first", b"", bytes(range(256)) * 80]
    content = b"".join(n.to_bytes(4, "little") for n in (3, *map(len, files))) + b"".join(files)
    told = run(
        "gallery_pictures.js",
        "return unpack(Uint8Array.from(Buffer.from(given, 'base64')).buffer)",
        base64.b64encode(content).decode(),
    )
    assert [base64.b64decode(text) for text in told] == files
