import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.explore import layout
from d2c.explore.layout import centring, nearest_neighbours, pca_layout, pooled, projection, umap_layout


def centred_unit(features):
    return centring(features)[0]


def features(seed, rows, dim=6):
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 30), st.integers(1, 40))
def test_neighbours_equal_sorting_all_cosines(seed, rows, k):
    unit = centred_unit(features(seed, rows))
    cosine = unit.astype(np.float64) @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    ids, distance, exact = nearest_neighbours(unit, k)
    assert exact
    assert ids.shape == distance.shape == (rows, min(k, rows - 1))
    np.testing.assert_allclose(distance, 1 - np.sort(cosine, 1)[:, ::-1][:, : ids.shape[1]], atol=1e-4)
    np.testing.assert_allclose(distance, 1 - np.take_along_axis(cosine, ids, 1), atol=1e-4)
    assert (np.diff(distance, axis=1) >= 0).all()


def test_no_row_is_its_own_neighbour_among_copies():
    unit = np.repeat(centred_unit(features(0, 2)), 10, axis=0)
    ids, distance, _ = nearest_neighbours(unit, 4)
    assert (ids != np.arange(20)[:, None]).all()
    assert (ids // 10 == np.arange(20)[:, None] // 10).all()
    np.testing.assert_allclose(distance, 0, atol=1e-6)


def test_inverted_file_finds_nearly_the_same(monkeypatch):
    unit = centred_unit(features(1, 3000, dim=8))
    ids, _, exact = nearest_neighbours(unit, 5)
    monkeypatch.setattr(layout, "EXACT", 100)
    found, _, still = nearest_neighbours(unit, 5)
    assert (exact, still) == (True, False)
    assert (found != np.arange(3000)[:, None]).all()
    overlap = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(ids.tolist(), found.tolist(), strict=True)])
    assert overlap > 0.6


def test_unit_vectors_say_nothing_where_all_images_are_alike():
    assert not centred_unit(np.full((5, 7), 0.3, np.float32)).any()
    unit = centred_unit(features(2, 9) + 100)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)


@given(st.integers(1, 20), st.integers(1, 20))
def test_cells_average_the_tokens_they_cover(grid, cells):
    tokens = np.random.default_rng(grid).normal(size=(2, grid * grid, 3)).astype(np.float32)
    found = pooled(tokens, cells)
    cells = min(cells, grid)
    assert found.shape == (2, cells * cells, 3)
    # Each token as `cells` × `cells` pixels, each cell as `grid` × `grid` of them: the same by plain means.
    fine = tokens.reshape(2, grid, 1, grid, 1, 3).repeat(cells, 2).repeat(cells, 4)
    expected = fine.reshape(2, cells, grid, cells, grid, 3).mean((2, 4), dtype=np.float64).reshape(2, cells * cells, 3)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(pooled(tokens, 1)[:, 0], tokens.mean(1), atol=1e-4)


def test_projection_keeps_distances():
    points = features(6, 40, dim=2000)
    matrix = projection(2000, 512, 0)
    assert (matrix == projection(2000, 512, 0)).all()
    kept = np.linalg.norm((points[0] - points[1:]) @ matrix, axis=1) / np.linalg.norm(points[0] - points[1:], axis=1)
    assert np.abs(kept - 1).max() < 5 / np.sqrt(2 * 512)


def test_pca_keeps_the_widest_directions_whichever_way_they_are_turned():
    wide = features(3, 200, dim=5) * [9, 4, 0.1, 0.1, 0.1]
    points = pca_layout(wide.astype(np.float32))
    centred = wide - wide.mean(0)
    for axis in (0, 1):
        assert abs(np.corrcoef(points[:, axis], centred[:, axis])[0, 1]) > 0.99
    np.testing.assert_allclose(points, pca_layout(wide.astype(np.float32)))
    assert pca_layout(np.ones((4, 1), np.float32)).shape == (4, 2)


@pytest.mark.slow  # UMAP compiles itself on first use
def test_umap_keeps_groups_apart_and_repeats_itself():
    centres = np.eye(3, 8, dtype=np.float32).repeat(20, 0)
    unit = centred_unit(centres + 0.05 * features(4, 60, dim=8))
    ids, distance, _ = nearest_neighbours(unit, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = umap_layout(unit, ids, distance, min_dist=0.1, seed=0)
    again = umap_layout(unit, ids, distance, min_dist=0.1, seed=0)
    np.testing.assert_array_equal(points, again)
    group = np.arange(60) // 20
    middles = np.stack([points[group == g].mean(0) for g in range(3)])
    nearest = np.linalg.norm(points[:, None] - middles, axis=-1).argmin(1)
    assert (nearest == group).mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("rows", [5, 6])
def test_umap_takes_very_few_images(rows):
    unit = centred_unit(features(5, rows))
    ids, distance, _ = nearest_neighbours(unit, 15)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = umap_layout(unit, ids, distance, min_dist=0.1, seed=1)
    assert points.shape == (rows, 2)
    assert np.isfinite(points).all()
