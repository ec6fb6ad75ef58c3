"""From a diffusers scheduler to the path that its model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from d2c.diffusion.paths import BETAS, DiscretePath, DiscreteVelocityPath, LinearPath, Path
from d2c.errors import D2CError

#: samplers on DDPM's chain: which of them a folder names changes nothing about how its model was trained.
CHAINS = (
    *("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
    *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DEISMultistepScheduler", "LMSDiscreteScheduler"),
    *("UniPCMultistepScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"),
)
FLOW = "FlowMatchEulerDiscreteScheduler"
_PATHS = {"epsilon": DiscretePath, "v_prediction": DiscreteVelocityPath}
#: settings under which x_t or the clock is not what the rest of the configuration says.
_ODD = ("trained_betas", "rescale_betas_zero_snr", "use_flow_sigmas", "invert_sigmas")


def path_of(kind: str, config: Mapping[str, Any], where: str) -> Path:
    """The path of a scheduler class under its configuration, every default filled in.

    A chain gives a `DiscretePath`, or a `DiscreteVelocityPath` where the model predicts v. Flow matching gives the
    straight path with t = σ, t = 0 at the data, so v = ε − x (2403.03206, §2). Its shift only places a
    sampler's steps, so it does not count here.

    Raises D2CError, naming `where`, for a scheduler or a setting that cannot be interpreted.
    """
    if kind not in (*CHAINS, FLOW):
        raise D2CError(f"{where}: no scheduler {kind or 'named'!r} is known; known: {', '.join(CHAINS)}, {FLOW}")
    odd = next((key for key in _ODD if config.get(key)), "")
    if not odd and config.get("timestep_type", "discrete") != "discrete":
        odd = "timestep_type"
    if odd:
        raise D2CError(f"{where}: {kind} with {odd} = {config[odd]!s:.60} is not a path that d2c knows")
    if kind == FLOW:
        return LinearPath("flow", data_at=0)
    schedule, predicts = str(config["beta_schedule"]), str(config["prediction_type"])
    if schedule not in BETAS:
        raise D2CError(f"{where}: no beta_schedule {schedule!r} is known; known: {', '.join(BETAS)}")
    if predicts not in _PATHS:
        raise D2CError(f"{where}: no prediction_type {predicts!r} is known; known: {', '.join(_PATHS)}")
    betas = float(config["beta_start"]), float(config["beta_end"])
    name = f"{schedule}-{'v' if predicts == 'v_prediction' else 'eps'}"
    return _PATHS[predicts](name, schedule, *betas, int(config["num_train_timesteps"]))
