"""A few seconds of encoding, to know the rate: `python -m d2c.attach.probe SUBSET_FOLDER [attach's flags]`."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from d2c.artifacts import Artifact, Workspace
from d2c.attach.plan import plan_of, rate_key
from d2c.attach.stream import Stream
from d2c.attach.verb import AttachConfig, relevant
from d2c.attach.write import how_of, open_vision_encoder
from d2c.config import add_arguments, from_namespace
from d2c.data.store import Images
from d2c.device import pick
from d2c.device import precision as resolve
from d2c.errors import D2CError
from d2c.progress import Progress
from d2c.rates import keep_rate

SECONDS = 4.0  # of encoding at least, unless the images run out
AGAIN = 8  # times that a small set is gone over at most


def probe(subset: Artifact, config: AttachConfig | None = None) -> float:
    """Images a second, both sides counted as two, of decoding and encoding some of a subset; remembered for estimates.

    The first batch, which pays for what is set up once, is not counted; nothing is compiled. Raises D2CError as
    `attach` does, and UsageError without a vision encoder.
    """
    config = relevant(config or AttachConfig())
    plan = plan_of(subset, config)
    device = pick(config.device)
    encoder = open_vision_encoder(plan, config, device=device, precision=resolve(config.precision, device))
    if encoder is None:
        raise D2CError("there is nothing to measure: no vision encoder is asked for")
    images = Images(plan.dataset)
    with tempfile.TemporaryDirectory() as scratch:
        progress = Progress(None, quiet=True)
        stream = Stream(images, plan.sample_ids[:64], encoder, how_of(config), Path(scratch), progress, device)

        def slabs() -> Iterator[np.ndarray]:
            for _ in range(AGAIN):
                for i in range(0, len(plan.sample_ids), stream.batch):
                    yield plan.sample_ids[i : i + stream.batch]

        done, started = 0, 0.0
        with contextlib.closing(stream.tokens(slabs())) as coming:
            for ids, *_ in coming:
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                now = time.monotonic()
                if not started:
                    started = now
                    continue
                done += len(ids)
                if now - started >= SECONDS:
                    break
            spent = time.monotonic() - started
    if not done or spent <= 0:
        raise D2CError("too few images to measure a rate on")
    rate = done / spent * (2 if config.flip else 1)
    keep_rate(subset.workspace, "condensed", rate_key(plan, config), rate, str(device))
    return rate


def main() -> int:
    """Print {"rate": …} as JSON, or one line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subset")
    add_arguments(parser, AttachConfig)
    given = parser.parse_args()
    try:
        folder = Path(given.subset).absolute()
        subset = Workspace.at(folder.parent.parent).resolve(folder, "subsets")
        print(json.dumps({"rate": probe(subset, from_namespace(AttachConfig, given))}))  # noqa: T201
    except D2CError as wrong:
        print(f"d2c: {' '.join(str(wrong).split())}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
