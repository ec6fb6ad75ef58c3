"""What the options of objective, conditioning and alignment come to on a given set."""

import json

import pytest

from d2c.config import configure
from d2c.errors import UsageError
from d2c.train import TrainConfig
from d2c.train.plan import model_config, plan


def settled(data, **options):
    config = configure(TrainConfig, None, options)
    found = plan(data, config)
    return found, model_config(found, config)


@pytest.mark.parametrize(
    ("options", "condition", "text", "vector"),
    [
        ({}, "both", True, True),
        ({"condition": "both"}, "both", True, True),
        ({"condition": "class"}, "class", False, True),
        ({"use_text": False}, "class", False, True),
        ({"condition": "text"}, "text", True, False),
    ],
)
def test_conditions(made, options, condition, text, vector):
    found, model = settled(made(), **options)
    assert found.condition == condition
    assert (model.text_dim > 0, model.class_vector) == (text, vector)


def test_one_meaning_has_one_recipe(made):
    data, bare = made(), made("condensed", text=False, vision=False, name="bare")
    assert settled(data, use_text=False)[0].resolved() == settled(data, condition="class")[0].resolved()
    assert settled(data)[0].resolved() == settled(data, condition="both", path="sit", bound=0.2)[0].resolved()
    without = settled(bare)[0].resolved()
    assert without == settled(bare, projector="conv", align_target="spatial", condition="class")[0].resolved()
    assert (without["condition"], without["projector"], without["align_target"]) == ("class", "mlp", "plain")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"condition": "text", "use_text": False}, "needs the text"),
        ({"path": "dit"}, "SiT-Ti/2 has no path 'dit'; known: sit, repa, sit-cosine"),
        ({"path": "sit", "model": "DiT-Ti/2"}, "DiT-Ti/2 has no path 'sit'; known: dit"),
        ({"reg": 0.1, "model": "DiT-Ti/2"}, "REG is for SiT"),
        ({"reg": 0.1, "projector": "conv"}, "REG is for SiT models with projector mlp"),
        ({"reg": 0.1, "use_vision": False}, "no vision tokens to make REG's class token of"),
    ],
)
def test_what_cannot_be(made, options, said):
    with pytest.raises(UsageError, match=said):
        settled(made(), **options)


def test_text_that_is_not_there(made):
    bare = made("condensed", text=False, name="bare")
    for condition in ("both", "text"):
        with pytest.raises(UsageError, match=f"condensed/bare holds no text for condition {condition}"):
            settled(bare, condition=condition)


def test_reg_says_what_its_class_token_is(made):
    found, model = settled(made(), reg=0.03)
    assert any("mean of the image's vision tokens" in line for line in found.warnings)
    assert (model.feature_dim, model.align_dim) == (5, 5)
    alone, model = settled(made(), reg=0.03, alignment=0.0)
    assert (model.feature_dim, model.align_dim, alone.alignment) == (5, 0, 0.0)


def test_a_target_is_normalised_once(made):
    data = made()
    assert settled(data)[0].normalise is False
    asked, _ = settled(data, align_target="spatial")
    assert (asked.align_target, asked.normalise) == ("spatial", True)
    record = json.loads((data.path / "artifact.json").read_text())
    record["facts"]["vision"]["normalise"] = "spatial"  # as `d2c attach --normalise spatial` notes it
    (data.path / "artifact.json").write_text(json.dumps(record))
    again = data.workspace.find("condensed", "tiny")
    for target in ("plain", "spatial"):
        held, _ = settled(again, align_target=target)
        assert (held.align_target, held.normalise) == ("spatial", False)
    with pytest.raises(UsageError, match="which is 0 in these"):
        settled(again, reg=0.03)
