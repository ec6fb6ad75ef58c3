"""Each kind of pipeline against a computation by hand, with the objects of diffusers alone."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import DDPMScheduler
from transformers import CLIPTokenizer

from d2c.diffusion.autoencoders import load
from d2c.diffusion.pipelines import config_of, digest_of_pipeline
from d2c.diffusion.text2image import open_text2image
from d2c.errors import D2CError
from tests.diffusion.tiny_pipelines import MAKERS, SIDE, edit, write

CAPTIONS = ["a cat", "a dog on the mat", "cat cat dog", "", "the quick brown fox jumps over the lazy dog"]
WITHOUT_T5 = "sd3-without-t5"


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """folders(name) → the folder of a tiny pipeline, made once; copy it before changing it."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = write(name, tmp_path_factory.mktemp("pipeline") / name)
        return made[name]

    return make


@pytest.fixture
def copied(folders, tmp_path):
    return lambda name: shutil.copytree(folders(name), tmp_path / name)


def noise(n, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, channels, SIDE, SIDE, generator=generator) for _ in range(2))


def errors(scorer, captions, x, eps, t):
    cond = scorer.condition(captions)
    with torch.no_grad():
        out = scorer(scorer.path.interpolate(x, eps, t), t, cond)
    return scorer.path.squared_error(scorer.prediction(out), x, eps, t)


# by hand ------------------------------------------------------------------------------------------------------


def ids(tokenizer, captions, length):
    return tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt")


def clip_states(pipe, captions, suffix=""):
    """What CLIP says before its last layer, and its pooled embedding."""
    tokens = ids(getattr(pipe, f"tokenizer{suffix}"), captions, 77).input_ids
    out = getattr(pipe, f"text_encoder{suffix}")(tokens, output_hidden_states=True)
    return out.hidden_states[-2], out[0]


def chain(pipe):
    """The training side of any sampler on the chain."""
    return DDPMScheduler.from_config(pipe.scheduler.config)


def by_hand_sd(pipe, captions, x, eps, t):
    text = pipe.text_encoder(ids(pipe.tokenizer, captions, 77).input_ids)[0]
    x_t = chain(pipe).add_noise(x, eps, t)
    return pipe.unet(x_t, t, encoder_hidden_states=text).sample, eps


def by_hand_sd2(pipe, captions, x, eps, t):
    prediction, _ = by_hand_sd(pipe, captions, x, eps, t)
    return prediction, pipe.scheduler.get_velocity(x, eps, t)


def by_hand_sdxl(pipe, captions, x, eps, t):
    (first, _), (second, pooled) = clip_states(pipe, captions), clip_states(pipe, captions, "_2")
    side = float(SIDE * pipe.vae_scale_factor)
    size = torch.tensor([[side, side, 0, 0, side, side]]).repeat(len(captions), 1)
    x_t = chain(pipe).add_noise(x, eps, t)
    added = {"text_embeds": pooled, "time_ids": size}
    text = torch.cat([first, second], -1)
    return pipe.unet(x_t, t, encoder_hidden_states=text, added_cond_kwargs=added).sample, eps


def by_hand_pixart(pipe, captions, x, eps, t, length=120, sized=True):
    found = ids(pipe.tokenizer, captions, length)
    text = pipe.text_encoder(found.input_ids, attention_mask=found.attention_mask)[0]
    side = float(SIDE * pipe.vae_scale_factor)
    added = {"resolution": torch.full((len(x), 2), side), "aspect_ratio": torch.ones(len(x), 1)}
    out = pipe.transformer(
        chain(pipe).add_noise(x, eps, t),
        encoder_hidden_states=text,
        encoder_attention_mask=found.attention_mask,
        timestep=t,
        added_cond_kwargs=added if sized else {"resolution": None, "aspect_ratio": None},
    ).sample
    return out.chunk(2, dim=1)[0], eps


