from hypothesis import given
from hypothesis import strategies as st

from d2c.data.shards import LARGEST, SMALLEST, shard_size, shards


@given(st.integers(0, 200_000))
def test_shards_cover_every_row_once(images):
    found = shards(images)
    assert [row for rows in found for row in (rows.start, rows.stop)] == [
        edge for i in range(len(found)) for edge in (i * shard_size(images), min((i + 1) * shard_size(images), images))
    ]
    assert sum(map(len, found)) == images
    assert all(len(rows) == shard_size(images) for rows in found[:-1])


def test_sizes_grow_with_the_set_and_stop():
    assert [shard_size(n) for n in (1, 64 * 64, 64 * 500, 10**9)] == [SMALLEST, 64, 500, LARGEST]
