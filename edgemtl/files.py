"""Results appear whole or not at all: written beside the target, then renamed."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edgemtl.errors import OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk, a quota or a file system's largest file that is full."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path in ``target``'s folder; renamed to ``target`` if the block succeeds.

    The temporary name keeps the suffix, because writers choose their format by it. An existing
    target survives any failure. Raises OutputError where nothing can be written, also when a disk
    is full in the midst of it.
    """
    target = Path(target)
    place = Path(os.path.realpath(target))  # a link stays one
    if target.is_dir():
        raise OutputError(f"output '{target}' is a folder", "name a file")
    if target.exists() and not target.is_file():
        raise OutputError(f"output '{target}' is a device or a pipe", "name a file")
    if not place.parent.is_dir():
        raise OutputError(
            f"output folder '{target.parent}' does not exist", f"mkdir -p {target.parent}"
        )
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}-", suffix=target.suffix, dir=place.parent
        )
        os.close(handle)
    except OSError as error:
        raise OutputError(
            f"cannot write in '{target.parent}': {error.strerror}", "choose a writable folder"
        ) from error
    temporary = Path(name)
    try:
        try:
            yield temporary
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise OutputError(
                f"cannot write '{target}': {error.strerror}",
                "make room on the disk; what was there before is untouched",
            ) from error
        try:
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, place)
        except OSError as error:
            raise OutputError(
                f"cannot write '{target}': {error.strerror}", "is its folder still there?"
            ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def make_folder(folder: Path) -> None:
    """Make a folder for results. Raises OutputError if that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"out: cannot make '{folder}': {error.strerror}", "name another folder"
        ) from error


def keep(read: Mapping[str, Path | None], written: Iterable[Path | None], hint: str) -> None:
    """Raise OutputError if a file that is read, by what it is, would be lost: one of those to be
    written is it, by whatever name."""
    for kind, source in read.items():
        for path in written:
            if path is not None and source is not None and path.resolve() == source.resolve():
                raise OutputError(f"out: '{path}', which is written, is the {kind} itself", hint)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` to ``target`` as UTF-8, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