def by_hand_pixart_sigma(pipe, captions, x, eps, t):
    return by_hand_pixart(pipe, captions, x, eps, t, length=300, sized=False)


def by_hand_sd3(pipe, captions, x, eps, t):
    (first, pooled), (second, pooled_2) = clip_states(pipe, captions), clip_states(pipe, captions, "_2")
    clip = torch.cat([first, second], -1)
    if pipe.text_encoder_3 is None:
        t5 = torch.zeros(len(captions), 256, pipe.transformer.config.joint_attention_dim)
    else:
        t5 = pipe.text_encoder_3(ids(pipe.tokenizer_3, captions, 256).input_ids)[0]
    sigma = t.reshape(-1, 1, 1, 1)
    out = pipe.transformer(
        (1 - sigma) * x + sigma * eps,
        timestep=1000 * t,
        encoder_hidden_states=torch.cat([clip, t5], 1),
        pooled_projections=torch.cat([pooled, pooled_2], -1),
    ).sample
    return out, eps - x


BY_HAND = {
    "sd": by_hand_sd,
    "sd2": by_hand_sd2,
    "sdxl": by_hand_sdxl,
    "pixart": by_hand_pixart,
    "pixart-sigma": by_hand_pixart_sigma,
    "sd3": by_hand_sd3,
    WITHOUT_T5: by_hand_sd3,
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_error_is_the_one_computed_by_hand(folders, name):
    import diffusers

    scorer = open_text2image(folders(name))
    absent = {"text_encoder_3": None, "tokenizer_3": None} if name == WITHOUT_T5 else {}
    pipe = getattr(diffusers, scorer.config.name).from_pretrained(folders(name), local_files_only=True, **absent)
    x, eps = noise(len(CAPTIONS), scorer.config.channels)
    for t in scorer.path.timesteps(5)[[0, 2, 4]]:
        with torch.no_grad():
            prediction, target = BY_HAND[name](pipe, CAPTIONS, x, eps, t.repeat(len(CAPTIONS)))
        expected = (prediction - target).square().mean((1, 2, 3))
        torch.testing.assert_close(errors(scorer, CAPTIONS, x, eps, t[None]), expected, rtol=1e-5, atol=1e-5)


def test_sd3_walks_the_clock_of_its_scheduler(folders):
    scorer = open_text2image(folders("sd3"))
    scheduler = scorer.pipe.scheduler
    x, eps = noise(1, 16)
    for i in (100, 900):
        t = scheduler.sigmas[i : i + 1]
        torch.testing.assert_close(
            scheduler.scale_noise(x, scheduler.timesteps[i : i + 1], eps), scorer.path.interpolate(x, eps, t)
        )
        torch.testing.assert_close(scorer.clock * t, scheduler.timesteps[i : i + 1])


@pytest.mark.parametrize("name", MAKERS)
def test_an_error_depends_on_its_caption_and_not_on_its_batch(folders, name):
    scorer = open_text2image(folders(name))
    n = len(CAPTIONS)
    x, eps = (z[:1].expand(n, -1, -1, -1) for z in noise(1, scorer.config.channels))
    t = scorer.path.timesteps(3)[1:2]
    together = errors(scorer, CAPTIONS, x, eps, t)
    alone = torch.cat([errors(scorer, [caption], x[:1], eps[:1], t) for caption in CAPTIONS])
    turned = errors(scorer, CAPTIONS[::-1], x, eps, t).flip(0)
    torch.testing.assert_close(alone, together, rtol=3e-6, atol=0)
    torch.testing.assert_close(turned, together, rtol=3e-6, atol=0)
    distances = (together[:, None] - together[None]).abs() + torch.eye(n)
    assert distances.min() > 1e-5 * together.mean()


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_is_the_empty_prompt(folders, name):
    scorer = open_text2image(folders(name))
    nothing, empty = scorer.null(3), scorer.condition([""])
    for key, value in nothing.items():
        assert value.shape[0] == 3
        zeroed = name == "sdxl" and key in ("encoder_hidden_states", "text_embeds")  # what SDXL is guided with
        assert torch.equal(value[2:], torch.zeros_like(empty[key]) if zeroed else empty[key])
    x, _ = noise(3, scorer.config.channels)
    assert scorer(x, scorer.path.timesteps(1), nothing).isfinite().all()


def test_sdxl_may_take_the_empty_prompt_itself(copied):
    folder = copied("sdxl")
    before = digest_of_pipeline(folder)
    edit(folder / "model_index.json", force_zeros_for_empty_prompt=False)
    scorer = open_text2image(folder)
    assert torch.equal(scorer.null(1)["encoder_hidden_states"], scorer.condition([""])["encoder_hidden_states"])
    assert digest_of_pipeline(folder) != before


@pytest.mark.parametrize(("name", "length"), [("sd", 77), ("sdxl", 77), ("pixart", 120), ("sd3", 77 + 256)])
def test_long_captions_are_cut_without_a_word(folders, name, length, caplog, capfd):
    scorer = open_text2image(folders(name))
    long = scorer.condition(["cat " * 500])["encoder_hidden_states"]
    assert long.shape[:2] == (1, length)
    assert torch.equal(long, scorer.condition(["cat " * 600])["encoder_hidden_states"])
    assert not [r for r in caplog.records if "truncated" in r.message or "longer" in r.message]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", MAKERS)
def test_the_configuration_names_an_autoencoder_that_fits(folders, name):
    config = config_of(folders(name))
    autoencoder = load(config.autoencoder)
    assert (autoencoder.channels, autoencoder.factor) == (config.channels, config.factor)
    assert (config.image_size, config.num_classes) == (SIDE, 0)
    assert config.tokens == (SIDE**2 // 10 if name.startswith("sd") and "3" not in name else (SIDE // 2) ** 2)
    assert open_text2image(folders(name)).config == config


def test_only_the_network_counts_as_the_model(folders):
    scorer = open_text2image(folders("sd"))
    scorer.eval()
    assert not any(p.requires_grad for p in scorer.parameters())
    assert not any(module.training for module in scorer.modules())
    assert sum(p.numel() for p in scorer.parameters()) == sum(p.numel() for p in scorer.pipe.unet.parameters())
    assert scorer.pipe.vae is None
    assert scorer.pipe.safety_checker is None


@pytest.mark.parametrize("name", ["sdxl", "pixart", "sd3"])
def test_half_precision(folders, name):
    full, half = open_text2image(folders(name)), open_text2image(folders(name), dtype=torch.bfloat16)
    assert half.net.dtype == half.pipe.text_encoder.dtype == torch.bfloat16
    x, eps = noise(2, full.config.channels)
    t = full.path.timesteps(3)[1:2]
    expected = errors(full, CAPTIONS[:2], x, eps, t)
    assert errors(half, CAPTIONS[:2], x, eps, t).dtype == torch.float32
    torch.testing.assert_close(errors(half, CAPTIONS[:2], x, eps, t), expected, rtol=0.02, atol=0)
    cond = full.condition(CAPTIONS[:2])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = full(full.path.interpolate(x, eps, t), t, cond)
    torch.testing.assert_close(full.path.squared_error(full.prediction(out), x, eps, t), expected, rtol=0.02, atol=0)


@pytest.mark.parametrize("name", ["sdxl", "pixart", "sd3"])
def test_one_graph_serves_every_timestep(folders, name):
    """The estimator compiles the scorer: a break or a recompilation would cost more than it brings."""
    scorer = open_text2image(folders(name))
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(scorer, backend=count, dynamic=False, fullgraph=True)
    cond = scorer.condition(CAPTIONS[:2])
    x, _ = noise(2, scorer.config.channels)
    with torch.inference_mode():
        for t in scorer.path.timesteps(3):
            torch.testing.assert_close(compiled(x, t[None], cond), scorer(x, t[None], cond))
    assert len(graphs) == 1


@pytest.mark.parametrize("options", [{"variant": "fp16"}, {"max_shard_size": "40KB"}])
@pytest.mark.parametrize("name", ["sdxl", "pixart"])
def test_variants_and_shards(folders, tmp_path, name, options):
    plain, other = open_text2image(folders(name)), open_text2image(write(name, tmp_path / name, **options))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), other.parameters(), strict=True))
    x = torch.rand(1, 3, 2 * SIDE, 2 * SIDE)
    assert torch.equal(load(plain.config.autoencoder).encode(x)[0], load(other.config.autoencoder).encode(x)[0])


