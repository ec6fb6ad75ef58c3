from __future__ import annotations

import base64

import numpy as np
import pandas as pd
import pytest

from app.parts.charts import CLASSES
from d2c.explore.gaps import gaps
from d2c.explore.lasso import points_in_polygon
from d2c.explore.points import pack, points_of
from d2c.explore.view import bits
from tests.app.scripts import PARTS, run

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


def test_of_two_sets_every_point_has_its_state() -> None:
    draw = np.random.default_rng(5)
    first, second, held = (draw.random(101) < share for share in (0.3, 0.4, 0.5))
    given = {"first": list(bits(first)), "second": list(bits(second)), "mask": list(bits(held))}
    body = (
        "const {first, second, mask} = given; const f = flags(101, mask, first, second);"
        "return [[...tints({points: 101}, 'sets', {chosen: first, second})], [...f.found], [...f.rows], f.lit,"
        " tally(101, first, second), tally(101, first, null)]"
    )
    tint, flag, rows, lit, many, alone = run("canvas_points.js", body, given)
    state = first + 2 * second
    assert tint == state.tolist()
    assert flag == (held + 2 * state).tolist()
    assert rows == np.flatnonzero(held).tolist()
    assert lit == len(rows)
    assert many == [int((state == s).sum()) for s in range(4)]
    assert alone == [int((~first).sum()), int(first.sum()), 0, 0]


# What the three kinds of colour blindness leave of linear RGB, at their fullest (Machado, Oliveira & Fernandes 2009).
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    "none": np.eye(3).tolist(),
}


def lab(colour: str, kind: str) -> np.ndarray:
    """CIELAB of a hex colour as somebody with a kind of colour blindness sees it."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(BLIND[kind]) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(to_xyz @ seen / [0.9505, 1, 1.089], 1e-9))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLIND)
@pytest.mark.parametrize("dark", [False, True])
def test_the_states_of_two_sets_differ_for_the_colour_blind(kind: str, dark: bool) -> None:
    source = (PARTS / "canvas.js").read_text()
    (line,) = (s for s in source.splitlines() if s.startswith("const setColours"))
    body = f"{line}; return setColours(given.data, given.dark)"
    colours = run("canvas_points.js", body, {"data": {"classes": CLASSES}, "dark": dark})
    far = [np.linalg.norm(lab(a, kind) - lab(b, kind)) for i, a in enumerate(colours) for b in colours[:i]]
    assert min(far) > 15  # 2.3 is a difference just noticed
