"""Files of the system (/proc, /sys, /etc) and short commands. What cannot be read is None."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

ROOT = Path("/")


def read_text(path: str | Path) -> str | None:
    """The text of a file without the white space and the NULs around it; None if there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n") or None
    except OSError:
        return None


def number(text: str | None) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read_number(path: str | Path) -> float | None:
    return number(read_text(path))


def memory_gib(key: str, root: Path = ROOT) -> float | None:
    """A line of /proc/meminfo, such as ``MemTotal``, in GiB."""
    for line in (read_text(root / "proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            kib = number(value.removesuffix("kB").strip())
            return None if kib is None else round(kib / 2**20, 1)
    return None


def command(*words: str) -> str | None:
    """What a program says within 5 s; None if it is absent, fails or says nothing."""
    if shutil.which(words[0]) is None:
        return None
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, ValueError, subprocess.SubprocessError):  # ValueError: output that is no text
        return None
    return done.stdout.strip() or None
