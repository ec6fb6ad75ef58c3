from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from d2c import download as module
from d2c import progress
from d2c.download import cache_folder, digest, download
from d2c.errors import Cancelled, D2CError

BYTES = bytes(range(256)) * 20_000  # 5.1 MB


class Server:
    """One file on 127.0.0.1. Knobs: what it has, whether it heeds ranges, after how many bytes it stops."""

    def __init__(self) -> None:
        self.body, self.etag, self.ranges, self.stop, self.status = BYTES, '"one"', True, 0, 200
        self.kind, self.pause, self.heeds_if_range = "application/octet-stream", 0.0, True
        self.asked: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.httpd.server_port}/model.pt"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        if self.status != 200:
            handler.send_error(self.status)
            return
        fresh = not self.heeds_if_range or handler.headers.get("If-Range") == self.etag
        start = int(asked[6:-1]) if asked and self.ranges and fresh else 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.send_header("Content-Type", self.kind)
        handler.send_header("Content-Length", str(len(self.body) - start))
        handler.end_headers()
        sent = self.body[start : start + self.stop] if self.stop else self.body[start:]
        try:
            for at in range(0, len(sent), 1 << 16):
                handler.wfile.write(sent[at : at + (1 << 16)])
                time.sleep(self.pause)
        except OSError:
            pass
        handler.close_connection = True


@pytest.fixture
def server():
    made = Server()
    yield made
    made.httpd.shutdown()
    made.httpd.server_close()


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return cache_folder() / "model.pt"


def left(file: Path) -> list[str]:
    return sorted(p.name for p in file.parent.iterdir() if not p.name.startswith("."))


def refused(server_or_address, file: Path, **options: object) -> str:
    with pytest.raises(D2CError) as caught:
        download(getattr(server_or_address, "address", server_or_address), file, quiet=True, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_cache_is_the_usual_one(monkeypatch):
    torch = pytest.importorskip("torch")
    for name, value in (("TORCH_HOME", "/a/b"), ("XDG_CACHE_HOME", "/c")):
        monkeypatch.delenv("TORCH_HOME", raising=False)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        assert cache_folder() == Path(torch.hub.get_dir()) / "checkpoints"
        monkeypatch.setenv(name, value)
        assert cache_folder() == Path(torch.hub.get_dir()) / "checkpoints"
        assert str(cache_folder()).startswith(value)


def test_a_file_comes_whole_with_its_digest(server, file, capsys):
    assert download(server.address, file) == file
    assert file.read_bytes() == BYTES
    assert left(file) == ["model.pt", "model.pt.sha256"]
    said = capsys.readouterr().err
    assert hashlib.sha256(BYTES).hexdigest() in said
    assert re.search(r"download: +\d+%.*5/5", said)
    download(server.address, file, quiet=True)
    assert len(server.asked) == 1  # it is there now
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
def test_sha256sum_reads_the_digest(server, file):
    download(server.address, file, quiet=True)
    done = subprocess.run(
        ["sha256sum", "-c", "model.pt.sha256"], cwd=file.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == "model.pt: OK\n"
    assert done.stderr == ""


def test_a_truncated_answer_is_gone_on_with(server, file):
    server.stop = 2_000_000
    said = refused(server, file)
    assert "broke off after 2.0 of 5.1 MB" in said
    assert "the same command goes on from there" in said
    assert left(file) == ["model.pt.part", "model.pt.part.json"]
    server.stop = 0
    download(server.address, file, quiet=True)
    assert server.asked == [None, "bytes=2000000-"]
    assert file.read_bytes() == BYTES
    assert digest(file) == hashlib.sha256(BYTES).hexdigest()


@pytest.mark.parametrize("change", ["no ranges", "new file", "new file, if-range ignored", "no validator", "shorter"])
def test_what_cannot_be_gone_on_with_starts_over(server, file, change):
    server.stop = 2_000_000
    server.etag = "" if change == "no validator" else server.etag
    refused(server, file)
    server.stop = 0
    if change == "no ranges":
        server.ranges = False
    elif change.startswith("new file"):
        server.body, server.etag = BYTES[::-1], '"two"'
        server.heeds_if_range = "ignored" not in change
    elif change == "shorter":
        server.body, server.etag = BYTES[:1000], '"two"'
    download(server.address, file, quiet=True)
    assert file.read_bytes() == server.body
    assert left(file) == ["model.pt", "model.pt.sha256"]
    assert digest(file) == hashlib.sha256(server.body).hexdigest()


def test_a_part_of_another_address_is_not_gone_on_with(server, file):
    server.stop = 2_000_000
    refused(server, file)
    server.stop = 0
    download(server.address + "?other", file, quiet=True)
    assert server.asked == [None, None]
    assert file.read_bytes() == BYTES


def test_a_part_that_was_complete_needs_no_server(server, file):
    server.stop = len(BYTES) - 1
    refused(server, file)
    with (file.parent / "model.pt.part").open("ab") as stream:
        stream.write(BYTES[-1:])
    download(server.address, file, quiet=True)
    assert len(server.asked) == 1
    assert file.read_bytes() == BYTES


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"status": 404}, "HTTP 404"),
        ({"status": 503}, "HTTP 503"),
        ({"kind": "text/html; charset=utf-8"}, "a web page, not a checkpoint"),
        ({"body": b"\n<!DOCTYPE html><title>Confirm</title>"}, "a web page, not a checkpoint"),
    ],
)
def test_no_file_is_one_line_with_the_place_to_put_it(server, file, knobs, said):
    vars(server).update(knobs)
    message = refused(server, file)
    assert said in message
    assert server.address in message
    assert f"put it at {file} by hand, or give a local one with --weights FILE" in message
    assert not file.exists()


