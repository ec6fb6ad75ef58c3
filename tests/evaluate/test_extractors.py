"""Extractors with random weights in the published layouts: what can be told without the weights themselves."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from d2c.errors import D2CError, UsageError
from d2c.evaluate import evaluate
from d2c.evaluate.extractors import base, names
from d2c.evaluate.extractors.encoder import resized
from d2c.evaluate.extractors.names import extractors_of, plain


def images(n, side=20, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, side, side)).astype(np.uint8)


def test_the_classifier_is_first_whatever_is_asked_for(tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(b"x")
    found = extractors_of(f"timm:vit_large_patch14_dinov2.lvd142m, inception:{file},timm:resnet50.a1_in1k={file}")
    assert [a.label for a in found] == ["classifier", "DINOv2", "Inception", "resnet50.a1_in1k"]
    assert [a.file for a in found] == [None, None, file, file]
    assert [a.label for a in extractors_of("")] == ["classifier"]
    assert names.files_of(found, "").keys() == {"weights of Inception", "weights of resnet50.a1_in1k"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vgg", "no extractor 'vgg'; known: classifier, inception, timm:NAME"),
        ("timm:", "no extractor"),
        ("inception,inception", "named twice"),
        ("inception:/nowhere/w.pth", "no file /nowhere/w.pth"),
    ],
)
def test_what_is_no_extractor_is_said(text, said):
    with pytest.raises(D2CError, match=said):
        extractors_of(text)


def test_a_reference_file_without_inception_is_refused(tmp_path):
    with pytest.raises(UsageError, match="add inception"):
        names.files_of(extractors_of("classifier"), str(tmp_path))


def test_resizing_is_pillows_bicubic():
    some = images(2, side=31)
    for image, small in zip(some, resized(some, 14), strict=True):
        expected = Image.fromarray(image.transpose(1, 2, 0)).resize((14, 14), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(small.transpose(1, 2, 0), np.asarray(expected))
    assert resized(some, 31) is some


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    """DINOv2's architecture, two blocks of it 32 wide with random weights, as a hub repository holds it; its file."""
    import timm
    from safetensors.torch import save_file

    narrow = {"depth": 2, "embed_dim": 32, "num_heads": 2}
    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch14_dinov2", num_classes=0, dynamic_img_size=True, **narrow).eval()
    torch.nn.init.normal_(model.cls_token)
    folder = tmp_path_factory.mktemp("dinov2")
    save_file(model.state_dict(), folder / "model.safetensors")
    about = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "input_size": [3, 518, 518], "num_classes": 0}
    settings = {"architecture": "vit_small_patch14_dinov2", "model_args": narrow, "pretrained_cfg": about}
    (folder / "config.json").write_text(json.dumps(settings))
    return model, folder / "model.safetensors"


