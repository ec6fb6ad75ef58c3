"""What strategies that read features cost at ImageNet's size, and what an automatic k costs.

    python benchmarks/select_features.py [--images 1281167] [--classes 1000] [--dims 768] [--per-class 10]
        [--strategies kcenter herding] [--folder DIR] [--auto]

Synthetic: float16 features of classes that lie apart, memory-mapped from a file of 2 GB in a temporary folder, with
the classes' images scattered over it (a folder of class folders has them together, which reads faster). Each strategy
is run in a process of its own, so that its peak memory is its own; of that, mapped pages of the file are the system's
to take back. The time is that of the choice alone: the file is written, and the ranking sorted, before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

from d2c.select import Ranking, SelectConfig
from d2c.select.auto import Proxy


def write(file: Path, labels: np.ndarray, dims: int) -> None:
    """Unit-length features: a direction a class and as much noise, 65,536 rows at a time."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((int(labels.max()) + 1, dims), np.float32)
    with file.open("wb") as out:
        for start in range(0, len(labels), 65_536):
            part = labels[start : start + 65_536]
            x = centres[part] + rng.standard_normal((len(part), dims), np.float32)
            x /= np.linalg.norm(x, axis=1, keepdims=True)
            out.write(x.astype(np.float16).tobytes())


def private_kib() -> int:
    """Memory of this process that is no file's page [KiB]."""
    text = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("RssAnon")))


def measure(file: Path, table: pd.DataFrame, dims: int, strategy: str, per_class: int) -> tuple[float, ...]:
    """Seconds of wall and of processor, peak MiB in all, and the highest MiB of the process's own that were seen."""
    features = np.memmap(file, np.float16, "r", shape=(len(table), dims))
    ranking = Ranking(table, features=features)
    seen, done = [private_kib()], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            seen.append(private_kib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, used = time.perf_counter(), time.process_time()
    if strategy == "auto":
        proxy = Proxy(ranking)
        curves = proxy.curves(per_class)
        assert curves.best in curves.k
    else:
        assert len(ranking.choose(SelectConfig(strategy, per_class))) == per_class * len(ranking.views)
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    done.set()
    watcher.join()
    return wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, max(seen) / 1024


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--dims", type=int, default=768)
    parser.add_argument("--per-class", type=int, default=10)
    parser.add_argument("--strategies", nargs="+", default=["kcenter", "herding"])
    parser.add_argument("--folder", type=Path, default=None, help="where the file of features is written for a while")
    parser.add_argument("--auto", action="store_true", help="time an automatic k too")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, given.classes, given.images).astype(np.int32)
    table = pd.DataFrame(
        {
            "sample_id": np.arange(given.images),
            "label": labels,
            "difficulty": rng.lognormal(size=given.images).astype(np.float32),
        }
    )
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        file = Path(folder) / "features.f16"
        write(file, labels, given.dims)
        size = file.stat().st_size / 2**30
        print(
            f"{given.images:,} × {given.dims} float16 ({size:.2f} GiB) in {given.classes:,} classes, {given.per_class}"
        )
        print(f"a class; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before\n")
        print("| strategy | s | s of processor | peak MiB, with the file's pages | of its own |\n|---|---|---|---|---|")
        for strategy in [*given.strategies, *["auto"] * given.auto]:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                wall, cpu, peak, own = pool.apply(measure, (file, table, given.dims, strategy, given.per_class))
            print(f"| {strategy} | {wall:.1f} | {cpu:.1f} | {peak:,.0f} | {own:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
