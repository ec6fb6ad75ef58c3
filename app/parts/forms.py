"""Forms made from a configuration class: the field's own help, limits and choices, and the command it stands for."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import streamlit as st

from d2c.config import Option, arguments_of, configure, options_of
from d2c.errors import UsageError

C = TypeVar("C")
_LABELS = {
    "lr": "learning rate",
    "full": "every image too",
    "ema": "weight average (EMA)",
    "clip": "gradient clipping",
    "drop": "label drop",
    "early": "early epoch",
    "gradients": "gradients of",
    "use_text": "text tokens",
    "use_vision": "vision tokens",
    "path": "path (convention)",
    "beta2": "Adam's β₂",
    "qk_norm": "QK norm",
    "ema_form": "form of the average",
    "ema_width": "width of the average",
    "keep": "checkpoints kept",
    "graph": "CUDA graphs",
    "eta": "η (fresh noise)",
    "guidance_low": "guide from noise level",
    "guidance_high": "guide up to noise level",
    "decode_batch": "decoded at once",
}
# What an empty value means, where it means more than "none".
_EMPTY = {
    "path": "As the checkpoint says",
    "weights": "The release's download",
    "autoencoder": "The scorer's own",
    "class_map": "Matched by name",
    "continue_from": "Begins anew",
    "reference": "The data set's images",
    "start_from": "Drawn from the seed",
    "trackers": "None",
}
_CHOICES = {
    "solver": {
        "euler": "Euler (ODE)",
        "heun": "Heun (ODE)",
        "ddim": "DDIM (η)",
        "sde": "SDE (SiT, REPA)",
    },
    "diffusion": {
        "sigma": "σ",
        "constant": "Constant",
        "sbdm": "SBDM",
        "decreasing": "Decreasing",
        "increasing-decreasing": "Rising, falling",
    },
    "last_step": {"mean": "Mean", "euler": "ODE alone (Tweedie)", "none": "None"},
    "format": {"png": "PNGs", "npz": "npz (ADM's evaluator)", "both": "PNGs and npz"},
    "weighting": {"eps": "ε, the noise", "v": "v, the velocity", "x0": "x₀, the image", "zscore": "Standardised"},
    "gradients": {"all": "All weights", "last": "The last layer"},
}


def config_form(
    cls: type[C],
    *,
    key: str,
    start: Mapping[str, Any] | None = None,
    hide: Collection[str] = (),
    link: bool = False,
    columns: int = 1,
    group: Callable[[str], str] | None = None,
    titles: Sequence[str] = (),
) -> C | None:
    """A field for each option of a configuration class, and the configuration they give.

    `start` replaces defaults, `hide` leaves fields out (they keep `start` or the default). With `link` the
    values live in the URL as `<key>_<field>`; otherwise the session keeps them across pages. Options marked
    advanced sit behind a fold, where `group` (field → title) puts them under titles, in the order of `titles`. A value
    that d2c refuses is explained in place, and None is returned.
    """
    begin = dict(start or {})
    shown = [o for o in options_of(cls) if o.name not in hide]
    values = {name: value for name, value in begin.items() if name in hide}
    plain = [o for o in shown if not o.advanced]
    for first in range(0, len(plain), columns):
        row = st.columns(columns, vertical_alignment="bottom")
        for place, spec in zip(row, plain[first : first + columns], strict=False):
            with place:
                values[spec.name] = _field(spec, key, begin, link)
    rest = [o for o in shown if o.advanced]
    if rest:
        with st.expander("Advanced", icon=":material/tune:"):
            for title, members in _grouped(rest, group, titles):
                if title:
                    st.markdown(f"**{title}**")
                for first in range(0, len(members), columns if group else 1):
                    row = st.columns(columns, vertical_alignment="bottom") if group else [st.container()]
                    for place, spec in zip(row, members[first : first + len(row)], strict=False):
                        with place:
                            values[spec.name] = _field(spec, key, begin, link)
    try:
        return configure(cls, None, values)
    except UsageError as wrong:
        st.error(str(wrong), icon=":material/error:")
        return None


def preset(key: str, cls: type, values: Mapping[str, Any]) -> None:
    """Put values into the fields of a form, and the default into every other. Call it in a callback."""
    for spec in options_of(cls):
        st.session_state[f"{key}_{spec.name}"] = values.get(spec.name, spec.default)


def field_label(name: str, unit: str = "") -> str:
    """per_class, images → Per class (images); steps, steps → Steps."""
    words = _LABELS.get(name, name.replace("_", " "))
    return words[:1].upper() + words[1:] + (f" ({unit})" if unit and unit not in words else "")


def in_words(said: str, cls: type) -> str:
    """An error line with the fields of a form for the flags of a command: --class-map FILE → Class map, under …"""
    places = {o.name: ", under Advanced" * o.advanced for o in options_of(cls)}

    def field(flag: re.Match[str]) -> str:
        name = flag[1].replace("-", "_")
        return field_label(name) + places[name] if name in places else flag[0]

    return re.sub(r"--([a-z][a-z-]+)(?: FILE)?", field, said)


def words_of(verb: str, subject: str, config: Any = None, *more: str) -> list[str]:
    """The words of the command that does what a form says, without the leading `d2c`."""
    given = arguments_of(type(config), config) if config is not None else []
    return [verb, *([subject] if subject else []), *given, *more]


def command_preview(words: list[str]) -> None:
    """The very line that does the same in a terminal, with a copy button."""
    with st.expander("The same in a terminal", icon=":material/terminal:"):
        st.code(shlex.join(["d2c", *words]), language="bash", wrap_lines=True)


def _field(spec: Option, key: str, start: Mapping[str, Any], link: bool) -> Any:
    value = start.get(spec.name, spec.default)
    label = field_label(spec.name, spec.unit)
    common: dict[str, Any] = {"help": spec.help or None, "key": f"{key}_{spec.name}"}
    common |= {"bind": "query-params"} if link else {"persist_state": "session"}
    if spec.choices is not None:
        options = list(spec.choices)
        common["format_func"] = lambda c: _CHOICES.get(spec.name, {}).get(c, c) or _EMPTY.get(spec.name, "Not given")
        return st.selectbox(label, options, index=options.index(value) if value in options else 0, **common)
    if spec.type is bool:
        return st.toggle(label, value=value, wrap=True, **common)
    if spec.type is int:
        limits = {"min_value": _whole(spec.minimum), "max_value": _whole(spec.maximum), "step": 1}
        return int(st.number_input(label, value=value, **limits, **common))
    if spec.type is float:
        limits = {"min_value": _real(spec.minimum), "max_value": _real(spec.maximum)}
        return float(st.number_input(label, value=float(value), step=_step(value), format="%g", **limits, **common))
    return st.text_input(label, value=value, placeholder=_EMPTY.get(spec.name), **common)


def _grouped(
    specs: Sequence[Option], group: Callable[[str], str] | None, titles: Sequence[str]
) -> list[tuple[str, list[Option]]]:
    """(title, options) in the order of `titles`; one without a title when nothing groups."""
    found: dict[str, list[Option]] = {title: [] for title in titles}
    for spec in specs:
        found.setdefault(group(spec.name) if group else "", []).append(spec)
    return [(title, members) for title, members in found.items() if members]


def _whole(limit: float | None) -> int | None:
    return None if limit is None else int(limit)


def _real(limit: float | None) -> float | None:
    return None if limit is None else float(limit)


def _step(value: float) -> float:
    """A tenth of the value's power of ten: 0.0003 moves by 0.00001, 4.0 by 0.1."""
    return 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 0.1
