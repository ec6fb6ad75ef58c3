"""What a model cost, for people who decide: a line a stage, totals, the run on all images beside, and the ratio."""

from __future__ import annotations

from html import escape

import streamlit as st

from app.parts import forms, words
from d2c.artifacts import Artifact
from d2c.errors import D2CError
from d2c.evaluate import bill
from d2c.evaluate.cost import Receipt, ReceiptConfig, Row, Total, money, receipt
from d2c.evaluate.full import Full

PASSES = {"same": "Measured, or same passes", "sit": "SiT's 1,400 passes", "own": "My own steps"}
HELP = {
    "same": "what a run of the same model on the whole data set took; without one, as many passes over it as this run "
    "made over its own images",
    "sit": "what SiT-XL/2 was trained for on ImageNet, the paper's baseline: 7M steps of 256 images",
}
SIT = 1400.0
STYLE = """<style>
.d2c-ratios { display: flex; flex-wrap: wrap; gap: 1rem 3.5rem; margin: .25rem 0 .5rem }
.d2c-ratios b { display: block; font-size: 3.1rem; line-height: 1.1; font-weight: 650; letter-spacing: -.02em }
.d2c-ratios span { display: block; max-width: 17rem; opacity: .72; margin-top: .3rem }
.d2c-facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .7rem 1.2rem }
.d2c-facts span { display: block; opacity: .66; font-size: .86em }
.d2c-bill { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
.d2c-bill th, .d2c-bill td { text-align: right; padding: .4rem 0 .4rem 1rem; vertical-align: top; white-space: nowrap }
.d2c-bill td { border-top: 1px solid rgba(128, 143, 158, .3) }
.d2c-bill th { font-weight: 500; opacity: .72 }
.d2c-bill td:first-child { text-align: left; padding-left: 0; white-space: normal }
.d2c-bill small { display: block; opacity: .66; overflow-wrap: anywhere }
.d2c-bill .d2c-sum td { font-weight: 650; border-top: 2px solid rgba(128, 143, 158, .75); padding-bottom: 1.3rem }
</style>"""
PRICES = {
    "price": ("A GPU-hour", "Rent or amortisation of one GPU for an hour"),
    "cpu_price": ("A CPU-hour", "An hour of a machine without a GPU"),
    "energy_price": ("A kWh", "Paid for energy that was measured"),
}


def panel(artifact: Artifact) -> None:
    """The receipt of an artifact, at the prices and beside the full-data run that the address holds."""
    config = _settings()
    try:
        found = receipt(artifact, config)
    except D2CError as wrong:
        st.error(words.plain(str(wrong)), icon=":material/error:")
        return
    _headline(found)
    _full(found)
    _lines(found)
    _small_print(found)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download as CSV",
            data=lambda: bill.csv_of(found).encode(),
            file_name=f"receipt-{artifact.name}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="receipt_csv",
        )
    forms.command_preview(forms.words_of("receipt", found.subject, config))


