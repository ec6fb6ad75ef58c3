"""The proxy of an automatic k beside trained models, from artifacts of runs that took no training."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.stats import spearmanr

from d2c.artifacts import Workspace, produce
from d2c.config import option
from d2c.errors import D2CError
from d2c.select import Ranking, SelectConfig, select
from d2c.select.inputs import load
from d2c.select.trained import METRICS, PROXIES, agreement, trained


@dataclasses.dataclass(frozen=True)
class Recipe:
    of: str = option("", "")
    steps: int = option(10, "")
    seed: int = option(0, "")


def make(ws, kind, parents, of="", note=None, **recipe):
    def write(build):
        build.note(**(note or {}))

    config = Recipe(of, **recipe)
    return produce(ws, kind, config, write, stem=kind, parents=list(parents), quiet=True)


@pytest.fixture
def scored(tmp_path, make_scores):
    ws = Workspace(tmp_path / "w")
    dataset = make(ws, "datasets", [], "bugs")
    table = make_scores([60, 60])
    features = np.random.default_rng(1).normal(size=(120, 5)).astype(np.float32)
    features[:, 0] += 3 * table.sort_values("sample_id")["difficulty"].to_numpy()
    scores = produce(
        ws,
        "scores",
        Recipe("s"),
        lambda b: table.to_parquet(b.folder / "scores.parquet", index=False),
        stem="s",
        name="s",
        parents=[dataset],
        quiet=True,
    )
    produce(
        ws,
        "maps",
        Recipe("m"),
        lambda b: save_file({"features": features}, b.folder / "features.safetensors"),
        stem="m",
        name="m",
        parents=[dataset],
        quiet=True,
    )
    return scores


def judged(scores, k, accuracy, fd, *, m=5, seed=0, steps=10, of="", judge="judge", **options):
    """Subset → condensed → run → report, as the verbs leave them."""
    ws = scores.workspace
    subset = select(scores, per_class=m, interval=k, quiet=True, **options)
    condensed = make(ws, "condensed", [subset], "c")
    run = make(ws, "runs", [condensed], "r", seed=seed, steps=steps)
    samples = make(ws, "samples", [run], "d")
    reader = make(ws, "runs", [scores.parent("datasets")], judge)
    return make(ws, "reports", [run, samples, reader], of, {"accuracy": accuracy, "fd": fd, "kid": None})


def test_runs_that_differ_in_k_alone_go_together(scored):
    for k, accuracy in ((1, 0.5), (4, 0.7), (9, 0.9), (12, 0.8)):
        judged(scored, k, accuracy, 10 - accuracy)
    judged(scored, 4, 0.6, 9.0, seed=1)  # a repeat
    judged(scored, 6, 0.1, 1.0, steps=20)  # trained longer
    judged(scored, 7, 0.1, 1.0, m=4)  # another budget
    judged(scored, 8, 0.1, 1.0, of="other options of judging")
    judged(scored, 2, 0.1, 1.0, judge="another classifier")
    judged(scored, 3, 0.1, 1.0, strategy="random")
    whole = make(scored.workspace, "runs", [scored.parent("datasets")], "whole")
    make(scored.workspace, "reports", [whole], "w", {"accuracy": 1.0})
    groups = trained(scored)
    assert sorted({one.k for one in groups[0]}) == [1, 4, 9, 12]
    assert sorted(len(group) for group in groups) == [1, 1, 1, 1, 5]
    assert {one.budget for one in groups[0]} == {(5, 0, 0)}
    with pytest.raises(D2CError, match="no interval k"):
        trained(scored, "random")


def test_agreement_is_spearmans_and_plus_one_is_good(scored):
    ks, accuracy = [1, 4, 7, 9, 12], [0.5, 0.7, 0.6, 0.9, 0.8]
    for k, value in zip(ks, accuracy, strict=True):
        judged(scored, k, value, 3 - value)
    judged(scored, 4, 0.9, 2.1, seed=1)
    ranking = Ranking(scored.table("scores.parquet"), features=load(scored, SelectConfig(interval="auto")).features)
    curves = ranking.proxy.curves(5)
    (group,) = trained(scored)
    found = agreement(group, curves)
    assert (found.k.tolist(), found.runs.tolist()) == (ks, [1, 2, 1, 1, 1])
    means = [0.5, 0.8, 0.6, 0.9, 0.8]
    np.testing.assert_allclose(found.judged["accuracy"], means)
    assert set(found.judged) == {"accuracy", "fd"}  # kid was not said
    at = [curves.k.tolist().index(k) for k in ks]
    for name, more_is_better in PROXIES.items():
        said = getattr(curves, name)[at]
        np.testing.assert_array_equal(found.proxy[name], said)
        for metric in found.judged:
            values = found.judged[metric]
            with warnings.catch_warnings(action="ignore"):  # all are equal
                expected = spearmanr(
                    values if METRICS[metric] else -values, said if more_is_better else -said
                ).statistic
            if found.rho[metric, name] is None:
                assert np.isnan(expected)
            else:
                assert found.rho[metric, name] == pytest.approx(expected)
    assert found.rho["accuracy", "coverage"] == pytest.approx(found.rho["fd", "coverage"])


def test_an_automatic_choice_counts_with_the_k_it_came_to(scored):
    judged(scored, "auto", 0.5, 1.0)
    judged(scored, 2, 0.6, 1.0)
    (group,) = trained(scored)
    subset = next(s for s in scored.workspace.list("subsets") if s.recipe["interval"] == "auto")
    assert sorted(one.k for one in group) == sorted([subset.facts["interval"], 2])


def test_too_few_runs_have_no_correlation(scored):
    assert trained(scored) == []
    judged(scored, 2, 0.5, 1.0)
    judged(scored, 5, 0.6, 0.9)
    (group,) = trained(scored)
    ranking = Ranking(scored.table("scores.parquet"), features=load(scored, SelectConfig(interval="auto")).features)
    assert set(agreement(group, ranking.proxy.curves(5)).rho.values()) == {None}
