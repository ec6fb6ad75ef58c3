"""Between images and what a model works on: pixels as they are, or the latents of an autoencoder."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import tempfile
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from d2c.errors import D2CError
from d2c.unread import brief, unread

#: the autoencoder of Stable Diffusion 1, for a single file of its weights, which does not say so itself.
SD_VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
    "sample_size": 256,
}
TAEF2_CHANNELS = 32
TIMEOUT = 5.0  # s to wait for the hub's first answer
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
#: diffusers' other way, and its default, needs the package accelerate: it says so in five lines when that is not there.
_OPTIONS = {"low_cpu_mem_usage": False}


class Autoencoder(Protocol):
    """Images x (N, 3, S, S) in [−1, 1] ↔ latents z (N, channels, S/factor, S/factor), scaled to about unit variance.

    A latent is drawn as mean + std·n with n ~ N(0, I); for scoring it is the mean.
    """

    name: str
    factor: int
    channels: int  # 0: as many as the image has

    def to(self, device: torch.device | str) -> Autoencoder:
        """The same autoencoder, its weights on a device."""
        ...

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latent, both of z's shape."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """The image of a latent, about in [−1, 1]; not clamped."""
        ...


class Identity:
    """Pixel space: the latent is the image."""

    name, factor, channels = "identity", 1, 0

    def to(self, device: torch.device | str) -> Identity:
        """Itself: it has no weights."""
        return self

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image, and no uncertainty."""
        return x, torch.zeros_like(x)

    def decode(self, z: Tensor) -> Tensor:
        """The image."""
        return z


class Diffusers:
    """An `AutoencoderKL` or `AutoencoderTiny` of diffusers, with the scale and shift of its configuration."""

    def __init__(self, name: str, net: Any) -> None:
        self.name, self.net = name, net.eval().requires_grad_(False)
        config = net.config
        widths = config.get("block_out_channels") or config["encoder_block_out_channels"]
        self.factor, self.channels = 2 ** (len(widths) - 1), int(config["latent_channels"])
        self.scale = float(config.get("scaling_factor") or 1.0)
        self.shift = float(config.get("shift_factor") or 0.0)

    def to(self, device: torch.device | str) -> Diffusers:
        """Move the weights."""
        self.net.to(device)
        return self

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled mean and standard deviation; a tiny autoencoder is certain of its latent."""
        found = self.net.encode(x)
        if hasattr(found, "latents"):
            mean = found.latents.float() * self.scale
            return mean, torch.zeros_like(mean)
        posterior = found.latent_dist  # scaled in fp32: under autocast it comes in bf16
        return (posterior.mean.float() - self.shift) * self.scale, posterior.std.float() * self.scale

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The image of a scaled latent."""
        image: Tensor = self.net.decode(z / self.scale + self.shift).sample
        return image


