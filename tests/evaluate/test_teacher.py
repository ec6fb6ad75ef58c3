import numpy as np
import pytest
import torch

from d2c.errors import D2CError
from d2c.evaluate.judge import classifier
from d2c.evaluate.teacher import teacher, usual_side


def test_a_teacher_is_the_judge_of_the_data_set_and_is_trained_once(dataset):
    judge = classifier(dataset, image_size=12, quiet=True, device="cpu")
    found = teacher(dataset, image_size=12, device="cpu", quiet=True)
    assert found.run.path == judge.path
    assert (found.side, found.channels, found.classes, found.accuracy) == (12, 1, 3, 1.0)
    assert not found.model.training
    table = dataset.table("samples.parquet")
    images = found.images(dataset, table["sample_id"].to_numpy())
    x = found.input(images)
    assert (x.dtype, float(x.min()) >= -1, float(x.max()) <= 1) == (torch.float32, True, True)
    with torch.inference_mode():
        read = found.model(x).argmax(1).numpy()
    assert np.mean(read == table["label"]) > 0.9


def test_without_a_size_it_sees_images_as_large_as_they_are(dataset):
    sides = dataset.table("samples.parquet")[["width", "height"]].min(axis=1)
    assert usual_side(dataset) == int(np.median(sides))
    assert usual_side(dataset, most=5) == 5


def test_one_class_teaches_nothing(dataset):
    (dataset.path / "classes.json").write_text('["only"]')
    with pytest.raises(D2CError, match="one class"):
        teacher(dataset, image_size=12, quiet=True)
