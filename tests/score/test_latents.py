"""Scoring in a latent space: encoded once for all scorers of one autoencoder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from d2c.artifacts import Artifact
from d2c.data import latents as latents_module
from d2c.data.ingest import ingest
from d2c.data.latents import Latents, encode
from d2c.data.store import pixels
from d2c.diffusion.autoencoders import load, weights_digest
from d2c.diffusion.checkpoints import save_model
from d2c.errors import D2CError
from d2c.score import score
from d2c.score import stream as stream_module
from d2c.score.estimator import Estimator
from d2c.score.grid import Grid
from d2c.score.judges import ClassJudge
from d2c.score.weighting import scored
from tests.score.common import OPTIONS, interrupted, same

CPU = torch.device("cpu")


def autoencoder(folder: Path, seed: int = 0) -> str:
    """A tiny random AutoencoderKL of factor 2, as diffusers saves it."""
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        diffusers.AutoencoderKL(
            block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, scaling_factor=0.18215,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        ).save_pretrained(folder)  # fmt: skip
    return str(folder)


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> str:
    return autoencoder(tmp_path_factory.mktemp("models") / "vae")


@pytest.fixture
def dataset(pictures, workspace) -> Artifact:
    return ingest(pictures("RGB", (30, 25, 8), (20, 17)), workspace=workspace, name="bugs", quiet=True)


@pytest.fixture
def scorer(make_model, vae, tmp_path):
    """scorer(seed) → the file of a tiny scorer of latents of 8 × 8, which are images of 16 × 16."""

    def make(seed: int = 0, autoencoder: str = vae, **changes) -> str:
        file = tmp_path / f"latent-{seed}.safetensors"
        save_model(file, make_model(seed=seed, channels=4, autoencoder=autoencoder, **changes), {})
        return str(file)

    return make


@pytest.fixture
def worked(monkeypatch) -> dict[str, list[int]]:
    """How many images were decoded, and encoded, slab by slab."""
    seen: dict[str, list[int]] = {"decoded": [], "encoded": []}
    for module in (latents_module, stream_module):

        def decode(images, slabs, *args, load=module.load, **options):
            for slab in (made := load(images, slabs, *args, **options)):
                seen["decoded"].append(len(slab.images))
                yield slab
            made.close()

        def encode(autoencoder, images, *args, encode=module.encode_images, **options):
            seen["encoded"].append(len(images))
            return encode(autoencoder, images, *args, **options)

        monkeypatch.setattr(module, "load", decode)
        monkeypatch.setattr(module, "encode_images", encode)
    return seen


def forget(worked: dict[str, list[int]]) -> None:
    for counts in worked.values():
        counts.clear()


def shard_files(dataset: Artifact) -> list[Path]:
    return sorted((dataset.path.parent / ".latents").glob("*/*.safetensors"))


def test_scores_are_of_the_autoencoders_means(dataset, scorer, make_model, vae):
    scores = score(dataset, scorer=scorer(), **OPTIONS)
    arrays, table = scores.arrays("errors.safetensors"), scores.table("scores.parquet")
    net, labels = load(vae), table["label"].to_numpy()
    with torch.no_grad():
        z = net.encode(torch.from_numpy(pixels(dataset, range(63), 16, 3)).float() / 127.5 - 1)[0]
    z = z.half().float()  # as the cache holds them
    places = arrays["timesteps"].astype(np.float64)
    judge = ClassJudge(make_model(seed=0, channels=4), CPU, "fp32")
    direct = Estimator(judge, CPU, Grid(places, arrays["quadrature"]), 0)
    np.testing.assert_allclose(arrays["errors"], direct.errors(z, labels), rtol=2e-3)
    at = arrays["sample_ids_b"]
    np.testing.assert_allclose(arrays["errors_b"], direct.errors(z[at], labels[at], bank=1), rtol=2e-3)
    np.testing.assert_allclose(table["difficulty"], scored(arrays, "v", "eps"), rtol=1e-6)
    across, down = z.diff(dim=-1).abs().flatten(1), z.diff(dim=-2).abs().flatten(1)
    variation = torch.cat([across, down], 1).mean(1)
    np.testing.assert_allclose(arrays["total_variation"], variation, rtol=2e-3)
    assert scores.facts["autoencoder"]["digest"] == weights_digest(net)
    assert re.fullmatch(r"models\d+/vae", scores.facts["autoencoder"]["name"])
    other = score(dataset, scorer=scorer(), weighting="v", **OPTIONS)
    assert other.facts["autoencoder"] == scores.facts["autoencoder"]


def test_another_scorer_neither_decodes_nor_encodes(dataset, scorer, small_shards, worked):
    first = score(dataset, scorer=scorer(0), **OPTIONS)
    assert sum(worked["encoded"]) == sum(worked["decoded"]) > 63
    assert len(shard_files(dataset)) == 7
    forget(worked)
    second = score(dataset, scorer=scorer(1), **OPTIONS)
    assert worked == {"decoded": [], "encoded": []}
    one, other = (s.arrays("errors.safetensors") for s in (first, second))
    for name in ("jpeg_bytes", "total_variation"):
        np.testing.assert_array_equal(one[name], other[name])
    assert not np.allclose(one["errors"], other["errors"], rtol=1e-2)


@pytest.mark.parametrize("damage", ["deleted", "cut", "flipped"])
def test_a_lost_shard_is_made_again(dataset, scorer, small_shards, worked, damage):
    score(dataset, scorer=scorer(1), **OPTIONS)
    file = shard_files(dataset)[2]
    data = bytearray(file.read_bytes())
    data[-9] ^= 64  # which its header does not show
    if damage == "deleted":
        file.unlink()
    else:
        file.write_bytes(data[:-20] if damage == "cut" else data)
    forget(worked)
    options = {"scorer": scorer(0), "grid": "uniform", **OPTIONS}
    scores = score(dataset, **options)
    assert sum(worked["decoded"]) == sum(worked["encoded"]) == 10
    for kept in shard_files(dataset):
        kept.unlink()
    same(scores, score(dataset, force=True, **options), rtol=1e-3)


def test_a_pilot_makes_its_own_latents_where_a_shard_is_lost(dataset, scorer, small_shards, worked):
    whole = score(dataset, scorer=scorer(0), **OPTIONS)
    shard_files(dataset)[2].unlink()
    forget(worked)
    same(score(dataset, scorer=scorer(0), force=True, **OPTIONS), whole, rtol=2e-3)
    assert sum(worked["encoded"]) > 10


def test_goes_on_with_scores_and_latents(dataset, scorer, small_shards, worked, monkeypatch, workspace):
    options = {"scorer": scorer(), "name": "halved", **OPTIONS}
    interrupted(monkeypatch, 25, lambda: score(dataset, batch_size=5, **options))
    kept = len(shard_files(dataset))
    assert kept >= 2
    forget(worked)
    resumed = score(dataset, **options)
    assert sum(worked["encoded"]) == 63 - 10 * kept
    same(resumed, score(dataset, **options | {"name": "whole"}, force=True), rtol=1e-4)


def test_an_autoencoder_can_be_named(dataset, scorer, worked, tmp_path):
    other = autoencoder(tmp_path / "other-vae", seed=1)
    expected = score(dataset, scorer=scorer(0), **OPTIONS)
    forget(worked)
    scores = score(dataset, scorer=scorer(0), autoencoder=other, **OPTIONS)
    assert sum(worked["encoded"]) > 63
    assert scores.fingerprint != expected.fingerprint
    assert scores.facts["autoencoder"]["digest"] == weights_digest(load(other))
    assert scores.recipe["autoencoder"].startswith(weights_digest(load(other)))
    assert scores.facts["autoencoder"]["name"].endswith("/other-vae")
    first, second = (s.arrays("errors.safetensors")["errors"] for s in (expected, scores))
    assert not np.allclose(first, second, rtol=1e-2)
    # The same weights from another place are the same recipe, and not encoded again.
    forget(worked)
    moved = autoencoder(tmp_path / "moved", seed=1)
    assert score(dataset, scorer=scorer(0), autoencoder=moved, **OPTIONS).path == scores.path
    assert worked == {"decoded": [], "encoded": []}


def test_other_weights_or_another_scale_of_the_scorers_own_autoencoder_are_another_recipe(
    dataset, make_model, tmp_path
):
    folder = Path(autoencoder(tmp_path / "own", seed=0))
    save_model(tmp_path / "m.safetensors", make_model(channels=4, autoencoder=str(folder)), {})
    options = {"scorer": str(tmp_path / "m.safetensors"), **OPTIONS}
    first = score(dataset, **options)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "scaling_factor": 1.7}))
    scaled = score(dataset, **options)
    assert scaled.fingerprint != first.fingerprint
    assert not np.allclose(*(s.table("scores.parquet")["difficulty"] for s in (first, scaled)), rtol=1e-3)


@pytest.mark.parametrize("changes", [{"channels": 3}, {"channels": 16}])
def test_an_autoencoder_of_other_channels_is_refused(dataset, make_model, vae, tmp_path, workspace, changes):
    save_model(tmp_path / "m.safetensors", make_model(**changes), {})
    if changes["channels"] == 16:
        save_model(tmp_path / "m.safetensors", make_model(autoencoder=vae, **changes), {})
    said = rf"scorer m takes {changes['channels']} channels, its autoencoder .*vae gives 4: .*--autoencoder"
    with pytest.raises(D2CError, match=said):
        score(dataset, scorer=str(tmp_path / "m.safetensors"), autoencoder=vae, **OPTIONS)
    assert workspace.list("scores") == []


def test_an_image_without_a_finite_latent_is_named(dataset, scorer, tmp_path, workspace):
    from safetensors.torch import load_file, save_file

    broken = Path(autoencoder(tmp_path / "broken"))
    file = broken / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["encoder.conv_in.bias"] += float("nan")
    save_file(weights, file)
    with pytest.raises(D2CError, match=r"the latent of image \d+ of datasets/bugs .*is not finite") as caught:
        score(dataset, scorer=scorer(), autoencoder=str(broken), grid="uniform", **OPTIONS)
    assert "\n" not in str(caught.value)
    assert workspace.list("scores") == []


def test_the_cache_is_that_of_training_too(dataset, scorer, vae, worked):
    encode(dataset, load(vae), 16, "moments", "cpu", "fp32")
    forget(worked)
    score(dataset, scorer=scorer(), **OPTIONS)
    assert worked == {"decoded": [], "encoded": []}
    assert Latents(dataset, load(vae), 16, "mean", "fp32").complete
