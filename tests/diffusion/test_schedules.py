import diffusers
import pytest
import torch

from d2c.diffusion.paths import DiscretePath, DiscreteVelocityPath, LinearPath
from d2c.diffusion.schedules import CHAINS, FLOW, path_of
from d2c.errors import D2CError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # some schedulers', of NumPy


def path_from(kind, **options):
    return path_of(kind, dict(getattr(diffusers, kind)(**options).config), "somewhere")


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear"])
def test_chains_have_the_alphas_of_their_scheduler(kind, schedule):
    options = {"beta_schedule": schedule, "beta_start": 0.001, "beta_end": 0.015, "num_train_timesteps": 500}
    bar = getattr(diffusers, kind)(**options).alphas_cumprod
    path = path_from(kind, **options)
    t = torch.arange(500)
    torch.testing.assert_close(path.alpha(t) ** 2, bar.double(), rtol=1e-4, atol=0)
    assert path.timesteps(2).tolist() == [125, 375]


def test_what_a_model_predicts_decides_the_path():
    sd = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    assert path_from("PNDMScheduler", **sd) == DiscretePath("scaled_linear-eps", "scaled_linear", 0.00085, 0.012)
    v = path_from("DDIMScheduler", **sd, prediction_type="v_prediction")
    assert v == DiscreteVelocityPath("scaled_linear-v", "scaled_linear", 0.00085, 0.012)
    assert path_from(FLOW, shift=3.0) == LinearPath("flow", data_at=0)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("LCMScheduler", {}, "no scheduler 'LCMScheduler'"),
        ("EDMEulerScheduler", {}, "no scheduler"),
        ("DDIMScheduler", {"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule 'squaredcos_cap_v2'"),
        ("DDPMScheduler", {"prediction_type": "sample"}, "prediction_type 'sample'"),
        ("DDIMScheduler", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr = True"),
        ("DDIMScheduler", {"trained_betas": [0.1] * 1000}, "trained_betas"),
        ("EulerDiscreteScheduler", {"timestep_type": "continuous"}, "timestep_type = continuous"),
        ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True}, "use_flow_sigmas"),
        (FLOW, {"invert_sigmas": True}, "invert_sigmas"),
    ],
)
def test_what_cannot_be_interpreted_is_refused_in_one_line(kind, options, said):
    with pytest.raises(D2CError, match=said) as caught:
        path_from(kind, **options)
    assert str(caught.value).startswith("somewhere: ")
    assert "\n" not in str(caught.value)
