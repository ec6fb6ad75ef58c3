"""Names of classes and images as names of folders and files, on any file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 120  # bytes in UTF-8; file systems take 255, and paths on Windows 260 characters in all
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


def safe(name: str, most: int = LONGEST) -> str:
    """The name with what no file system takes replaced; letters of every script stay.

    No separators, control characters, leading dots or dots and blanks at the end; no device of Windows; not empty;
    at most `most` bytes in UTF-8. Composed (NFC), as macOS and Linux otherwise differ.
    """
    text = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name)).lstrip(" .")
    text = text.encode()[:most].decode(errors="ignore").rstrip(" .")
    return f"{text}_" if text.partition(".")[0].rstrip().lower() in _DEVICES else text or "unnamed"


def distinct(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The same names, those that occurred before (upper and lower case taken as one) with -2, -3 … after them."""
    used = {name.casefold() for name in taken}
    found = []
    for name in names:
        count, tried = 1, name
        while tried.casefold() in used:
            count += 1
            tried = f"{name}-{count}"
        used.add(tried.casefold())
        found.append(tried)
    return found
