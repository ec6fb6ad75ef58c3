import json

import pytest
import torch

from d2c.diffusion.autoencoders import TAEF2, load, networks, weights_digest
from d2c.errors import D2CError


def pictures(channels=3, side=16):
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_identity_changes_nothing():
    identity, x = load("identity"), pictures(1)
    mean, std = identity.encode(x)
    assert (identity.name, identity.factor) == ("identity", 1)
    assert torch.equal(identity.decode(mean), x)
    assert not std.any()


@pytest.fixture(scope="session")
def kl():
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=5, scaling_factor=0.5, shift_factor=0.2,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip


@pytest.mark.parametrize("given", ["folder", "file"])
def test_a_kl_autoencoder_with_its_scale_and_shift(kl, tmp_path, given):
    kl.save_pretrained(tmp_path)
    place = tmp_path if given == "folder" else tmp_path / "diffusion_pytorch_model.safetensors"
    autoencoder, x = load(str(place)), pictures()
    assert (autoencoder.factor, autoencoder.channels) == (2, 5)
    mean, std = autoencoder.encode(x)
    with torch.no_grad():
        posterior = kl.encode(x).latent_dist
        torch.testing.assert_close(mean, 0.5 * (posterior.mean - 0.2))
        torch.testing.assert_close(std, 0.5 * posterior.std)
        torch.testing.assert_close(autoencoder.decode(mean), kl.decode(posterior.mean).sample)
    assert std.min() > 0


def test_a_tiny_autoencoder(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    tiny = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=6,
    ).eval()  # fmt: skip
    tiny.save_pretrained(tmp_path)
    autoencoder, x = load(str(tmp_path)), pictures()
    mean, std = autoencoder.encode(x)
    assert (autoencoder.factor, autoencoder.channels, tuple(mean.shape)) == (2, 6, (2, 6, 8, 8))
    assert not std.any()
    with torch.no_grad():
        torch.testing.assert_close(mean, tiny.encode(x).latents)
        torch.testing.assert_close(autoencoder.decode(mean), tiny.decode(mean).sample)


def taef2_shapes():
    """Keys and shapes of the released files, as listed from them."""
    w, plain, pooled = 64, {}, {}
    for i in (0, 2, 4):
        plain |= {f"conv.{i}.weight": (w, w, 3, 3), f"conv.{i}.bias": (w,)}
    pooled = plain | {"pool.0.weight": (256, w, 1, 1), "pool.1.weight": (256,), "pool.1.bias": (256,)}
    pooled |= {"pool.3.weight": (w, 256, 1, 1)}

    def files(conv, bare, normal, middle):
        shapes = {f"{i}.weight": shape for i, shape in conv.items()}
        shapes |= {f"{i}.bias": shape[:1] for i, shape in conv.items()}
        shapes |= {f"{i}.weight": (w, w, 3, 3) for i in bare}
        shapes |= {f"{i}.{k}": s for i in normal for k, s in plain.items()}
        return shapes | {f"{i}.{k}": s for i in middle for k, s in pooled.items()}

    encoder = files({0: (w, 3, 3, 3), 14: (32, w, 3, 3)}, (2, 6, 10), (1, 3, 4, 5, 7, 8, 9), (11, 12, 13))
    decoder = files({1: (w, 32, 3, 3), 19: (3, w, 3, 3)}, (7, 12, 17), (8, 9, 10, 13, 14, 15, 18), (3, 4, 5))
    return {"encoder": encoder, "decoder": decoder}


