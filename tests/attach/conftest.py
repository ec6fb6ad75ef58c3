"""A small real way up to a subset, tiny weights in the real layouts, and a hub on loopback."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.attach import open_vision
from d2c.data import ingest
from d2c.score import ScoreConfig
from d2c.select import select

CLASSES = ("big_dog", "cat", "sea lion")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def dataset(tmp_path: Path, workspace: Workspace) -> Artifact:
    """Three classes of five RGB pictures, short sides 12…20 px."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "source" / name).mkdir(parents=True)
        for i in range(5):
            shape = (12 + 2 * i, 20 + i, 3)
            picture = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
            picture.save(tmp_path / "source" / name / f"{i}.png")
    return ingest(tmp_path / "source", workspace=workspace, quiet=True)


@pytest.fixture(scope="session")
def scorer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-block SiT on 8 px RGB with random weights, its zero gates opened so that blocks do something."""
    import torch

    from d2c.diffusion.checkpoints import save_model
    from d2c.diffusion.config import ModelConfig
    from d2c.diffusion.sit import build

    torch.manual_seed(0)
    config = ModelConfig("SiT", "Ti", patch=2, image_size=8, channels=3, num_classes=len(CLASSES), layers=2)
    model = build(config)
    for weight in model.parameters():
        if weight.requires_grad and weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.05)
    file = tmp_path_factory.mktemp("scorer") / "tiny.safetensors"
    save_model(file, model)
    return file


@pytest.fixture
def scorer_run(workspace: Workspace, dataset: Artifact, scorer_file: Path) -> Artifact:
    """The scorer as a finished run."""

    def write(build: Build) -> None:
        (build.folder / "ema.safetensors").write_bytes(scorer_file.read_bytes())
        build.note(task="generate")

    return produce(workspace, "runs", ScoreConfig(), write, stem="tiny", parents=[dataset], quiet=True)


@pytest.fixture
def subset(workspace: Workspace, dataset: Artifact, scorer_run: Artifact, scorer_file: Path) -> Artifact:
    """Two images of each class, chosen from made-up difficulties."""
    samples = dataset.table("samples.parquet", ["sample_id", "label"])
    difficulty = np.random.default_rng(1).random(len(samples)).astype(np.float32)

    def write(build: Build) -> None:
        samples.assign(difficulty=difficulty).to_parquet(build.folder / "scores.parquet", index=False)

    extra = {
        "scorer": f"runs/{scorer_run.name}",
        "scorer_digest": hashlib.sha256(scorer_file.read_bytes()).hexdigest(),
    }
    scores = produce(
        workspace,
        "scores",
        ScoreConfig(),
        write,
        stem="made-up",
        parents=[dataset, scorer_run],
        extra=extra,
        quiet=True,
    )
    return select(scores, strategy="interval", interval=2, per_class=2, quiet=True)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """open_clip_config.json and open_clip_model.safetensors of a CLIP 16 wide, as a hub repository holds them."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("tiny-clip")
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    vision = {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1}
    settings = {"model_cfg": {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.json and model.safetensors of a ViT 32 wide with a class token, as timm writes them to a hub."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("tiny-vit")
    arguments = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 14, "img_size": 56, "init_values": 1.0}
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **arguments)
    save_file(model.state_dict(), folder / "model.safetensors")
    settings = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 3,
        "num_features": 32,
        "model_args": arguments,
        "pretrained_cfg": {
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.3, 0.4],
            "input_size": [3, 56, 56],
            "num_classes": 3,
            "classifier": "head",
            "fixed_input_size": True,
        },
    }
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


class Hub(http.server.ThreadingHTTPServer):
    """Serves folders as repositories, the part of the Hugging Face Hub that a download needs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.repositories: dict[str, Path] = {}
        self.requests: list[str] = []
        self.broken = False
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        if "/resolve/" in self.path:  # the client may also ask for matters of its own
            self.server.requests.append(f"{self.command} {self.path}")
        data, status, code = self._find()
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _find(self) -> tuple[bytes, int, str]:
        """Body, status and error code."""
        if self.server.broken:
            return b"", 503, ""
        words = self.path.strip("/").split("/")
        if words[:2] == ["api", "models"]:
            return json.dumps({"id": "/".join(words[2:4]), "sha": COMMIT, "siblings": []}).encode(), 200, ""
        folder = self.server.repositories.get("/".join(words[:2]))
        if folder is None:
            return b"", 404, "RepoNotFound"
        file = folder / words[-1]
        return (file.read_bytes(), 200, "") if file.is_file() else (b"", 404, "EntryNotFound")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def rows_of() -> Callable[[Artifact], dict[int, np.ndarray]]:
    """sample_id → tokens of a condensed set."""

    def read(artifact: Artifact) -> dict[int, np.ndarray]:
        ids = pd.read_parquet(artifact.path / "subset.parquet")["sample_id"]
        stored = open_vision(artifact)
        assert stored is not None
        tokens = stored.read(range(len(ids)))
        assert len(ids) == stored.images
        return dict(zip(ids.tolist(), tokens, strict=True))

    return read
