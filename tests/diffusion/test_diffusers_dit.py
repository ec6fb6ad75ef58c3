import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from d2c.diffusion.autoencoders import load as load_autoencoder
from d2c.diffusion.diffusers_dit import describe, load
from d2c.errors import D2CError

diffusers = pytest.importorskip("diffusers")
CPU = torch.device("cpu")
SHAPE = {
    "num_attention_heads": 3,
    "attention_head_dim": 64,
    "num_layers": 6,
    "sample_size": 8,
    "num_embeds_ada_norm": 10,
}


def make(tied=True, **options):
    """A random DiTTransformer2DModel as small as a size that we know, its embedders shared as a converted one's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = diffusers.DiTTransformer2DModel(**SHAPE | {"in_channels": 4, "out_channels": 8} | options).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    if tied:
        for block in model.transformer_blocks[1:]:
            block.norm1.emb.load_state_dict(model.transformer_blocks[0].norm1.emb.state_dict())
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("dit") / "transformer"
    make().save_pretrained(place)
    return place


@pytest.fixture
def pipeline(tmp_path, folder):
    """A DiTPipeline's folder: transformer, autoencoder, names of classes."""
    place = tmp_path / "pipeline"
    vae = diffusers.AutoencoderKL(
        block_out_channels=[8, 8], latent_channels=4, norm_num_groups=4, down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2, scaling_factor=0.5,
    )  # fmt: skip
    names = {str(i): f"kind {i}, sort {i}" for i in range(10)}
    made = diffusers.DiTPipeline(make(), vae, diffusers.DDIMScheduler(), id2label={int(k): v for k, v in names.items()})
    made.save_pretrained(place)
    index = json.loads((place / "model_index.json").read_text())
    (place / "model_index.json").write_text(json.dumps(index | {"id2label": names}))
    return place


@torch.no_grad()
def outputs(theirs, ours, shift):
    for block in theirs.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = shift
    x, t, y = torch.randn(4, 4, 8, 8), torch.tensor([0, 17, 500, 999]), torch.tensor([0, 3, 9, 10])
    return theirs(x, timestep=t, class_labels=y).sample, ours(x, t, y)


def test_the_same_output_as_diffusers(folder):
    ours = load(describe(folder), CPU)
    assert not ours.training
    assert (ours.config.name, ours.config.path, ours.config.learn_sigma) == ("DiT-Ti/2", "dit", True)
    theirs, found = outputs(make(norm_eps=1e-6), ours, shift=0)  # the frequencies and ε of DiT's own code
    assert theirs.std() > 0.1
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=1e-5)


def test_as_diffusers_computes_it_is_near_but_another_thing(folder):
    """Why the module's head speaks of frequencies: diffusers' own forward strays from what DiT was trained with."""
    theirs, found = outputs(diffusers.DiTTransformer2DModel.from_pretrained(folder), load(describe(folder), CPU), 1)
    torch.testing.assert_close(found[:1], theirs[:1], rtol=1e-3, atol=1e-3)  # at t = 0 only the norm's ε differs
    assert (found - theirs)[1:].abs().max() > 1e-3