def test_an_encoder_of_timm_gives_its_class_token_at_the_published_size(dinov2):
    model, file = dinov2
    extractor = base.open_extractor(extractors_of(f"timm:org/tiny-dinov2={file}")[1], torch.device("cpu"))
    assert extractor.label == "tiny-dinov2"
    assert (extractor.about["side"], len(extractor.about["sha256"])) == (224, 64)
    some = images(2)
    got = extractor.read(some)["features"]
    assert (got.shape, got.dtype) == ((2, 32), torch.float32)
    x = torch.from_numpy(resized(some, 224)).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    with torch.inference_mode():
        expected = model.forward_features((x - mean) / std)[:, 0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_arithmetic_is_full_while_an_image_is_read_and_as_before_after_it():
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with base.full_precision():
            assert not torch.backends.cuda.matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def test_weights_that_cannot_be_had_name_this_option(monkeypatch):
    from d2c.attach import dinov2 as module

    def nobody(repository, names, *, wanted_by, flag):
        raise D2CError(f"no weights for {wanted_by}: give a file with {flag} FILE")

    monkeypatch.setattr(module, "fetch", nobody)
    with pytest.raises(D2CError, match=r"give a file with --extractors timm:org/none=FILE$"):
        base.prepare(extractors_of("timm:org/none")[1])


def test_a_convolutional_network_gives_its_pooled_features(tmp_path):
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet10t", pretrained=False)
    torch.save(model.state_dict(), tmp_path / "r.pth")
    extractor = base.open_extractor(
        extractors_of(f"timm:resnet10t.c3_in1k={tmp_path / 'r.pth'}")[1], torch.device("cpu")
    )
    assert extractor.read(images(2, channels=3))["features"].shape == (2, 512)
    assert extractor.about["what"].endswith("pooled features")
    (tmp_path / "bad.pth").write_bytes(b"not weights")
    with pytest.raises(D2CError, match=r"bad\.pth"):
        base.open_extractor(extractors_of(f"timm:resnet10t.c3_in1k={tmp_path / 'bad.pth'}")[1], torch.device("cpu"))


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """Weights in the layout of the published file, random: the network and its file."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason="needs d2c[fid]")
    network = module.FeatureExtractorInceptionV3
    torch.manual_seed(0)
    with (
        mock.patch.object(network, "load_state_dict", return_value=None),
        mock.patch.object(module, "load_state_dict_from_url", return_value={}),
    ):
        model = network("random", ["2048", "logits_unbiased", "logits"])
    file = tmp_path_factory.mktemp("inception") / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(model.state_dict(), file)
    return model, file


def test_inception_gives_what_adms_evaluator_reads(inception):
    model, file = inception
    extractor = base.open_extractor(extractors_of(f"inception:{file}")[1], torch.device("cpu"))
    some = images(3, side=24)
    found = extractor.read(some)
    seen = {}
    model.Mixed_6c.register_forward_hook(lambda _m, _i, out: seen.update(before=out))
    with torch.inference_mode():
        features, unbiased, logits = model(torch.from_numpy(some))
        branch = model.Mixed_6d.branch1x1
        spatial = torch.relu(branch.bn(branch.conv(seen["before"])))
    torch.testing.assert_close(found["features"], features)
    torch.testing.assert_close(found["logits"], unbiased)
    torch.testing.assert_close(found["logits"], logits - model.fc.bias, rtol=1e-4, atol=1e-5)  # IS has no bias
    assert found["spatial"].shape == (3, 2023)
    tensorflow = spatial.permute(0, 2, 3, 1)[..., :7]  # NHWC, the first seven channels
    torch.testing.assert_close(found["spatial"].reshape(3, 17, 17, 7), tensorflow)
    # Other weights than the published ones make no FID.
    assert not extractor.published
    assert extractor.label.startswith("inception-")


def test_inceptions_file_is_read_without_unpickling(inception, tmp_path):
    import pickle

    bad = tmp_path / "evil.pth"
    bad.write_bytes(pickle.dumps({"x": Path}))
    with pytest.raises(D2CError, match=r"evil\.pth"):
        base.open_extractor(extractors_of(f"inception:{bad}")[1], torch.device("cpu"))
    torch.save({"x": torch.zeros(1)}, bad)
    with pytest.raises(D2CError, match="does not hold the weights of Inception"):
        base.open_extractor(extractors_of(f"inception:{bad}")[1], torch.device("cpu"))


def test_weights_come_from_the_web_once_and_only_the_published_ones(inception, tmp_path, monkeypatch):
    from d2c.evaluate.extractors import inception as module

    served = tmp_path / "served"
    served.mkdir()
    (served / "w.pth").write_bytes(b"weights")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    with serving(served) as address:
        monkeypatch.setattr(module, "ADDRESS", f"{address}/w.pth")
        with pytest.raises(D2CError, match="not the published file"):
            module.weights()
        cached = tmp_path / "home" / "hub" / "checkpoints" / module.NAMES[0]
        assert cached.read_bytes() == b"weights"
        cached.unlink()
        monkeypatch.setattr(module, "PUBLISHED", names.digest(served / "w.pth")[:8])
        assert module.weights() == cached
    assert module.weights() == cached  # nobody is asked again
    cached.rename(cached.with_name(module.NAMES[1]))
    assert module.weights().name == module.NAMES[1]  # under its other name too
    module.weights().unlink()
    with pytest.raises(D2CError, match="--extractors inception:FILE"):
        module.weights()


def serving(folder):
    """A folder over http on loopback; gives its address."""
    import contextlib
    import functools
    import http.server
    import threading

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    @contextlib.contextmanager
    def serve():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()

    return serve()


class Tiny:
    """Stands for an open network: means over places, so that all that reads its answers runs in a moment."""

    def __call__(self, pictures):
        x = torch.from_numpy(pictures).float() / 255
        assert x.shape[1] == 3
        features = torch.nn.functional.adaptive_avg_pool2d(x, 3).flatten(1)
        return {"features": features, "logits": 9 * features[:, :4], "spatial": features[:, :5] ** 2}


def fresh(label, i):
    draw = np.random.default_rng((9, i))
    image = draw.integers(0, 60, (12, 12))
    image[:, 4 * label : 4 * label + 4] += draw.integers(120, 180)
    return image.astype(np.uint8)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Have Tiny opened as published Inception; its weights are any file."""
    about = {"what": "a stand-in", "source": "file w", "sha256": "0" * 64, "side": 3}
    monkeypatch.setattr(base, "open_extractor", lambda a, d: base.Extractor("inception", "Inception", Tiny(), about))
    monkeypatch.setattr(base, "prepare", lambda asked: None)
    return "inception"


def features_of(pictures):
    return Tiny()(base.coloured(pictures))["features"].numpy()


def test_all_rows_are_measured_on_further_features_in_batches(dataset, condensed, run_on, sampler, tiny):
    from d2c.data.store import pixels
    from d2c.evaluate.metrics import frechet_distance, inception_score, moments

    sampler(fresh)
    run = run_on(condensed)
    made = evaluate(run, count=30, quiet=True, device="cpu", intervals=2, extractors=tiny, batch_size=7)
    report = made.json("report.json")
    by = {(e["of"], e["metric"]): e for e in report["metrics"] if e["extractor"] == "Inception"}
    assert [e["name"] for e in report["extractors"]] == ["classifier", "Inception"]
    real = features_of(pixels(dataset, np.arange(36), 12, 1))
    drawn = np.stack([fresh(i % 3, i) for i in range(30)])[:, None]
    mine = Tiny()(base.coloured(drawn))
    found = by["samples", "fd"]
    assert found["name"] == "FID (30)"
    assert found["note"] == "against 36 images"
    assert found["value"] == pytest.approx(frechet_distance(*moments(mine["features"]), *moments(real)), rel=1e-5)
    assert by["samples", "is"]["value"] == pytest.approx(inception_score(mine["logits"]), rel=1e-6)
    assert by["samples", "sfd"]["value"] is not None
    assert by["held_out", "fd"]["note"] == "against 18 images"  # the real ones but those held out
    assert {of for of, _ in by} == {"samples", "held_out", "copies"}
    assert made.facts["fid_30"] == found["value"]
    assert made.facts["is"] == by["samples", "is"]["value"]
    assert made.facts["fd"] != found["value"]
    whole = evaluate(run_on(dataset), count=30, quiet=True, device="cpu", intervals=0, extractors=tiny)
    by = {(e["of"], e["metric"]): e for e in whole.json("report.json")["metrics"] if e["extractor"] == "Inception"}
    assert by["held_out", "fd"]["value"] is None
    assert by["copies", "precision"]["value"] == 1.0  # images of the reference itself


def test_a_reference_file_of_adms_takes_the_place_of_the_data_set(condensed, run_on, sampler, tiny, tmp_path):
    from d2c.evaluate.metrics import frechet_distance, moments

    sampler(fresh)
    run = run_on(condensed)
    draw = np.random.default_rng(3)
    arrays = {"arr_0": draw.integers(0, 256, (20, 12, 12, 3)).astype(np.uint8), "mu": np.zeros(27), "sigma": np.eye(27)}
    np.savez(tmp_path / "ref.npz", **arrays)
    options = {"count": 12, "quiet": True, "device": "cpu", "intervals": 0, "extractors": tiny}
    made = evaluate(run, reference=str(tmp_path / "ref.npz"), **options)
    by = {(e["of"], e["metric"]): e for e in made.json("report.json")["metrics"] if e["extractor"] == "Inception"}
    drawn = features_of(np.stack([fresh(i % 3, i) for i in range(12)])[:, None])
    expected = frechet_distance(*moments(drawn), arrays["mu"], arrays["sigma"])
    assert by["samples", "fd"]["value"] == pytest.approx(expected, rel=1e-5)
    assert by["samples", "fd"]["note"] == "against the statistics in ref.npz"
    assert by["samples", "precision"]["note"] == "k = 3, 20 reference images of ref.npz"
    assert by["samples", "sfd"]["value"] is not None  # from its images, for it has no mu_s
    assert set(made.recipe["files"]) == {"reference"}
    np.savez(tmp_path / "ref.npz", mu=arrays["mu"], sigma=arrays["sigma"])
    again = evaluate(run, reference=str(tmp_path / "ref.npz"), **options)
    assert again.path != made.path  # another file of that name is another recipe
    by = {(e["of"], e["metric"]): e for e in again.json("report.json")["metrics"] if e["extractor"] == "Inception"}
    assert by["samples", "precision"]["value"] is None
    assert by["samples", "fd"]["value"] == pytest.approx(expected, rel=1e-5)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "narrow.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(D2CError, match="are not of features of Inception, which are 27 numbers"):
        evaluate(run, reference=str(tmp_path / "narrow.npz"), **options)
    for name, said in (("other.npz", "neither mu and sigma nor images"), ("broken.npz", "is no npz file")):
        with pytest.raises(D2CError, match=said):
            evaluate(run, reference=str(tmp_path / name), **options)


def test_old_recipes_keep_their_fingerprint(condensed, run_on, sampler):
    from d2c.config import recipe_of
    from d2c.evaluate import EvaluateConfig

    assert not {"extractors", "intervals", "reference", "files"} & set(recipe_of(EvaluateConfig()))
    assert json.dumps(recipe_of(EvaluateConfig(extractors="inception")), sort_keys=True).count("inception") == 1


def test_spaces_and_empty_words_are_the_same_recipe() -> None:
    assert plain(",,") == plain(" classifier ,") == "classifier"
    assert plain("inception, timm:resnet18 ") == "inception,timm:resnet18"