def test_t5_may_be_left_out_of_sd3(copied, folders):
    folder = copied("sd3")
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(folder / part)
    scorer = open_text2image(folder)
    assert not scorer.condition(["a cat"])["encoder_hidden_states"][:, 77:].any()
    assert digest_of_pipeline(folder) != digest_of_pipeline(folders("sd3"))


def test_a_clip_tokenizer_as_older_folders_hold_it(copied):
    folder = copied("sd")
    new = open_text2image(folder)
    tokenizer = folder / "tokenizer"
    (tokenizer / "tokenizer.json").unlink()
    (tokenizer / "vocab.json").write_text(json.dumps(new.pipe.tokenizer.get_vocab()))
    (tokenizer / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    old = open_text2image(folder)
    assert isinstance(old.pipe.tokenizer, CLIPTokenizer)
    assert torch.equal(
        old.condition(CAPTIONS)["encoder_hidden_states"], new.condition(CAPTIONS)["encoder_hidden_states"]
    )


def test_a_t5_tokenizer_as_pixart_was_released(copied):
    """A SentencePiece model alone."""
    import io

    import sentencepiece

    folder = copied("pixart")
    (folder / "tokenizer" / "tokenizer.json").unlink()
    model, words = io.BytesIO(), ["a cat sat on the mat", "a dog ran to the cat"] * 20
    special = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words), model_writer=model, vocab_size=19, minloglevel=2, **special
    )
    (folder / "tokenizer" / "spiece.model").write_bytes(model.getvalue())
    scorer = open_text2image(folder)
    tokens = scorer.pipe.tokenizer("a cat").input_ids
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    assert tokens == [*pieces.encode("a cat"), 1]
    assert scorer.condition(["a cat"])["encoder_attention_mask"].sum() == len(tokens)