def test_a_sharded_folder_and_one_of_tensors_in_a_pickle(folder, tmp_path):
    ours = load(describe(folder), CPU).state_dict()
    make().save_pretrained(tmp_path / "sharded", max_shard_size="4MB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    make().save_pretrained(tmp_path / "pickled", safe_serialization=False)
    for name in ("sharded", "pickled"):
        found = load(describe(tmp_path / name), CPU).state_dict()
        assert all(torch.equal(value, found[key]) for key, value in ours.items())
    next((tmp_path / "sharded").glob("*-00002-*")).unlink()
    with pytest.raises(D2CError, match=r"lacks diffusion_pytorch_model-00002-of-\d+\.safetensors"):
        load(describe(tmp_path / "sharded"), CPU)


class Evil:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_a_pickle_that_wants_more_is_refused(folder, tmp_path, capsys):
    place = tmp_path / "evil"
    place.mkdir()
    (place / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save({"pos_embed.proj.weight": Evil()}, place / "diffusion_pytorch_model.bin")
    with pytest.raises(D2CError, match="holds more than tensors"):
        load(describe(place), CPU)
    assert "unpickled" not in capsys.readouterr().out


def test_a_pipeline_brings_its_autoencoder_and_names(pipeline):
    for place in (pipeline, pipeline / "transformer"):
        found = describe(place)
        assert found.place == pipeline / "transformer"
        assert found.config.autoencoder == str(pipeline / "vae")
        assert found.classes[3] == "kind 3, sort 3"
    assert load_autoencoder(found.config.autoencoder).scale == 0.5
    (pipeline / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    assert describe(pipeline).licence == "cc-by-nc-4.0"
    index = json.loads((pipeline / "model_index.json").read_text())
    del index["id2label"]
    (pipeline / "model_index.json").write_text(json.dumps(index))
    assert describe(pipeline).classes == ()


def test_a_transformer_alone_has_the_released_autoencoder(folder):
    assert describe(folder).config.autoencoder == "stabilityai/sd-vae-ft-ema"


def test_other_pipelines_are_told(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(D2CError, match=r"is a FluxPipeline, not a DiTPipeline: .* captions StableDiffusionPipeline, "):
        describe(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_class_name": "UNet2DModel"}, "holds a UNet2DModel, not a DiTTransformer2DModel"),
        ({"num_layers": 5}, "is 192 wide with 5 blocks of 3 heads, which is no DiT size known"),
        ({"num_attention_heads": 4, "attention_head_dim": 48}, "of 4 heads, which is no DiT size"),
        ({"norm_type": "layer_norm"}, "its norm_type is 'layer_norm', not 'ada_norm_zero'"),
        ({"attention_bias": False}, "its attention_bias is False, not True"),
        ({"out_channels": 5}, "puts out 5 channels for 4"),
        ({"sample_size": "big"}, "a size in it is no number"),
        ({"patch_size": 3}, "no model 'DiT-Ti/3'"),
    ],
)
def test_models_that_are_no_dit_are_told(folder, tmp_path, change, said):
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(D2CError, match=said) as caught:
        describe(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_trained_in_diffusers_is_no_dit(tmp_path):
    make(tied=False).save_pretrained(tmp_path)
    with pytest.raises(D2CError, match=r"another class_embedder\.embedding_table\.weight in block 1 than before it"):
        load(describe(tmp_path), CPU)


def test_weights_that_do_not_fit_are_named(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(D2CError, match=r"holds no weights: none of diffusion_pytorch_model\.safetensors"):
        load(describe(tmp_path), CPU)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    state = load_file(folder / file.name)
    save_file(state | {"extra": torch.zeros(1)}, file)
    with pytest.raises(D2CError, match="does not fit DiT-Ti/2: extra is not known"):
        load(describe(tmp_path), CPU)
    del state["transformer_blocks.2.attn1.to_k.bias"]
    save_file(state, file)
    with pytest.raises(D2CError, match=r"blocks\.2\.attn\.qkv\.bias is missing"):
        load(describe(tmp_path), CPU)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_embeds_ada_norm": 1000}))
    save_file(load_file(folder / file.name), file)
    with pytest.raises(D2CError, match=r"embedding_table\.weight is \(11, 192\), not \(1001, 192\)"):
        load(describe(tmp_path), CPU)


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_damaged_descriptions_are_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(D2CError, match="holds no JSON object"):
        describe(tmp_path)


def test_diffusers_is_not_needed(folder):
    code = (
        "import sys; from pathlib import Path; import torch; from d2c.diffusion.diffusers_dit import describe, load; "
        "load(describe(Path(sys.argv[1])), torch.device('cpu')); print('diffusers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
