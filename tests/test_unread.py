import errno
import pickle
from pathlib import Path

import pytest

from d2c.unread import DAMAGED, UNSAFE, brief, unread

UNPICKLING = pickle.UnpicklingError("Weights only load failed. In PyTorch 2.6, …\nUnsupported operand 110")


@pytest.mark.parametrize(
    ("content", "problem", "said"),
    [
        (b"\x80\x04K", UNPICKLING, UNSAFE),
        (b"PK\x03\x04", UNPICKLING, UNSAFE),
        (b"not", UNPICKLING, DAMAGED),
        (b"not", ValueError("weights_only=True blocked loading this checkpoint"), DAMAGED),
        (b"PK\x03\x04", ValueError("weights_only=True blocked loading this checkpoint"), UNSAFE),
        (b"", pickle.UnpicklingError("Weights only load failed. Unsupported global: GLOBAL os.system"), UNSAFE),
        (b"", EOFError(), DAMAGED),
        (b"", OSError(errno.EINVAL, "Invalid argument"), DAMAGED),
        (b"", OSError(errno.EACCES, "Permission denied"), ""),
        (b"", RuntimeError("PytorchStreamReader failed reading zip archive: not a ZIP archive."), DAMAGED),
        (b"", RuntimeError("size mismatch for head.weight"), ""),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, content: bytes, problem: Exception, said: str) -> None:
    (tmp_path / "m.pt").write_bytes(content)
    assert unread(tmp_path / "m.pt", problem) == said


def test_a_problem_is_cut_between_words() -> None:
    assert brief(ValueError("one two three\nfour"), 11) == "one two …"
    assert brief(ValueError("one two three\nfour")) == "one two three"
    assert brief(ValueError()) == "ValueError"
