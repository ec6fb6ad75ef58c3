import argparse
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2c.config import (
    add_arguments,
    arguments_of,
    configure,
    execution_of,
    from_namespace,
    option,
    options_of,
    recipe_of,
)
from d2c.errors import UsageError
from d2c.select import SelectConfig


@dataclass(frozen=True)
class Config:
    interval: int = option(16, "Distance between ranks, 100 % of them", minimum=1)
    strategy: str = option("interval", "How to choose", choices=lambda: ("interval", "random"))
    weight: float = option(0.5, "Weight of the alignment", minimum=0, maximum=2)
    free: float = option(1.0, "A number without limits")
    flip: bool = option(False, "Mirror half of the images")
    workers: int = option(2, "Threads that decode", identity=False)


def parse(words: list[str]) -> Config:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Config)
    return from_namespace(Config, parser.parse_args(words))


@given(
    st.builds(
        Config,
        interval=st.integers(1, 10**6),
        strategy=st.sampled_from(["interval", "random"]),
        weight=st.floats(0, 2),
        free=st.floats(allow_nan=False, allow_infinity=False),
        flip=st.booleans(),
        workers=st.integers(-3, 99),
    )
)
def test_a_configuration_survives_the_command_line(config: Config) -> None:
    assert parse(arguments_of(Config, config)) == config


def test_defaults_need_no_flags() -> None:
    assert parse([]) == Config()
    assert arguments_of(Config, Config()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interval": 0}, "^interval = 0 is below 1"),
        ({"weight": 3}, "^weight = 3 is above 2"),
        ({"weight": float("nan")}, "^weight = nan is not a finite number$"),
        ({"weight": float("inf")}, "^weight = inf is not a finite number$"),
        ({"free": float("inf")}, "^free = inf is not a finite number$"),
        ({"free": -float("inf")}, "^free = -inf is not a finite number$"),
        ({"strategy": "best"}, "not one of interval, random"),
        ({"interval": "7"}, "is not int"),
        ({"interval": True}, "is not int"),
        ({"intervall": 7}, "unknown option 'intervall'"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configure(Config, None, options)


def test_the_command_names_the_flag() -> None:
    for words, said in (
        (["--interval=-1"], "^--interval = -1 is below 1$"),
        (["--per-class=0"], "^--per-class = 0 is below 1$"),
        (["--gamma=inf"], "^--gamma = inf is not a finite number$"),
    ):
        parser = argparse.ArgumentParser()
        add_arguments(parser, SelectConfig)
        with pytest.raises(UsageError, match=said):
            from_namespace(SelectConfig, parser.parse_args(words))


def test_options_join_a_given_configuration() -> None:
    assert configure(Config, Config(interval=3), {"flip": True}) == Config(interval=3, flip=True)


def test_execution_stays_out_of_the_recipe() -> None:
    assert "workers" not in recipe_of(Config())
    assert execution_of(Config()) == {"workers": 2}
    assert set(recipe_of(Config())) | set(execution_of(Config())) == {
        "interval",
        "strategy",
        "weight",
        "free",
        "flip",
        "workers",
    }


def test_help_holds_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Config)
    parser.print_help()
    text = capsys.readouterr().out
    assert "100 % of them" in text
    assert "--no-flip" in text


def test_a_late_option_leaves_old_recipes_as_they_were() -> None:
    @dataclass(frozen=True)
    class Old:
        k: int = option(1, "")

    @dataclass(frozen=True)
    class New(Old):
        pin: str = option("", "", late=True)

    assert recipe_of(New()) == recipe_of(Old()) == {"k": 1}
    assert recipe_of(New(pin="3")) == {"k": 1, "pin": "3"}


@dataclass(frozen=True)
class Wordy:
    interval: int | Literal["auto"] = option(16, "Distance between ranks", minimum=1)


def test_a_number_may_be_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    (spec,) = options_of(Wordy)
    assert (spec.type, spec.words) == (int, ("auto",))
    parser = argparse.ArgumentParser()
    add_arguments(parser, Wordy)
    for value in ("auto", 7):
        config = from_namespace(Wordy, parser.parse_args(arguments_of(Wordy, Wordy(value))))
        assert config == configure(Wordy, None, {"interval": value}) == Wordy(value)
        assert recipe_of(config) == {"interval": value}
    for wrong in ("automatic", 0, True, 2.5):
        with pytest.raises(UsageError, match=r"is not int or the word auto|below 1"):
            configure(Wordy, None, {"interval": wrong})
    with pytest.raises(SystemExit):
        parser.parse_args(["--interval=seven"])
    assert "'seven' is not int or the word auto" in capsys.readouterr().err
    parser.print_help()
    assert "INT|auto" in capsys.readouterr().out


def test_no_verb_takes_more_images_than_memory_holds_names_of() -> None:
    """A count with a few digits too many was worked on until the machine ran out of memory."""
    from d2c.compare.verb import CompareConfig
    from d2c.diffusion.sample import SampleConfig
    from d2c.evaluate import EvaluateConfig
    from d2c.transfer import TransferConfig

    for config, name in (
        (SampleConfig, "count"),
        (EvaluateConfig, "count"),
        (TransferConfig, "count"),
        (TransferConfig, "to_count"),
        (CompareConfig, "count"),
    ):
        with pytest.raises(UsageError, match="= 100000000000000 is above 10000000"):
            configure(config, None, {name: 10**14})
