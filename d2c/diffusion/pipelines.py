"""Text-to-image pipelines of diffusers as folders: which kinds, which files, where from. Free of torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from d2c.errors import D2CError
from d2c.progress import bars_of

INDEX = "model_index.json"
TIMEOUT = 5.0  # s to wait for the hub's first answer
_HUB = "hf:"
_WEIGHTS = re.compile(r"(diffusion_pytorch_model|model)(\.fp16)?(?:-(\d+)-of-(\d+))?(\.fp16)?\.safetensors")
_SETTINGS = (".json", ".txt", ".model")  # a configuration, a tokenizer's merges, SentencePiece's model
# What a configuration says about where it was and what wrote it, not about what the model does.
_HISTORY = ("_name_or_path", "name_or_path", "_diffusers_version", "transformers_version", "torch_dtype", "dtype")


@dataclasses.dataclass(frozen=True)
class Kind:
    """One pipeline class: the folder of its network, those of its text, and which of them may be absent."""

    net: str
    text: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """Every folder that scoring reads."""
        return (self.net, "vae", "scheduler", *self.text)


_TEXT = ("tokenizer", "text_encoder")
_TEXT_2 = (*_TEXT, "tokenizer_2", "text_encoder_2")
_T5 = ("tokenizer_3", "text_encoder_3")
KINDS = {
    "StableDiffusionPipeline": Kind("unet", _TEXT),
    "StableDiffusionXLPipeline": Kind("unet", _TEXT_2),
    "PixArtAlphaPipeline": Kind("transformer", _TEXT),
    "PixArtSigmaPipeline": Kind("transformer", _TEXT),
    "StableDiffusion3Pipeline": Kind("transformer", (*_TEXT_2, *_T5), _T5),
}


@dataclasses.dataclass(frozen=True)
class Text2ImageConfig:
    """What a scorer needs to know of a pipeline: `image_size` is the side of the latent, in `channels` channels.

    `autoencoder` is what `d2c.diffusion.autoencoders.load` takes; `tokens` measures the cost of one
    evaluation; there are no classes.
    """

    name: str
    channels: int
    image_size: int
    autoencoder: str
    tokens: int
    factor: int  # pixels a side of one latent value
    num_classes: int = 0


def find(reference: Path | str) -> Path | None:
    """The folder of a pipeline that is here whole: itself, or in the hub's cache; None if it must be fetched.

    Downloads nothing. Raises D2CError for a folder that is no pipeline, of an unknown kind, or not whole.
    """
    name = str(reference)
    if not name.startswith(_HUB):
        folder = Path(name).expanduser().absolute()
        if lacking := _lacking(folder):
            raise D2CError(f"{folder} lacks {lacking}: copy the pipeline again, its weights as .safetensors")
        return folder
    from huggingface_hub import try_to_load_from_cache

    repository, revision = _repository(name)
    try:
        file = try_to_load_from_cache(repository, INDEX, revision=revision)
    except ValueError:  # what is no repository's name
        raise D2CError(f"no such pipeline {name[:200]!r}: expected hf:ORG/NAME[@REVISION] or a folder") from None
    if not isinstance(file, str):
        return None
    # a cache that an interrupted download left without T5 is not a pipeline without T5
    return Path(file).parent if not _lacking(Path(file).parent, strict=True) else None


def fetch(reference: Path | str, *, quiet: bool = False) -> Path:
    """The folder of a pipeline: as `find`, else from the hub (only the files that scoring needs, never a pickle).

    Raises D2CError as `find` does, or naming the ways to supply the weights when nothing answers.
    """
    if (here := find(reference)) is not None:
        return here
    from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, snapshot_download

    repository, revision = _repository(str(reference))
    try:
        # asked once and without retries, so that a machine without a network knows at once
        get_hf_file_metadata(hf_hub_url(repository, INDEX, revision=revision), timeout=TIMEOUT)
        index = Path(hf_hub_download(repository, INDEX, revision=revision, etag_timeout=TIMEOUT))
        kind = KINDS[kind_of(index.parent)]
        found = HfApi().model_info(repository, revision=revision, timeout=TIMEOUT)
        names = [s.rfilename for s in found.siblings or []]
        wanted = _files({part: _below(names, part) for part in kind.parts})
        patterns = [INDEX, *(f"{part}/{name}" for part, files in wanted.items() for name in files)]
        with bars_of("huggingface_hub.utils", not quiet):
            here = Path(snapshot_download(repository, revision=found.sha or revision, allow_patterns=patterns))
    except D2CError:
        raise
    except Exception as problem:  # the hub's transport, and with it its errors, differs from version to version
        said = str(problem).strip()
        reason = f"{type(problem).__name__}: {said.splitlines()[0][:160]}" if said else type(problem).__name__
        raise D2CError(
            f"no weights for pipeline {repository} ({reason}): let {constants.ENDPOINT} be reached and HF_HUB_OFFLINE "
            f"unset, or give its folder in its place, or put {repository} into the cache at {constants.HF_HUB_CACHE}"
        ) from None
    if lacking := _lacking(here, strict=True):
        raise D2CError(f"hf:{repository} lacks {lacking}: d2c reads weights as .safetensors only")
    return here


def of_text(folder: Path) -> bool:
    """Whether a folder holds a text-to-image pipeline that can score."""
    try:
        return json.loads((folder / INDEX).read_text()).get("_class_name") in KINDS
    except (OSError, ValueError, AttributeError):
        return False


def kind_of(folder: Path) -> str:
    """The pipeline class that a folder names. Raises D2CError when it names none, or one that is not known."""
    kind = read_json(folder / INDEX).get("_class_name")
    if not isinstance(kind, str) or kind not in KINDS:
        raise D2CError(f"{folder}: no pipeline {kind or 'named'!r} is known; known: {', '.join(KINDS)}")
    return kind


def parts_of(folder: Path, *, strict: bool = False) -> tuple[str, ...]:
    """The folders of a pipeline that scoring reads: those its kind has, less optional ones that are not there.

    Strictly, only what the pipeline itself calls absent may be.
    """
    kind, index = KINDS[kind_of(folder)], read_json(folder / INDEX)

    def absent(part: str) -> bool:
        gone = not strict and not (folder / part).is_dir()
        return part in kind.optional and (gone or index.get(part) in (None, [None, None]))

    return tuple(part for part in kind.parts if not absent(part))


def config_of(folder: Path) -> Text2ImageConfig:
    """What a pipeline is made of, from its JSON files alone.

    Raises D2CError when its network does not take what its autoencoder gives, or no square images.
    """
    kind = KINDS[kind_of(folder)]
    net, vae = read_json(folder / kind.net / "config.json"), read_json(folder / "vae" / "config.json")
    size, channels = net.get("sample_size"), int(net.get("in_channels") or 4)
    if not isinstance(size, int):
        raise D2CError(f"{folder}/{kind.net}: sample_size = {size!s:.60} is not the side of a square latent")
    given = int(vae.get("latent_channels") or 4)
    if channels != given:
        raise D2CError(
            f"{folder}/{kind.net} takes {channels} channels, its vae gives {given}: not a plain text-to-image model"
        )
    patch = int(net.get("patch_size") or 1)
    # A UNet works at several scales: a weight meets about a tenth of the places (SD 1.5 64²/8.8, SDXL 128²/12.4).
    tokens = (size // patch) ** 2 if kind.net == "transformer" else size**2 // 10
    files = weights(_names(folder / "vae"), variant_of(folder))
    # an autoencoder's folder is read without a variant; its one file is read as it is
    autoencoder = folder / "vae" / files[0] if len(files) == 1 and ".fp16" in files[0] else folder / "vae"
    factor = 2 ** (len(vae.get("block_out_channels") or [0]) - 1)
    return Text2ImageConfig(kind_of(folder), channels, size, str(autoencoder), tokens, factor)


def digest_of_pipeline(folder: Path | str) -> str:
    """SHA-256, 64 hex digits, over the kind, the settings and the weights that scoring reads.

    The same wherever the folder lies and whatever version wrote it. Weights in the hub's cache are named
    by their own digest there and are not read again; any other file is.
    """
    folder = Path(folder)
    total = hashlib.sha256(kind_of(folder).encode())
    total.update(f"{read_json(folder / INDEX).get('force_zeros_for_empty_prompt')}".encode())
    parts = parts_of(folder)
    for part, names in sorted(_files({part: _names(folder / part) for part in parts}).items()):
        for name in (n for n in names if ".index." not in n):  # shards speak for themselves
            total.update(f"\n{part}/{name.replace('.fp16', '')}\0{_digest(folder / part / name)}".encode())
    return total.hexdigest()


def variant_of(folder: Path) -> str:
    """Which variant to read: fp16 where some part has its weights in that alone, else the plain files."""
    return _variant({part: _names(folder / part) for part in parts_of(folder)})


def weights(names: Iterable[str], variant: str = "") -> list[str]:
    """The weights among a part's file names: the variant's where there are any, else plain; one file or all shards."""
    found = sorted(n for n in names if _WEIGHTS.fullmatch(n))
    mine = [n for n in found if variant and f".{variant}" in n] or [n for n in found if ".fp16" not in n]
    whole = [n for n in mine if "-of-" not in n]
    return whole[:1] or mine


def _variant(names: Mapping[str, Iterable[str]]) -> str:
    return "fp16" if any(not weights(n) and weights(n, "fp16") for n in names.values()) else ""


def _files(names: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """By part, what of its files is read: settings, and one set of weights."""
    variant = _variant(names)
    settings = {part: [n for n in there if n.endswith(_SETTINGS)] for part, there in names.items()}
    return {part: sorted([*settings[part], *weights(there, variant)]) for part, there in names.items()}


def _lacking(folder: Path, *, strict: bool = False) -> str:
    """The first thing that a pipeline's folder should have and has not, or nothing. Raises as `kind_of` does."""
    for part in parts_of(folder, strict=strict):
        names = _names(folder / part)
        if part == "scheduler":
            lacks = "" if "scheduler_config.json" in names else "scheduler_config.json"
        elif part.startswith("tokenizer"):
            lacks = "" if any(n.endswith(_SETTINGS) for n in names) else "its files"
        elif "config.json" not in names:
            lacks = "config.json"
        else:
            lacks = _missing_weights(weights(names, "" if weights(names) else "fp16"))
        if lacks:
            return f"{part}/ ({lacks})"
    return ""


def _missing_weights(files: list[str]) -> str:
    found = [m for m in map(_WEIGHTS.fullmatch, files) if m is not None]
    if not found:
        return "weights as .safetensors"
    if (count := found[0][4]) is None:
        return ""
    there = {int(m[3]) for m in found}
    gone = [i for i in range(1, int(count) + 1) if i not in there]
    return f"shard {gone[0]} of {int(count)}" if gone else ""


def _digest(file: Path) -> str:
    if file.suffix == ".json":
        return hashlib.sha256(json.dumps(_plain(read_json(file)), sort_keys=True).encode()).hexdigest()
    blob = file.resolve()
    if blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name):
        return blob.name
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k not in _HISTORY}


def _repository(name: str) -> tuple[str, str]:
    repository, _, revision = name.removeprefix(_HUB).partition("@")
    return repository, revision or "main"


def _below(names: Iterable[str], part: str) -> list[str]:
    inside = (name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/"))
    return [name for name in inside if "/" not in name]


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file of a pipeline. Raises D2CError when it is not there or holds none."""
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        raise D2CError(f"no {file}: expected the folder of a diffusers pipeline") from None
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise D2CError(f"{file} is not a JSON object: copy it again")
    return found