def _settings() -> ReceiptConfig:
    """Prices, currency, and the length of the run on all images."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="receipt_prices"):
        values = {}
        for name, (label, said) in PRICES.items():
            values[name] = st.number_input(
                label, 0.0, None, 0.0, format="%g", key=name, bind="query-params", help=said, width=140
            )
        currency = st.text_input("In", "USD", key="currency", bind="query-params", max_chars=8, width=90)
        length = st.selectbox(
            "All images would take",
            list(PASSES),
            format_func=PASSES.__getitem__,
            key="full",
            bind="query-params",
            width=210,
            help="; ".join(f"{PASSES[k]}: {said}" for k, said in HELP.items()),
        )
        steps = 0
        if length == "own":
            steps = int(st.number_input("Steps", 1, None, 100_000, key="full_steps", bind="query-params", width=140))
    return ReceiptConfig(
        **{name: float(value or 0.0) for name, value in values.items()},
        currency=(currency or "").strip() or "USD",
        full_steps=steps,
        full_epochs=SIT if length == "sit" else 0.0,
    )


def _headline(found: Receipt) -> None:
    """By how much, in large type; and what that compares."""
    full = found.full
    if full is None:
        st.info(words.plain(_sentence(found.why_not)), icon=":material/info:")
        return
    if full.itself:
        said = "This run was trained on the whole data set: it is what others are compared with."
        st.info(said, icon=":material/info:")
        return
    told = []
    for name in ("hours", "energy", "money"):
        if (ratio := found.ratios.get(name)) is None:
            continue
        what = bill.RATIOS[name] if name != "hours" else f"{_device(full)} time"
        if ratio.value >= 1:
            told.append((bill.times(ratio), f"less {what} than all images would take ({full.how})"))
        else:
            told.append(("No saving", f"in {what}: all images would take {ratio.value:.0%} of it ({full.how})"))
    blocks = "".join(f"<div><b>{escape(big)}</b><span>{escape(small)}</span></div>" for big, small in told)
    st.html(f"{STYLE}<div class='d2c-ratios'>{blocks}</div>")


def _lines(found: Receipt) -> None:
    """A stage a line, the sum below its part."""
    priced = found.totals["all"].money is not None
    head = ["Time", "Energy", "On disk", *([f"Price ({found.config.currency})"] if priced else [])]
    rows = [f"<tr><th></th>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>"]
    for part, title in (("make", "To make the model"), ("judge", "To judge it")):
        total = found.totals[part]
        if not total.rows:
            continue
        rows += [_line(row, found, priced) for row in found.rows if row.part == part]
        spent = [bill.devices(total), _energy(total), words.size(total.bytes)]
        spent += [bill.cash(total.money)] if priced else []
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in spent)
        rows.append(f"<tr class='d2c-sum'><td>{title}</td>{cells}</tr>")
    st.html(f"{STYLE}<table class='d2c-bill'>{''.join(rows)}</table>")


def _line(row: Row, found: Receipt, priced: bool) -> str:
    shared = f" · serves {words.many(len(row.shared_by), 'other')} too" if row.shared_by else ""
    spent = [
        f"{bill.hours(row.device_seconds)} {'GPU' if row.gpu else 'CPU'}",
        bill.energy(row.energy_kwh) if row.energy_kwh is not None else "–",
        words.size(row.bytes),
    ]
    if priced:
        seconds = (row.device_seconds, 0.0) if row.gpu else (0.0, row.device_seconds)
        spent.append(bill.cash(money(*seconds, row.energy_kwh, found.config)))
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in spent)
    return f"<tr><td>{bill.stage(row)}<small>{escape(words.short(row.name, 40) + shared)}</small></td>{cells}</tr>"


def _energy(total: Total) -> str:
    if total.energy_kwh is None:
        return "not measured"
    part = "" if total.energy_rows == total.rows else f" in {total.energy_rows} of {total.rows}"
    return bill.energy(total.energy_kwh) + part


def _full(found: Receipt) -> None:
    """The run on all images, and how it is known."""
    full = found.full
    if full is None or full.itself:
        return
    with st.container(border=True, key="receipt_full", gap="small"):
        measured = full.how == "measured"
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown("**Trained on all images**", width="content")
            icon = ":material/check_circle:" if measured else ":material/calculate:"
            st.badge("Measured" if measured else "Projected", icon=icon, color="green" if measured else "orange")
        rows = [
            ("Images", words.count(full.images)),
            ("Passes", f"{full.epochs:,.4g}"),
            ("Steps", f"{full.steps:,} of {full.batch:,} images"),
            ("Time", f"{_reach(full, full.gpu_seconds or full.cpu_seconds)} {_device(full)}"),
            ("Energy", bill.energy(full.energy_kwh)),
            ("On disk", words.size(full.bytes)),
        ]
        if found.full_money is not None:
            rows.append(("Price", _cash(found.full_money, found.config.currency)))
        body = "".join(f"<div><span>{name}</span>{escape(value)}</div>" for name, value in rows)
        st.html(f"{STYLE}<div class='d2c-facts'>{body}</div>")
        st.caption(words.plain(_sentence(full.formula)))


def _device(full: Full) -> str:
    return "GPU" if full.gpu_seconds > 0 else "CPU"


def _reach(full: Full, seconds: float) -> str:
    low, high = bill.hours(seconds * full.low), bill.hours(seconds * full.high)
    return low if low == high else f"{low} to {high}"


def _cash(paid: tuple[float, float, float], currency: str) -> str:
    low, high = bill.cash(paid[1]), bill.cash(paid[2])
    return f"{low} {currency}" if low == high else f"{low} to {high} {currency}"


def _small_print(found: Receipt) -> None:
    notes = [words.plain(_sentence(note)) for note in found.notes]
    peak = found.totals["all"]
    memory = f"At most {words.size(peak.peak_memory)} of memory"
    memory += f" and {words.size(peak.peak_device_memory)} on a device" if peak.peak_device_memory else ""
    st.caption("  \n".join([f"{words.plain(memory)}.", *notes]))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