def test_what_cannot_be_read_is_one_line(copied, monkeypatch):
    folder = copied("sd")

    def refused(said):
        with pytest.raises(D2CError, match=said) as caught:
            open_text2image(folder)
        assert "\n" not in str(caught.value)

    edit(folder / "scheduler" / "scheduler_config.json", prediction_type="sample")
    refused("scheduler: no prediction_type 'sample'")
    edit(folder / "scheduler" / "scheduler_config.json", _class_name="LCMScheduler")
    refused("no scheduler 'LCMScheduler' is known; known: DDPMScheduler")
    edit(folder / "scheduler" / "scheduler_config.json", _class_name="DDIMScheduler", prediction_type="epsilon")
    open_text2image(folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    refused("no pipeline can be read from")
    weights.write_bytes(whole)
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    refused("need the package transformers: pip install transformers")


def test_what_does_not_fit_into_memory_is_one_line(folders, monkeypatch):
    import diffusers

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory\nmany lines")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "to", full)
    with pytest.raises(D2CError, match=r"the 0.0 GB of .*sd do not fit into the memory of cuda:1"):
        open_text2image(folders("sd"), "cuda:1")


def test_what_a_scheduler_leaves_out_is_its_own_default(copied):
    """Older folders hold few settings."""
    folder = copied("pixart")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({"_class_name": "DDIMScheduler"}))
    path = open_text2image(folder).path
    assert (path.schedule, path.start, path.end, path.steps, path.weighting) == ("linear", 1e-4, 0.02, 1000, "eps")
