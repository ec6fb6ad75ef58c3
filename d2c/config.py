"""Configurations: dataclasses whose field docs are the help text.

One definition serves three fronts. The library takes it as keyword options, the command makes its
flags from it, and the app makes its form fields from it. A field says everything in one place:

    @dataclass(frozen=True)
    class SelectConfig:
        interval: int = option(16, "Distance k between chosen ranks", minimum=1)

A number may also be a word, as `interval: int | Literal["auto"]`: the type says which.

Fields with `identity=False` change how a result is computed (batch size, workers) but not what it is,
so they stay out of the recipe and of the fingerprint.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from d2c.errors import UsageError

C = TypeVar("C")
MANY = 12  # choices that the help lists; of more it names the ends
Choices = Sequence[str] | Callable[[], Sequence[str]]


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Choices | None = None,
    identity: bool = True,
    advanced: bool = False,
    late: bool = False,
) -> Any:
    """A dataclass field with its help text, its limits and its place in the app's forms.

    `choices` may be a function, so that a registry can be named before it is filled.
    `advanced` fields sit behind a fold in the app. A `late` one stays out of the recipe while it has its default,
    so that what was made before there was such an option keeps its fingerprint.
    """
    metadata = {
        "help": help,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "identity": identity,
        "advanced": advanced,
        "late": late,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of a configuration, resolved: what a flag or a form field needs to know."""

    name: str
    type: type
    words: tuple[str, ...]  # that the value may be instead of one of the type
    default: Any
    help: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...] | None
    identity: bool
    advanced: bool
    late: bool = False

    def read(self, text: str) -> Any:
        """The value that a text stands for. Raises ValueError where it is none of the type."""
        if text in self.words:
            return text
        if self.type is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError(text)
            return text.lower() == "true"
        return self.type(text)


def options_of(cls: type) -> list[Option]:
    """The options of a configuration class, in the order they are written."""
    hints = typing.get_type_hints(cls)
    found = []
    for field in dataclasses.fields(cls):
        meta = dict(field.metadata)
        choices = meta.pop("choices", None)
        if callable(choices):
            choices = choices()
        resolved = tuple(choices) if choices is not None else None
        kind, words = _kind_of(hints[field.name])
        found.append(Option(name=field.name, type=kind, words=words, default=field.default, choices=resolved, **meta))
    return found


def _kind_of(hint: Any) -> tuple[type, tuple[str, ...]]:
    """Int | Literal["auto"] → int and ("auto",); any other type as it is."""
    parts = typing.get_args(hint)
    words = tuple(w for part in parts if typing.get_origin(part) is typing.Literal for w in typing.get_args(part))
    return (next(p for p in parts if typing.get_origin(p) is not typing.Literal), words) if words else (hint, ())


def configure(cls: type[C], config: C | None, options: Mapping[str, Any], *, flags: bool = False) -> C:
    """Join a configuration and loose keyword options into one checked configuration.

    With `flags` errors name a flag of the command, `--per-class`, instead of the option, `per_class`.
    Raises UsageError for an unknown option, a wrong type, or a value outside its limits.
    """
    known = {o.name: o for o in options_of(cls)}
    for name in options:
        if name not in known:
            raise UsageError(f"unknown option {name!r} for {cls.__name__}; known: {', '.join(known)}")
    values = {name: getattr(config if config is not None else cls(), name) for name in known} | dict(options)
    for name, spec in known.items():
        if spec.type is float and type(values[name]) is int:
            values[name] = float(values[name])  # 1 and 1.0 are one recipe
    try:
        joined = cls(**values)
    except UsageError as wrong:  # of a configuration that checks itself: "pin = … is no list"
        name, equals, rest = str(wrong).partition(" = ")
        if not (flags and equals and name in known):
            raise
        raise UsageError(f"{flag_of(name)} = {rest}") from None
    for spec in known.values():
        _check(flag_of(spec.name) if flags else spec.name, spec, getattr(joined, spec.name))
    return joined