def test_nobody_there_and_nobody_answering(file, monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert "refused" in refused(f"http://127.0.0.1:{port}/m.pt", file)
        silent.listen(1)
        monkeypatch.setattr(module, "TIMEOUT", 0.3)
        assert "no answer within" in refused(f"http://127.0.0.1:{port}/m.pt", file)
    assert "put it at" in refused("http://nowhere.invalid/m.pt", file)
    assert "no https address" in refused("file:///etc/passwd", file)


def test_a_stall_is_an_interruption(server, file, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    server.pause = 1.0
    assert "no answer within" in refused(server, file)
    assert (file.parent / "model.pt.part").is_file()


def test_a_disk_too_small_is_told_before(server, file, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    said = refused(server, file)
    assert f"model.pt needs 0.01 GB in {file.parent}, where 0.00 GB are free" in said
    assert "TORCH_HOME" in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_fills_up_on_the_way(server, file, monkeypatch):
    file.parent.mkdir(parents=True)
    real = Path.open

    def full(self: Path, mode: str = "r", *rest: object, **options: object):
        return real(Path("/dev/full") if self.suffix == ".part" else self, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", full)
    assert f"the disk of {file.parent} is full" in refused(server, file)
    assert not file.exists()


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "a-file").write_text("")
    assert "cannot be written" in refused(server, tmp_path / "a-file" / "model.pt")


def test_a_published_digest_is_held_to(server, file):
    right = hashlib.sha256(BYTES).hexdigest()
    assert "not the published 000000000000" in refused(server, file, sha256="0" * 64)
    assert left(file) == []
    download(server.address, file, sha256=right, quiet=True)
    file.write_bytes(b"another")
    assert "remove it, it is another file" in refused(server, file, sha256=right)


def test_a_digest_is_taken_once(file, monkeypatch):
    file.parent.mkdir(parents=True)
    file.write_bytes(b"one")
    taken = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: taken.append(1) or real(*given))
    first = digest(file)
    assert first == hashlib.sha256(b"one").hexdigest()
    module._hash.cache_clear()  # as in another process
    assert digest(file) == first
    assert len(taken) == 1
    os.utime(file, ns=(1, 1))
    assert digest(file) == first
    assert len(taken) == 2
    file.write_bytes(b"other")
    assert digest(file) == hashlib.sha256(b"other").hexdigest()
    (file.parent / "model.pt.sha256").write_text("not a digest")
    assert digest(file) == hashlib.sha256(b"other").hexdigest()


def test_digests_of_files_elsewhere_leave_nothing_beside_them(file, tmp_path):
    mine = tmp_path / "mine.pt"
    mine.write_bytes(b"mine")
    assert digest(mine) == hashlib.sha256(b"mine").hexdigest()
    assert [p.name for p in tmp_path.iterdir() if p.name != "torch"] == ["mine.pt"]


def test_stopped_as_asked_it_goes_on(server, file, monkeypatch):
    monkeypatch.setattr(progress, "_cancel", threading.Event())
    progress._cancel.set()
    with pytest.raises(Cancelled):
        download(server.address, file, quiet=True)
    have = (file.parent / "model.pt.part").stat().st_size
    assert 0 < have < len(BYTES)
    progress._cancel.clear()
    download(server.address, file, quiet=True)
    assert server.asked == [None, f"bytes={have}-"]
    assert file.read_bytes() == BYTES


CHILD = (
    "import sys; from pathlib import Path; from d2c.download import download; download(sys.argv[1], Path(sys.argv[2]))"
)


def start(server: Server, file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, server.address, str(file)], stderr=subprocess.PIPE, text=True)


def test_two_processes_fetch_it_once(server, file):
    server.pause = 0.005
    both = [start(server, file) for _ in range(2)]
    ends = [child.communicate(timeout=60)[1] for child in both]
    assert [child.returncode for child in both] == [0, 0]
    assert len(server.asked) == 1
    assert file.read_bytes() == BYTES
    assert sum("another process is fetching model.pt" in end for end in ends) <= 1


def test_killed_in_the_middle_it_goes_on(server, file):
    server.pause = 0.02
    part = file.parent / "model.pt.part"
    child = start(server, file)
    until = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size >= 1 << 20):
        assert time.monotonic() < until
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    have = part.stat().st_size
    assert 0 < have < len(BYTES)
    assert json.loads((file.parent / "model.pt.part.json").read_text())["total"] == len(BYTES)
    server.pause = 0
    download(server.address, file, quiet=True)
    assert server.asked == [None, f"bytes={have}-"]
    assert file.read_bytes() == BYTES
