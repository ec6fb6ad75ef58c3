"""What a diffusion transformer is made of, as plain values: everything a checkpoint needs to be rebuilt."""

from __future__ import annotations

import dataclasses
import json
import re
import struct
from pathlib import Path
from typing import Any

from d2c.errors import D2CError, UsageError
from d2c.unread import DAMAGED

#: width, depth, heads (DiT, table 1; Ti is ours: a head of 64 as in S, B and L).
SIZES = {"Ti": (192, 6, 3), "S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}
PATCHES = (1, 2, 4, 8)
#: the path conventions that a family may be trained on, its own first.
FAMILIES = {"SiT": ("sit", "repa", "sit-cosine"), "DiT": ("dit",)}
#: how tokens at the tap become the vision encoder's: REPA's MLP, or iREPA's convolution over the grid.
PROJECTORS = ("mlp", "conv")
#: how a sampler steps: along the ODE (euler, heun), by DDIM with η, or along SiT's SDE; see `d2c.diffusion.samplers`.
SOLVERS = ("euler", "heun", "ddim", "sde")
#: the SDE's diffusion coefficient w(t), and what its last step is.
DIFFUSIONS = ("sigma", "constant", "sbdm", "decreasing", "increasing-decreasing")
LAST_STEPS = ("mean", "euler", "none")
#: the key of safetensors metadata that holds a model's configuration.
METADATA = "d2c"


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture, the path it was trained on, and how its input is made from images.

    `image_size` is the side of the model's own input: pixels with the identity autoencoder, latents else.
    Raises UsageError for a combination that cannot be built.
    """

    family: str
    size: str
    patch: int
    image_size: int
    channels: int
    num_classes: int
    learn_sigma: bool = False
    path: str = ""  # "": the family's own
    autoencoder: str = "identity"
    text_dim: int = 0  # 0: class embedding alone
    text_length: int = 0
    align_dim: int = 0  # width of the vision tokens; 0: no projector
    align_depth: int = 0  # blocks before the tap
    qk_norm: bool = False
    layers: int = 0  # 0: the size's own depth
    class_vector: bool = True  # False: conditioned on the class's text alone
    projector: str = "mlp"  # one of PROJECTORS
    feature_dim: int = 0  # width of the image's class token, denoised beside it (REG); 0: none

    def __post_init__(self) -> None:
        if self.family not in FAMILIES or self.size not in SIZES or self.patch not in PATCHES:
            raise UsageError(f"no model {self.name!r}; known: {', '.join(model_names())}")
        if not self.path:
            object.__setattr__(self, "path", FAMILIES[self.family][0])
        if self.path not in FAMILIES[self.family]:
            raise UsageError(f"{self.family} has no path {self.path!r}; known: {', '.join(FAMILIES[self.family])}")
        if self.image_size < self.patch or self.image_size % self.patch:
            raise UsageError(f"{self.name}: an input of side {self.image_size} is not whole patches of {self.patch}")
        if min(self.channels, self.num_classes) < 1 or min(self.text_dim, self.align_dim, self.layers) < 0:
            raise UsageError(f"{self.name}: channels and classes must be at least 1, widths not negative")
        if (self.text_dim > 0) != (self.text_length > 0):
            raise UsageError(f"{self.name}: text_dim and text_length go together")
        if not self.class_vector and not self.text_dim:
            raise UsageError(f"{self.name}: without a class vector it needs text (text_dim and text_length)")
        if self.projector not in PROJECTORS:
            raise UsageError(f"{self.name}: no projector {self.projector!r}; known: {', '.join(PROJECTORS)}")
        if self.feature_dim < 0 or (self.feature_dim and (self.family != "SiT" or self.learn_sigma)):
            raise UsageError(f"{self.name}: a class token (feature_dim) is for SiT without a learnt variance")
        if self.feature_dim and self.projector == "conv":
            raise UsageError(f"{self.name}: the convolutional projector has no place for a class token: use mlp")
        if (self.align_dim > 0) != (self.align_depth > 0) or self.align_depth > self.depth:
            raise UsageError(f"{self.name}: align_depth must be 1…{self.depth} with a projector and 0 without")

    @property
    def name(self) -> str:
        """The field's name for it, as in SiT-XL/2."""
        return f"{self.family}-{self.size}/{self.patch}"

    @property
    def width(self) -> int:
        """D, the width of a token."""
        return SIZES[self.size][0]

    @property
    def depth(self) -> int:
        """The number of blocks."""
        return self.layers or SIZES[self.size][1]

    @property
    def heads(self) -> int:
        """Attention heads per block."""
        return SIZES[self.size][2]

    @property
    def grid(self) -> int:
        """Tokens along one side."""
        return self.image_size // self.patch

    @property
    def tokens(self) -> int:
        """T, the number of tokens."""
        return self.grid**2

    @property
    def out_channels(self) -> int:
        """Channels that the network puts out: twice the input's where a variance is learnt too."""
        return self.channels * (2 if self.learn_sigma else 1)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """What is noised and denoised of one image: (C, S, S), or (C·S·S + feature_dim,) with a class token."""
        shape = (self.channels, self.image_size, self.image_size)
        return (self.channels * self.image_size**2 + self.feature_dim,) if self.feature_dim else shape

    def to_json(self) -> str:
        """One JSON object; `from_json` gives this configuration back."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """The configuration that `to_json` wrote. Raises D2CError for fields this version does not know."""
        values = json.loads(text)
        unknown = set(values) - {f.name for f in dataclasses.fields(cls)}
        if unknown:
            raise D2CError(f"model configuration with unknown {', '.join(sorted(unknown))}: written by a newer d2c")
        return cls(**values)


def parse(name: str) -> tuple[str, str, int]:
    """Family, size and patch of a name such as SiT-L/2. Raises UsageError for a model that is not known."""
    found = re.fullmatch(r"(\w+)-(\w+)/(\d+)", name)
    if found is None or name not in model_names():
        raise UsageError(f"no model {name!r}; known: {', '.join(model_names())}")
    return found[1], found[2], int(found[3])


def model_names() -> tuple[str, ...]:
    """Every model there is: family, size and patch."""
    return tuple(f"{family}-{size}/{patch}" for family in FAMILIES for size in SIZES for patch in PATCHES)


def read_header(file: Path | str) -> tuple[ModelConfig, dict[str, Any]]:
    """Configuration and extra facts of one of our checkpoints, from the file's first bytes alone.

    Raises D2CError when the file is not there, is no safetensors file, or is not a checkpoint that d2c wrote.
    """
    try:
        with Path(file).open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 100_000_000)))
    except FileNotFoundError:
        raise D2CError(f"no checkpoint at {file}") from None
    except (ValueError, struct.error):
        raise D2CError(f"{file} {DAMAGED}") from None
    except OSError as problem:
        raise D2CError(f"{file} cannot be read ({problem.strerror}): copy it again") from None
    try:
        record = json.loads(header["__metadata__"][METADATA])
    except (ValueError, KeyError, TypeError):
        if not _whole(Path(file), length, header):
            raise D2CError(f"{file} {DAMAGED}") from None
        raise D2CError(
            f"{file} is not a checkpoint of d2c: give its model name (such as SiT-XL/2) to load it"
        ) from None
    return ModelConfig.from_json(json.dumps(record["config"])), dict(record.get("extra", {}))


def _whole(file: Path, length: int, header: Any) -> bool:
    """Whether a safetensors file is as long as its header says."""
    try:
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
        return file.stat().st_size == 8 + length + max(ends, default=0)
    except (OSError, AttributeError, KeyError, TypeError, ValueError, IndexError):
        return False