class TAEF2:
    """The tiny autoencoder of FLUX.2's latent space: 8× down, 32 channels, 2.7M parameters.

    Its latents have a standard deviation of about 0.9 on photographs, so they are left as they are.
    Its released files are two flat state dicts whose keys are places in a row of layers. diffusers'
    `AutoencoderTiny` lacks the normalised branch of its middle blocks, so the two rows are built here, in
    the places that the keys name.
    """

    name, factor, channels = "taef2", 8, TAEF2_CHANNELS

    def __init__(self, width: int = 64) -> None:
        def blocks(count: int, *, pooled: bool = False) -> list[nn.Module]:
            return [_Block(width, pooled=pooled) for _ in range(count)]

        def down() -> nn.Module:
            return nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)

        def up() -> list[nn.Module]:
            return [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]

        first, last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, TAEF2_CHANNELS, 3, padding=1)
        middle = [down(), *blocks(3), down(), *blocks(3), down(), *blocks(3, pooled=True)]
        self.encoder = nn.Sequential(first, *blocks(1), *middle, last)
        first, last = nn.Conv2d(TAEF2_CHANNELS, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        middle = [*blocks(3, pooled=True), *up(), *blocks(3), *up(), *blocks(3), *up(), *blocks(1)]
        self.decoder = nn.Sequential(_SoftClamp(), first, nn.ReLU(), *middle, last)
        for net in (self.encoder, self.decoder):
            net.eval().requires_grad_(False)

    def to(self, device: torch.device | str) -> TAEF2:
        """Move the weights."""
        self.encoder.to(device)
        self.decoder.to(device)
        return self

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The scaled latent, and no uncertainty."""
        z: Tensor = self.encoder((x + 1) / 2)
        return z, torch.zeros_like(z)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The image of a scaled latent."""
        image: Tensor = self.decoder(z) * 2 - 1
        return image


class _Block(nn.Module):
    """Three convolutions beside a skip; a middle block first adds a branch that sees the whole picture's scale."""

    def __init__(self, width: int, *, pooled: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*layers[:-1])
        self.pool: nn.Module | None = None
        if pooled:
            wide = 4 * width
            into, out = nn.Conv2d(width, wide, 1, bias=False), nn.Conv2d(wide, width, 1, bias=False)
            self.pool = nn.Sequential(into, nn.GroupNorm(4, wide), nn.ReLU(), out)

    def forward(self, h: Tensor) -> Tensor:
        if self.pool is not None:
            h = h + self.pool(h)
        return torch.relu(self.conv(h) + h)


class _SoftClamp(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z / 3) * 3


def networks(autoencoder: Autoencoder) -> dict[str, nn.Module]:
    """The modules that an autoencoder consists of, by attribute; none in pixel space."""
    return {name: net for name, net in sorted(vars(autoencoder).items()) if isinstance(net, nn.Module)}


def weights_digest(autoencoder: Autoencoder) -> str:
    """SHA-256, in hex, over the names, types, shapes and bytes of all weights, wherever they lie.

    What has no weights is known by its name.
    """
    digest = hashlib.sha256(b"" if networks(autoencoder) else autoencoder.name.encode())
    for part, net in networks(autoencoder).items():
        for name, weight in sorted(net.state_dict().items()):
            digest.update(f"{part}.{name}\0{weight.dtype}\0{tuple(weight.shape)}\n".encode())
            plain = weight.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(plain.numpy().data)
    return digest.hexdigest()


def load(name: str, device: torch.device | str = "cpu") -> Autoencoder:
    """The autoencoder called `identity`, `taef2:FOLDER`, or a diffusers one by folder, file or hub name.

    A file is one of Stable Diffusion's weights, or lies beside the config.json that describes it.
    Raises D2CError, naming the ways to supply the weights, when they are not there or cannot be read.
    """
    if name == "identity":
        return Identity()
    if name.startswith("taef2:"):
        return _taef2(Path(name.removeprefix("taef2:")).expanduser()).to(device)
    place = Path(name).expanduser()
    if not place.exists() and (name.startswith(("/", "~", ".")) or not _HUB_NAME.fullmatch(name)):
        raise D2CError(f"no autoencoder at {name}: give a folder, a file or a hub's ORG/NAME")
    try:
        if place.is_dir():
            net = _from_folder(place)
        elif place.is_file():
            net = _from_file(place)
        else:
            return Diffusers(name, _from_hub(name)).to(device)
    except D2CError:
        raise
    except Exception as problem:  # a damaged file fails in as many ways as there are libraries below
        if place.is_file() and (why := unread(place, problem)):
            raise D2CError(f"{place} {why}") from None
        raise D2CError(f"no autoencoder can be read from {place} ({_first_line(problem)})") from None
    return Diffusers(name, net).to(device)


def _taef2(folder: Path) -> TAEF2:
    made = TAEF2()
    for net, part in ((made.encoder, "encoder"), (made.decoder, "decoder")):
        file = folder / f"taef2_{part}.pth"
        if not file.is_file():
            raise D2CError(f"no autoencoder at {file}: taef2:FOLDER needs taef2_encoder.pth and taef2_decoder.pth")
        try:
            net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, TypeError, AttributeError) as problem:
            said = unread(file, problem) or f"does not hold the weights of TAEF2's {part} ({_first_line(problem)})"
            raise D2CError(f"{file} {said}") from None
    return made


def _class_of(config: dict[str, Any]) -> Any:
    import diffusers

    kind = str(config.get("_class_name", ""))
    if kind not in ("AutoencoderKL", "AutoencoderTiny"):
        raise D2CError(f"{kind or 'this'} is no autoencoder that d2c knows: AutoencoderKL or AutoencoderTiny")
    return getattr(diffusers, kind)


def _from_folder(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise D2CError(f"{folder} has no config.json: give the folder that holds the autoencoder itself (often vae/)")
    config = json.loads((folder / "config.json").read_text())
    return _class_of(config).from_pretrained(folder, local_files_only=True, **_OPTIONS)


def _from_file(file: Path) -> Any:
    beside = file.parent / "config.json"
    config = json.loads(beside.read_text()) if beside.is_file() else SD_VAE
    with tempfile.TemporaryDirectory() as folder:  # where diffusers looks for it, in the place of its hub
        (Path(folder) / "config.json").write_text(json.dumps(config))
        return _class_of(config).from_single_file(str(file), config=folder, local_files_only=True)


def _from_hub(name: str) -> Any:
    """From the hub's cache, else from the hub, which is asked once: without a network that is known at once."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    try:
        file = try_to_load_from_cache(name, "config.json")
        if not isinstance(file, str):
            get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=TIMEOUT)
            file = hf_hub_download(name, "config.json", etag_timeout=TIMEOUT)
        kind = _class_of(json.loads(Path(file).read_text()))
        try:
            return kind.from_pretrained(name, local_files_only=True, **_OPTIONS)
        except OSError:
            get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=TIMEOUT)
            return kind.from_pretrained(name, **_OPTIONS)
    except D2CError:
        raise
    except Exception as problem:  # the hub's transport, and with it its errors, differs from version to version
        raise D2CError(
            f"no weights for autoencoder {name!r} ({_first_line(problem)}): let {constants.ENDPOINT} be reached and "
            f"HF_HUB_OFFLINE unset, or give a folder or file in its place, or put it into the cache at "
            f"{constants.HF_HUB_CACHE}"
        ) from None


def _first_line(problem: Exception) -> str:
    kind = type(problem).__name__
    return f"{kind}: {brief(problem, 160)}" if str(problem).strip() else kind
