from __future__ import annotations

import pytest

from d2c.report import say
from d2c.report.flow import way_of
from d2c.report.judged import finding, metrics_of, reasons, verdict_of
from d2c.report.lineage import bare

LISTED = {
    "extractor": {"name": "classifier"},
    "metrics": [
        {"name": "FD-classifier", "of": "samples", "value": 3.1, "low": 2.9, "high": 3.4, "images": 500}
        | {"extractor": "classifier", "better": "low", "note": "biased"},
        {"name": "FD-classifier", "of": "held_out", "value": 0.5, "low": None, "high": None, "images": 400},
        {"name": "Recall", "of": "samples", "value": None, "images": 500, "better": "high"},
        {"name": "FID-10K", "of": "samples", "value": 4.0, "images": 10_000, "better": "low"},
    ],
    "rows": [],
}


def test_the_listed_numbers() -> None:
    fd, recall, fid = metrics_of(LISTED)
    assert (fd.key, fd.better, fd.note) == ("fd", "low", "biased")
    assert fd.cell("samples") == {"value": "3.10", "interval": "2.90 to 3.40", "images": "500"}
    assert fd.cell("held_out") == {"value": "0.500", "interval": "", "images": "400"}
    assert fd.cell("copies") == {"value": "–", "interval": "", "images": "–"}
    assert (recall.better, recall.cell("samples")["value"]) == ("high", "–")
    assert (fid.name, fid.key) == ("FID-10K", "fd")


def test_the_rows_of_older_reports() -> None:
    rows = [
        {"row": r, "images": 9, "fd": f, "kid": None, "accuracy": a}
        for r, f, a in (("samples", 2, 0.5), ("copies", 1, 1))
    ]
    accuracy, fd = metrics_of({"extractor": {"name": "classifier"}, "rows": rows})
    assert accuracy.cell("samples")["value"] == "50.0 %"
    assert (fd.name, fd.cell("copies")["value"]) == ("FD-classifier", "1.00")


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"verdict": "copies"}, "copies"),
        ({"verdict": "generalises", "warnings": ["copying suspected: 9%"]}, "generalises"),
        ({"warnings": ["copying suspected: 9%"], "nearest_ratio": 0.4}, "suspected"),
        ({"nearest_ratio": 0.9}, "unsuspected"),
        ({}, "unclear"),
    ],
)
def test_the_verdict(facts: dict[str, object], verdict: str) -> None:
    assert verdict_of(facts) == verdict


def test_the_finding_says_how_few_and_whether_it_copies() -> None:
    said = finding(100, 1797, {"accuracy": 0.992, "verdict": "copies"})
    assert said.startswith("Trained on 100 of 1,797 images (5.6 %): 99.2 % of its samples")
    assert said.endswith("but it copies its training images")
    cleared = finding(100, 1797, {"accuracy": 0.992, "verdict": "generalises"})
    assert cleared.endswith("and no copying of training images was found among them")  # rare copies may be there
    assert finding(50, 50, {"accuracy": 1.0}).startswith("Trained on 50 images: 100.0 %")


def test_reasons_in_the_judgements_own_words() -> None:
    assert reasons({"copying": {"why": "5 % are too near"}}) == ["5 % are too near."]
    assert reasons({"copying": {"why": ["a", "b."]}}) == ["A.", "B."]
    assert reasons({"warnings": ["copying suspected: near a training image", "few"]}) == ["Near a training image."]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/somebody/flowers/train/", "train"),
        ("~/flowers", "flowers"),
        ("wds:/data/shards-{000..009}.tar", "wds:shards-{000..009}.tar"),
        ("C:\\pictures\\flowers", "flowers"),
        ("demo:digits", "demo:digits"),
        ("hf:owner/name", "hf:owner/name"),
        ("SiT-Ti/4", "SiT-Ti/4"),
        ("a photo of a {class}", "a photo of a {class}"),
    ],
)
def test_paths_are_cut_to_their_last_part(text: str, shown: str) -> None:
    assert bare(text) == shown


@pytest.mark.parametrize(("k", "said"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (12, "12th"), (22, "22nd")])
def test_every_kth(k: int, said: str) -> None:
    assert way_of({}, {"strategy": "interval", "interval": k}) == f"every {said} from easy to hard"


def test_numbers_as_people_read_them() -> None:
    assert [say.number(v) for v in (None, float("nan"), 0.0816, -0.07, 3.0965, 41.27, 1234.5)] == [
        *("–", "–", "0.082", "−0.070", "3.10", "41.3", "1,234")
    ]
    assert [say.seconds(v) for v in (0.042, 4.23, 125, 5025)] == ["42 ms", "4.2 s", "2 min 5 s", "1 h 23 min"]
    assert say.size(4_200_000) == "4.2 MB"
    assert say.listed(["a", "b", "c"]) == "a, b and c"
    assert say.listed("abcdef", 3) == "a, b and 4 more"
    assert say.spread(range(100), 3) == [0, 50, 99]