@pytest.fixture
def taef2_folder(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for part, shapes in taef2_shapes().items():
        state = {k: torch.randn(s, generator=generator) * (0.05 if len(s) > 1 else 0.1) for k, s in shapes.items()}
        torch.save(state, tmp_path / f"taef2_{part}.pth")
    return tmp_path


def test_taef2_files_fit_place_by_place(taef2_folder):
    autoencoder, x = load(f"taef2:{taef2_folder}"), pictures()
    assert (autoencoder.factor, autoencoder.channels) == (8, 32)
    state = torch.load(taef2_folder / "taef2_encoder.pth", weights_only=True)
    assert all(torch.equal(v, state[k]) for k, v in autoencoder.encoder.state_dict().items())
    mean, std = autoencoder.encode(x)
    assert mean.shape == std.shape == (2, 32, 2, 2)
    assert not std.any()
    assert autoencoder.decode(mean).shape == x.shape
    assert not torch.equal(mean, TAEF2().encode(x)[0])


def test_taef2_s_middle_block_written_out(taef2_folder):
    from torch.nn import functional as F

    autoencoder = load(f"taef2:{taef2_folder}")
    state = autoencoder.decoder.state_dict()
    h = torch.randn(2, 64, 4, 4)

    def conv(x, key, padding):
        return F.conv2d(x, state[key + ".weight"], state.get(key + ".bias"), padding=padding)

    wide = F.group_norm(conv(h, "3.pool.0", 0), 4, state["3.pool.1.weight"], state["3.pool.1.bias"]).relu()
    into = h + conv(wide, "3.pool.3", 0)
    out = conv(conv(conv(into, "3.conv.0", 1).relu(), "3.conv.2", 1).relu(), "3.conv.4", 1)
    with torch.no_grad():
        torch.testing.assert_close(autoencoder.decoder[3](h), (out + into).relu())


def test_taef2_missing_or_foreign_files_are_one_line(taef2_folder, tmp_path):
    torch.save({"0.weight": torch.zeros(1)}, taef2_folder / "taef2_decoder.pth")
    for place, said in (
        (taef2_folder, "decoder.pth does not hold"),
        (tmp_path / "none", "needs taef2_encoder.pth and"),
    ):
        with pytest.raises(D2CError, match=said) as caught:
            load(f"taef2:{place}")
        assert "\n" not in str(caught.value)


def test_missing_hub_weights_name_the_ways_to_supply_them(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")

    def nobody(*args, **kwargs):
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *a, **k: None)
    monkeypatch.setattr(hub, "get_hf_file_metadata", nobody)
    with pytest.raises(D2CError) as caught:
        load("somebody/some-vae")
    said = str(caught.value)
    assert "\n" not in said
    for way in ("no route to host", "be reached", "HF_HUB_OFFLINE", "folder or file", "cache at"):
        assert way in said


@pytest.mark.parametrize("name", ["/no/such", "./no", "../no", "~/no/such", "no", "org/name/more", "an org/name"])
def test_what_is_neither_there_nor_a_hubs_name_is_not_asked_for(monkeypatch, name):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *a, **k: pytest.fail("the hub was asked"))
    with pytest.raises(D2CError) as caught:
        load(name)
    assert str(caught.value) == f"no autoencoder at {name}: give a folder, a file or a hub's ORG/NAME"


@pytest.mark.parametrize("given", ["folder", "file", "hub"])
def test_nothing_is_printed_about_packages_that_are_not_needed(kl, tmp_path, given, capfd, monkeypatch):
    modeling = pytest.importorskip("diffusers.models.modeling_utils")
    monkeypatch.setattr(modeling, "is_accelerate_available", lambda: False)
    kl.save_pretrained(tmp_path)
    place = str(tmp_path / "diffusion_pytorch_model.safetensors") if given == "file" else str(tmp_path)
    if given == "hub":
        monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a: str(tmp_path / "config.json"))
        plain = type(kl).from_pretrained
        monkeypatch.setattr(type(kl), "from_pretrained", lambda name, **options: plain(tmp_path, **options))
        place = "somebody/some-vae"
    assert load(place).channels == 5
    assert "accelerate" not in "".join(capfd.readouterr())


def test_a_pickle_that_wants_more_is_refused(taef2_folder):
    torch.save({"0.weight": print}, taef2_folder / "taef2_encoder.pth")
    with pytest.raises(D2CError, match=r"taef2_encoder\.pth holds more than tensors, which d2c does not unpickle"):
        load(f"taef2:{taef2_folder}")


@pytest.mark.parametrize("content", [None, "{", '{"_class_name": "UNet2DModel"}', '{"_class_name": "AutoencoderKL"}'])
def test_a_folder_that_holds_no_autoencoder_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(D2CError) as caught:
        load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    (tmp_path / "vae.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(D2CError, match="no autoencoder can be read"):
        load(str(tmp_path / "vae.safetensors"))


def test_weights_are_known_by_their_content(kl, taef2_folder, tmp_path):
    kl.save_pretrained(tmp_path / "a")
    kl.save_pretrained(tmp_path / "b")
    one, other = load(str(tmp_path / "a")), load(str(tmp_path / "b"))
    digest = weights_digest(one)
    assert weights_digest(other) == digest
    assert len(digest) == 64
    other.net.to(memory_format=torch.channels_last)  # another place in memory, the same numbers
    assert weights_digest(other) == digest
    bias = other.net.encoder.conv_in.bias
    with torch.no_grad():
        bias[0] = torch.nextafter(bias[0], torch.tensor(9.0))
    assert weights_digest(other) != digest
    assert weights_digest(load(str(tmp_path / "a")).to("cpu")) == digest
    one.net.half()
    assert weights_digest(one) != digest
    tiny = load(f"taef2:{taef2_folder}")
    assert list(networks(tiny)) == ["decoder", "encoder"]
    assert weights_digest(tiny) not in (digest, weights_digest(TAEF2()))
    assert networks(load("identity")) == {}
