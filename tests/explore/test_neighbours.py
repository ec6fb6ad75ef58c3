import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.explore.neighbours import groups, near_duplicates, neighbours_of


@pytest.fixture
def made(tmp_path):
    """Four images; 0 and 3 are all but the same, 1 is near 2, and 2's nearest is 0."""
    folder = tmp_path / "maps" / "four"
    folder.mkdir(parents=True)
    ids = np.array([[3, 2], [2, 0], [0, 1], [0, 2]], np.int64)
    distance = np.array([[0.001, 0.3], [0.01, 0.5], [0.005, 0.01], [0.001, 0.4]], np.float32)
    save_file({"ids": ids, "distance": distance}, folder / "neighbours.safetensors")
    return Artifact(folder, {"kind": "maps", "name": "four"})


def test_neighbours_are_one_row_of_the_table(made):
    assert neighbours_of(made, 1, 2)["sample_id"].tolist() == [2, 0]
    assert neighbours_of(made, 1, 1)["distance"].tolist() == [np.float32(0.01)]
    assert neighbours_of(made, 2, 99)["sample_id"].tolist() == [0, 1]
    assert len(neighbours_of(made, 2, 0)) == 0


@pytest.mark.parametrize("sample_id", [-1, 4])
def test_a_stranger_has_no_neighbours(made, sample_id):
    with pytest.raises(D2CError, match="images 0 to 3"):
        neighbours_of(made, sample_id)


def test_near_duplicates_are_pairs_once_each_closest_first(made):
    pairs = near_duplicates(made, 0.01)
    assert pairs[["sample_id", "other"]].to_numpy().tolist() == [[0, 3], [0, 2], [1, 2]]
    assert pairs["distance"].is_monotonic_increasing
    assert near_duplicates(made, 0.0).empty


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(0, 5)), max_size=25))
def test_groups_are_what_hangs_together(drawn):
    edges = [(10 * a, 10 * b, far / 8) for a, b, far in drawn if a < b]
    table = groups(pd.DataFrame(edges, columns=["sample_id", "other", "distance"]).astype({"distance": "float64"}))
    wanted = []  # sets of ids, joined one edge at a time
    for a, b, _ in edges:
        touched = [s for s in wanted if s & {a, b}]
        wanted = [s for s in wanted if s not in touched] + [{a, b}.union(*touched)]
    found = [set(g["sample_id"]) for _, g in table.groupby("group")]
    assert sorted(map(sorted, found)) == sorted(map(sorted, wanted))
    for row in table.itertuples():
        assert row.distance == min(far for a, b, far in edges if row.sample_id in (a, b))
    least = table.groupby("group")["distance"].min().tolist()
    assert least == sorted(least)
    assert table["group"].tolist() == sorted(table["group"])
    assert all(g["sample_id"].is_monotonic_increasing for _, g in table.groupby("group"))
