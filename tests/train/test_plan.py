import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2c.config import configure
from d2c.errors import UsageError
from d2c.train import TrainConfig
from d2c.train.plan import auto_lr, auto_size, model_config, plan


def config(**options):
    return configure(TrainConfig, None, options)


@given(sides=st.lists(st.integers(1, 3000), min_size=1), limit=st.sampled_from([64, 256]))
def test_auto_size_is_the_nearest_power_of_two_within_limits(sides, limit):
    median = sorted(sides)[len(sides) // 2]
    powers = [p for p in (16, 32, 64, 128, 256) if p <= limit]
    nearest = min(powers, key=lambda p: abs(max(p / median, median / p)))
    assert auto_size(sides, limit) == nearest


@pytest.mark.parametrize(("side", "size"), [(8, 16), (16, 16), (28, 32), (32, 32), (96, 64), (500, 64)])
def test_auto_size_in_pixel_space(side, size):
    assert auto_size([side], 64) == size


def test_auto_rate_is_the_papers_from_b_up():
    assert auto_lr("DiT-B/4") == auto_lr("SiT-XL/2") == 1e-4
    assert auto_lr("SiT-Ti/2") == 4 * auto_lr("DiT-S/8") == 1.6e-3


def test_everything_attached_is_used(made):
    found = plan(made(), config())
    assert (found.text, found.vision, found.vision_dim) == ((4, 6), "vision-scorer.safetensors", 5)
    assert (found.channels, found.image_size, found.images) == (1, 16, 12)
    model = model_config(found, config())
    assert (model.text_length, model.text_dim, model.align_dim, model.align_depth) == (4, 6, 5, 2)


@pytest.mark.parametrize(
    ("options", "text", "vision"),
    [
        ({"use_text": False}, False, True),
        ({"use_vision": False}, True, False),
        ({"alignment": 0.0}, True, False),
        ({"use_text": False, "use_vision": False}, False, False),
    ],
)
def test_switches_for_ablations(made, options, text, vision):
    found = plan(made(), config(**options))
    assert (found.text is not None, found.vision is not None) == (text, vision)
    assert (model_config(found, config(**options)).align_dim > 0) == vision


def test_a_data_set_has_nothing_attached(made):
    found = plan(made("datasets"), config())
    assert found.text is None
    assert found.vision is None
    assert found.image_size == 16


def test_condensed_and_data_set_agree_on_the_size(made):
    assert plan(made("condensed", side=30), config()).image_size == 32
    assert plan(made("datasets", side=30), config()).image_size == 32


@pytest.mark.parametrize(
    ("model", "depth"), [("SiT-Ti/2", 2), ("SiT-S/2", 4), ("DiT-B/2", 4), ("SiT-L/2", 8), ("SiT-XL/2", 8)]
)
def test_alignment_depth(made, model, depth):
    assert plan(made(), config(model=model)).align_depth == depth


def test_alignment_beyond_the_last_block_is_refused(made):
    with pytest.raises(UsageError, match="6 blocks"):
        plan(made(), config(align_depth=7))


def test_a_size_that_the_patch_does_not_divide_is_refused(made):
    options = config(image_size=18, model="SiT-Ti/4")
    with pytest.raises(UsageError, match="multiple of 4"):
        model_config(plan(made(), options), options)


def test_warnings_name_meaningless_text_and_missing_classes(made):
    found = plan(made(meaningful=False, labels=[0, 0, 2, 2]), config())
    assert any("no meaning" in line for line in found.warnings)
    assert any("one" in line for line in found.warnings)
    assert not plan(made(name="other"), config()).warnings


def test_importing_and_estimating_needs_no_torch(made):
    data = made()
    script = (
        "import sys; from d2c.artifacts import Workspace; from d2c.train import estimate, TrainConfig;"
        f"e = estimate(Workspace.at({str(data.workspace.root)!r}).find('condensed', 'tiny'));"
        "assert e.parameters > 4e6, e;"
        "heavy = {'torch', 'timm', 'sklearn'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_switches_without_effect_leave_one_recipe(made):
    data = made("datasets")
    plain = plan(data, config()).resolved()
    assert plain == plan(data, config(use_text=False, use_vision=False, alignment=0.9)).resolved()
    assert (plain["use_text"], plain["use_vision"], plain["alignment"]) == (False, False, 0.0)
