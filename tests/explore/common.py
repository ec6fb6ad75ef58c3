from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d2c.explore.gaps import FAR


def rows_of_gaps(content: bytes) -> NDArray[np.int64]:
    """The rows that `gaps` wrote, as the browser reads them."""
    read = np.frombuffer(content, np.uint8)
    last = read < FAR
    at = np.cumsum(read.astype(np.int64)) + np.cumsum(last)
    return np.asarray(at[last] - 1, np.int64)