def flag_of(name: str) -> str:
    """The flag that stands for an option: `--per-class`."""
    return "--" + name.replace("_", "-")


def _check(where: str, spec: Option, value: Any) -> None:
    if isinstance(value, str) and value in spec.words:
        return
    if spec.type in (int, float, str, bool) and (
        not isinstance(value, spec.type) or (spec.type is int and isinstance(value, bool))
    ):
        raise UsageError(f"{where} = {value!r} is not {_kinds(spec)}")
    if spec.choices is not None and value not in spec.choices:
        raise UsageError(f"{where} = {value!r} is not one of {', '.join(spec.choices)}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{where} = {value} is not a finite number")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise UsageError(f"{where} = {value} does not fit into 64 bits")
        if spec.minimum is not None and value < spec.minimum:
            raise UsageError(f"{where} = {_said(value)} is below {_said(spec.minimum)}")
        if spec.maximum is not None and value > spec.maximum:
            raise UsageError(f"{where} = {_said(value)} is above {_said(spec.maximum)}")


def _said(number: float) -> str:
    """A number as it was given: no 1e+14 for a count."""
    return f"{number:g}" if isinstance(number, float) else str(number)


def _kinds(spec: Option) -> str:
    return " or ".join([spec.type.__name__, *(f"the word {word}" for word in spec.words)])


def recipe_of(config: Any) -> dict[str, Any]:
    """The fields that decide the result, as plain JSON values: what the fingerprint is taken over."""
    deciding = [o for o in options_of(type(config)) if o.identity]
    return {o.name: _plain(v) for o in deciding if (v := getattr(config, o.name)) != o.default or not o.late}


def execution_of(config: Any) -> dict[str, Any]:
    """The fields that only decide how the work is done (batch size, workers, device)."""
    return {o.name: _plain(getattr(config, o.name)) for o in options_of(type(config)) if not o.identity}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def add_arguments(parser: argparse.ArgumentParser, cls: type) -> None:
    """Add one flag per option: `--per-class 10`, `--force/--no-force` for booleans."""
    for spec in options_of(cls):
        flag = flag_of(spec.name)
        unit = f" [{spec.unit}]" if spec.unit else ""
        shown = "" if spec.default in ("", None) else f" (default: {spec.default})"
        text = (spec.help + unit + shown).replace("%", "%%")
        if spec.type is bool:
            parser.add_argument(
                flag, dest=spec.name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
            )
        else:
            parser.add_argument(
                flag,
                dest=spec.name,
                type=_reader(spec) if spec.words else spec.type,
                choices=spec.choices,
                metavar=_metavar(spec),
                default=argparse.SUPPRESS,
                help=text,
            )


def _metavar(spec: Option) -> str | None:
    """What stands for a value in the help. Of many choices the ends: forty would fill the screen twice."""
    if spec.choices is None:
        return "|".join([spec.type.__name__.upper(), *spec.words])
    return None if len(spec.choices) <= MANY else f"{{{spec.choices[0]},…,{spec.choices[-1]}}}"


def _reader(spec: Option) -> Callable[[str], Any]:
    """What reads a flag that may be a word."""

    def read(text: str) -> Any:
        try:
            return spec.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {_kinds(spec)}") from None

    return read


def arguments_of(cls: type, config: Any) -> list[str]:
    """The flags that give this configuration: the inverse of `add_arguments`, defaults left out."""
    words: list[str] = []
    for spec in options_of(cls):
        value = getattr(config, spec.name)
        if value == spec.default:
            continue
        flag = spec.name.replace("_", "-")
        if spec.type is bool:
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words.append(f"--{flag}={value}")
    return words


def from_namespace(cls: type[C], namespace: argparse.Namespace) -> C:
    """The configuration that the given flags describe, checked like any other."""
    given = {o.name: getattr(namespace, o.name) for o in options_of(cls) if hasattr(namespace, o.name)}
    return configure(cls, None, given, flags=True)
