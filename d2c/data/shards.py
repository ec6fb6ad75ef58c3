"""How a data set is cut for work that is interrupted, spread over processes, or cached: by its size alone."""

from __future__ import annotations

SMALLEST, LARGEST = 64, 1024
PIECES = 64


def shard_size(images: int) -> int:
    """Images in a shard: a 64th of the set, at least 64 and at most 1,024. All shards but the last are that long."""
    return min(max(images // PIECES, SMALLEST), LARGEST)


def shards(images: int) -> list[range]:
    """The rows of each shard, in order. Depends on the number of images alone, not on batches or processes."""
    size = shard_size(images)
    return [range(start, min(start + size, images)) for start in range(0, images, size)]
