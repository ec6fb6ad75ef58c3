import numpy as np

from d2c.evaluate.warn import warnings_of


def report(*, count=2000, fd=5.0, copies=9.0, accuracy=0.99, verdict="generalises", held_out=100):
    return {
        "rows": [{"row": "samples", "images": count, "fd": fd}, {"row": "copies", "images": count, "fd": copies}],
        "extractor": {"held_out_accuracy": accuracy},
        "copying": {"verdict": verdict, "reasons": ["many", "more"], "held_out_images": held_out},
    }


def said(counts=(5, 5), **changes):
    return warnings_of(report(**changes), ["cat", "dog"], np.array(counts))


def test_nothing_is_said_where_nothing_is_wrong():
    assert said() == []


def test_each_warning_comes_from_its_own_cause_alone():
    causes = {
        "biased": {"count": 500},
        "no samples of dog": {"counts": (5, 0)},
        "reads only 40%": {"accuracy": 0.4},
        "could not be tested": {"accuracy": None},
        "it copies: many; more": {"verdict": "copies"},
        "unclear whether it copies: many; more": {"verdict": "unclear"},
        "showing the training images again": {"fd": 12.0},
        "every real image": {"verdict": "unclear", "held_out": 0},
    }
    for words, cause in causes.items():
        (line,) = said(**cause)
        assert words in line


def test_values_that_are_not_there_are_no_cause():
    assert said(fd=None, copies=None) == []


def of_inception(name, count):
    told = {**report(count=count), "extractors": [{"name": "classifier"}, {"name": name, "kind": "inception"}]}
    return warnings_of(told, ["cat", "dog"], np.array([5, 5]))


def test_what_is_no_published_fid_is_said():
    assert of_inception("Inception", 10_000) == of_inception("Inception", 50_000) == []
    (line,) = of_inception("Inception", 2000)
    assert "FID is of 2,000 samples" in line
    (line,) = of_inception("inception-ab12cd34", 10_000)
    assert "its numbers are no FID" in line
