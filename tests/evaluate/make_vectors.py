"""Makes vectors.json: features, and what published implementations say of them.

    pip install torch-fidelity==0.4.0 torchmetrics==1.9.0 prdc==0.2 clean-fid==0.1.35 pytorch-fid==0.3.0 vendi-score==0.0.3
    python tests/evaluate/make_vectors.py

Run it in an environment of its own: the library needs none of these. What was made is kept beside it, with the
versions, so that the tests compare with the published code where it is not installed.
"""  # noqa: E501

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

PACKAGES = ("torch-fidelity", "torchmetrics", "prdc", "clean-fid", "pytorch-fid", "vendi-score", "numpy", "scipy")
SAMPLES, REFERENCE, DIM, CLASSES = 60, 48, 8, 5


def features() -> dict[str, np.ndarray]:
    """Two overlapping clouds, some samples of which copy the reference's rows, and logits of the samples."""
    draw = np.random.default_rng(20)
    reference = draw.normal(size=(REFERENCE, DIM)) @ draw.normal(size=(DIM, DIM))
    samples = draw.normal(size=(SAMPLES, DIM)) @ draw.normal(size=(DIM, DIM)) + 1.5
    samples[:16] = reference[:16] + 0.3 * draw.normal(size=(16, DIM))
    logits = 2 * draw.normal(size=(SAMPLES, CLASSES))
    return {"samples": (samples / 2).round(3), "reference": (reference / 2).round(3), "logits": logits.round(3)}


def answers(of: dict[str, np.ndarray]) -> dict[str, Any]:
    """What each implementation says, by metric and by implementation."""
    from cleanfid import fid as clean
    from prdc import compute_prdc
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric
    from torchmetrics.image.fid import _compute_fid
    from torchmetrics.image.kid import poly_mmd
    from vendi_score import vendi

    x, y = of["samples"], of["reference"]
    even = x[:REFERENCE]  # these kernel distances want as many rows on both sides
    tx, ty, teven = (torch.from_numpy(a) for a in (x, y, even))
    mx, my, cx, cy = x.mean(0), y.mean(0), np.cov(x.T), np.cov(y.T)
    stats = fid_features_to_statistics(tx), fid_features_to_statistics(ty)
    means = torch.from_numpy(mx), torch.from_numpy(cx), torch.from_numpy(my), torch.from_numpy(cy)
    whole = {"kid_subsets": 1, "kid_subset_size": REFERENCE, "verbose": False}
    balls = {
        str(k): prc_features_to_metric(tx, ty, prc_neighborhood=k, prc_batch_size=64, verbose=False) for k in (3, 5)
    }
    naeem = {str(k): compute_prdc(y, x, nearest_k=k) for k in (3, 5)}
    isc = {str(n): isc_features_to_metric(torch.from_numpy(of["logits"]), n, shuffle=False) for n in (1, 3)}
    return {
        "fd": {
            "torch-fidelity": fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"],
            "torchmetrics": float(_compute_fid(*means)),
            "pytorch-fid": float(calculate_frechet_distance(mx, cx, my, cy)),
            "clean-fid": float(clean.fid_from_feats(x, y)),
        },
        "kid": {
            "torch-fidelity": kid_features_to_metric(teven, ty, **whole)["kernel_inception_distance_mean"],
            "torchmetrics": float(poly_mmd(teven, ty)),
            "clean-fid": float(clean.kernel_distance(even, y, num_subsets=1, max_subset_size=REFERENCE)),
        },
        "precision": {
            "torch-fidelity": {k: v["precision"] for k, v in balls.items()},
            "prdc": {k: float(v["precision"]) for k, v in naeem.items()},
        },
        "recall": {
            "torch-fidelity": {k: v["recall"] for k, v in balls.items()},
            "prdc": {k: float(v["recall"]) for k, v in naeem.items()},
        },
        "density": {"prdc": {k: float(v["density"]) for k, v in naeem.items()}},
        "coverage": {"prdc": {k: float(v["coverage"]) for k, v in naeem.items()}},
        "inception_score": {"torch-fidelity": {k: v["inception_score_mean"] for k, v in isc.items()}},
        "vendi": {"vendi-score": float(vendi.score_dual(x)), "few": float(vendi.score_dual(x[:5]))},
    }


def main() -> None:
    """Write vectors.json beside this file."""
    of = features()
    with contextlib.redirect_stdout(io.StringIO()):
        said = answers(of)
    made = {
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "answers": said,
        "features": {name: rows.tolist() for name, rows in of.items()},
    }
    Path(__file__).with_name("vectors.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
