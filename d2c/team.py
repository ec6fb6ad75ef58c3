"""Several processes on one verb: what torchrun or `accelerate launch` started side by side.

They share the workspace's disk, and through it all data. What they tell each other is small: where the partial folder
is, and that a stage is done. The processes' own tables are never sent.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import datetime
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from d2c.errors import D2CError

_PATIENCE = datetime.timedelta(days=7)  # to wait for the slowest: a stage can take days


@dataclasses.dataclass(frozen=True)
class Team:
    """One process among `size`. The first (rank 0) makes the artifact, the others take their share of its shards."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process makes the artifact and speaks for all."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The device of this process: each its own GPU of the machine, unless one is named by number."""
        if self.size == 1 or name not in ("auto", "cuda"):
            return name
        import torch

        count = torch.cuda.device_count()
        return f"cuda:{self.local_rank % count}" if count else name

    def mine(self, index: int) -> bool:
        """Whether a shard of this number is this process's."""
        return index % self.size == self.rank

    def wait(self) -> None:
        """Until all have come here. Raises D2CError when one of them has died."""
        self.tell(None)

    def tell(self, message: Any) -> Any:
        """What the first says (JSON values), to all. Raises D2CError when one of them has died."""
        if self.size == 1:
            return message
        import torch
        import torch.distributed as dist

        try:
            text = json.dumps(message).encode() if self.first else b""
            length = torch.tensor([len(text)])
            dist.broadcast(length, 0)
            body = torch.frombuffer(bytearray(text.ljust(int(length))), dtype=torch.uint8)
            dist.broadcast(body, 0)
            dist.barrier()
        except RuntimeError as problem:
            why = str(problem).strip().splitlines()[0][:120]
            raise D2CError(f"one of {self.size} processes is gone ({why}): give the same command again") from None
        return json.loads(bytes(body.tolist()))


@contextlib.contextmanager
def gather() -> Iterator[Team]:
    """The team that RANK, WORLD_SIZE and LOCAL_RANK describe; of one without them."""
    try:
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        local = int(os.environ.get("LOCAL_RANK", rank))
    except ValueError:
        raise D2CError("RANK, WORLD_SIZE and LOCAL_RANK must be whole numbers: start with torchrun") from None
    if size <= 1:
        yield Team()
        return
    if not 0 <= rank < size:
        raise D2CError(f"RANK {rank} is not one of {size} processes: start with torchrun")
    import torch.distributed as dist

    ours = not dist.is_initialized()
    if ours:
        try:
            import torch

            kinds = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
            dist.init_process_group(kinds, timeout=_PATIENCE, **_afresh(rank, size))
        except (RuntimeError, ValueError) as problem:
            why = str(problem).strip().splitlines()[0][:120]
            raise D2CError(f"{size} processes did not find each other ({why}): start with torchrun") from None
    try:
        yield Team(rank, size, local)
    finally:
        if ours:
            dist.destroy_process_group()


def _afresh(rank: int, size: int) -> dict[str, Any]:
    """After a restart by torchrun, a place of this attempt's own for the processes to find each other.

    Without it gloo reads the addresses that the attempt before left in the agent's store, where nobody listens.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt == "0":
        return {}
    import torch.distributed as dist

    ours = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" and rank == 0
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    place = dist.TCPStore(*where, size, ours, wait_for_workers=False)  # type: ignore[attr-defined]
    store = dist.PrefixStore(f"d2c/{attempt}", place)  # type: ignore[attr-defined]
    return {"store": store, "rank": rank, "world_size": size}


def leave(status: int) -> NoReturn:
    """End this process; one of a team without taking the interpreter apart.

    Native threads that a collective leaves behind can abort the process while Python is being taken apart, long after
    its work is done, and then torchrun fails for all.
    """
    if os.environ.get("WORLD_SIZE", "1") in ("", "0", "1"):
        sys.exit(status)
    atexit._run_exitfuncs()  # what libraries have asked for is done
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
