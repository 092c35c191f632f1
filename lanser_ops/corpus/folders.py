"""The files of local folders, and names that are not UTF-8 as text that Parquet and JSON can hold."""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from collections.abc import Callable

ESCAPE = re.compile(r"\\x([89a-f][0-9a-f])")


def files_below(folder: str, is_input: Callable[[str], bool]) -> dict[str, int]:
    """Size in bytes, by full path, of every file below ``folder`` whose name ``is_input`` accepts.

    Hidden files and folders are left alone. Links to folders are followed, but no folder is read twice, so links may
    form circles. What cannot be read has the size 0 and becomes a reject: closed folders, links to nothing, pipes.
    Raises OSError if ``folder`` itself cannot be listed.
    """
    sizes: dict[str, int] = {}
    seen: set[tuple[int, int]] = set()
    # Links last: a folder that can be reached without one has the name that it has there.
    folders, links = deque([folder]), deque[str]()
    while folders or links:
        current = folders.popleft() if folders else links.popleft()
        try:
            status = os.stat(current)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            if current == folder:
                raise
            sizes[current] = 0
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and os.path.isdir(entry.path):
                links.append(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif is_input(entry.name):
                sizes[entry.path] = regular_size(entry.path)
    return sizes


def regular_size(path: str) -> int:
    """Bytes of a local file; 0 where there is none, or none that is regular."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def printable(name: str) -> str:
    r"""``name`` with every byte that is not UTF-8 written as ``\xe9``.

    >>> print(printable(os.fsdecode(b"caf\xe9.wav")))
    caf\xe9.wav
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def on_disk(path: str) -> str:
    """The local path of which `printable` made ``path``; a file of literally that name comes first."""
    if not ESCAPE.search(path) or os.path.lexists(path):
        return path
    return os.fsdecode(re.sub(ESCAPE.pattern.encode(), lambda match: bytes([int(match[1], 16)]), path.encode()))
