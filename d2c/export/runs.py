"""A run → its averaged weights for SiT's or REPA's own code, with a card that says how to load them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2c.artifacts import Artifact
from d2c.config import recipe_of
from d2c.diffusion.config import ModelConfig, read_header
from d2c.errors import D2CError
from d2c.select.records import CARD, SCHEMA, block

if TYPE_CHECKING:
    from d2c.export.official import Weights
    from d2c.export.verb import ExportConfig

WEIGHTS = "ema.safetensors"  # of the run
FILE = "model.safetensors"  # of the export
CODE = {"sit": "https://github.com/willisma/SiT", "repa": "https://github.com/sihyun-yu/REPA"}
NAMED = ("S", "B", "L", "XL")  # sizes that both codes have by name, in patches of 2, 4 and 8


def header(run: Artifact, form: str) -> ModelConfig:
    """What a run's weights are. Raises D2CError in one line for a run that does not go out in this form.

    Free of torch: what cannot be is refused before anything is loaded.
    """
    if not (run.path / WEIGHTS).is_file():
        raise D2CError(f"runs/{run.name} is no diffusion model: it has no weights to export")
    config = read_header(run.path / WEIGHTS)[0]
    if (why := refusal(config, form)) is not None:
        raise D2CError(f"runs/{run.name}: {why}")
    return config


def refusal(config: ModelConfig, form: str) -> str | None:
    """Why a model has no place in a code, in one line, or None."""
    code = {"sit": "SiT's", "repa": "REPA's"}[form]
    if config.path == "dit":
        return f"{config.name} predicts noise on DDPM's clock, {code} code wants a velocity: it goes out as no {form}"
    if config.feature_dim:
        return f"{config.name} carries a class token (REG), which {code} code does not know"
    if config.qk_norm and form == "sit":
        return f"{config.name} was trained with --qk-norm, which SiT's code does not know: use --format repa"
    return None


def write(run: Artifact, place: Path, config: ExportConfig) -> None:
    """Fill the folder: the weights as safetensors, fp32, and the card."""
    from safetensors.torch import save_file

    from d2c.diffusion.checkpoints import load_model
    from d2c.export.official import official

    model = load_model(run.path / WEIGHTS)
    made = official(model, config.format)
    state = {name: value.float().contiguous() for name, value in made.state.items()}
    save_file(state, place / FILE, metadata={"format": "pt"})
    (place / CARD).write_text(card(run, model.config, made, config), encoding="utf-8")


def card(run: Artifact, model: ModelConfig, made: Weights, config: ExportConfig) -> str:
    """The card as Markdown."""
    form, code = config.format, {"sit": "SiT", "repa": "REPA"}[config.format]
    curve = model.path == "sit-cosine"
    done = ["Averaged weights (EMA) in fp32."]
    if made.baked:
        done.append(
            "The run was conditioned on the classes' text. What a class is told by does not depend on the image, so it "
            "was computed for each class and for none, and stands in the class table: a label is enough."
        )
    if made.turned:
        done.append(
            "The run's clock ran the other way. v(x, t) = −v(x, 1 − t) is written into the weights (first layer on the "
            f"time's sinusoids, sign of the last layer), so that {code}'s own sampler applies."
        )
    if form == "sit":
        done.append(
            f"The last layer has {2 * model.channels} channels, as SiT's code builds it; it reads the first half."
        )
    elif model.align_dim and model.projector == "mlp":
        done.append("The projector of the alignment is kept.")
    else:
        done.append("The projector is one of zeros: REPA's script builds one, and its samplers do not read it.")
    rows = {
        "Run": f"runs/{run.name} `{run.fingerprint[:12]}`",
        "Model": f"{model.name}, {model.num_classes} classes, input {model.channels} × {model.image_size}²",
        "Space": "pixels in [−1, 1]" if model.autoencoder == "identity" else f"latents of {model.autoencoder}",
        "Path": "cosine" if curve else "linear",
        "Trained": f"{run.facts.get('steps', 0):,} steps, {run.facts.get('images_seen', 0):,} images seen",
        "Code": CODE[form],
    }
    parts = [
        f"# {run.name}, for {code}'s code",
        "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]),
        " ".join(done),
        "## Load it",
        f"In a checkout of {CODE[form]}:",
        f"```python\n{loading(model, made, form)}\n```",
        _script(model, made, form, curve),
        "## For programs",
        block(
            {
                "schema": SCHEMA,
                "run": {"name": run.name, "fingerprint": run.fingerprint, "recipe": run.recipe},
                "model": json.loads(model.to_json()),
                "export": recipe_of(config),
            }
        ),
    ]
    return "\n\n".join(parts) + "\n"


def loading(model: ModelConfig, made: Weights, form: str) -> str:
    """Python that builds the code's own model and loads the weights, every key of them."""
    options: dict[str, Any] = {"input_size": model.image_size, "in_channels": model.channels}
    options["num_classes"] = model.num_classes
    if form == "repa":
        options |= {"use_cfg": True, "z_dims": list(made.projectors), "encoder_depth": model.align_depth or 1}
        options |= {"decoder_hidden_size": model.width, "fused_attn": True, "qk_norm": model.qk_norm}
    options |= {"hidden_size": model.width, "depth": model.depth, "num_heads": model.heads, "patch_size": model.patch}
    said = ", ".join(f"{name}={value!r}" for name, value in options.items())
    module = "models" if form == "sit" else "models.sit"
    return (
        "import torch\nfrom safetensors.torch import load_file\n"
        f"from {module} import SiT\n\n"
        f'state = load_file("{FILE}")\nmodel = SiT({said})\n'
        'model.load_state_dict(state)\nmodel.eval()\ntorch.save({"ema": state}, "model.pt")  # for its scripts'
    )


def _script(model: ModelConfig, made: Weights, form: str, curve: bool) -> str:
    """How its sampling script is started, where it has a name for this model."""
    lines = [f"Guidance takes label {model.num_classes} for no class."]
    named = model.size in NAMED and model.patch > 1 and not model.layers
    if form == "repa" and model.num_classes != 1000:
        lines.append("REPA's samplers take 1000 for it, whatever the classes: mend that before using guidance.")
    side = model.image_size * 8
    odd = model.autoencoder == "identity" or side not in (256, 512) or model.channels != 4
    if odd or not named or (form == "repa" and model.size == "S"):
        lines.append(
            "Its scripts are for 256 and 512 px in latents of 4 channels, and the sizes it has names for; this model "
            "wants its sampler, called on the model above."
        )
        return " ".join(lines)
    if form == "sit":
        words = f"python sample.py ODE --model {model.name} --ckpt model.pt --image-size {side}"
        words += f" --num-classes {model.num_classes} --path-type {'GVP' if curve else 'Linear'}"
    else:
        words = f"torchrun --nproc_per_node=1 generate.py --model {model.name} --ckpt model.pt --resolution {side}"
        words += f" --num-classes {model.num_classes} --path-type {'cosine' if curve else 'linear'}"
        words += f" --projector-embed-dims {made.projectors[0]} --encoder-depth {model.align_depth or 1}"
        words += " --qk-norm" if model.qk_norm else ""
    if form == "sit":
        lines.append(
            "Its script builds half of the channels for any other checkpoint than the released one (willisma/SiT#10): "
            "there, set `learn_sigma = True`, as in its training script. Then:"
        )
    else:
        lines.append("Its script:")
    return " ".join(lines) + f"\n\n    {words}"
