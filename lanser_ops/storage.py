"""Files through Beam's filesystems: local paths, gs:// and s3:// look alike.

Nothing is ever written under its final name: `atomic_writer` writes to ``<root>/.tmp/`` and renames, so
a name that exists holds a whole file. On object stores Beam's rename is copy then delete, and a copy
shows up at once or not at all.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

TMP_DIR = ".tmp"
# Read a mapped file's pages in at once, where the system can (Linux).
MAP_POPULATE = getattr(mmap, "MAP_POPULATE", 0)


def is_remote(path: str) -> bool:
    """True for paths with a scheme, such as ``gs://bucket/x``."""
    return FileSystems.get_scheme(path) is not None


def absolute(path: str) -> str:
    """A path that means the same in every worker: local paths become absolute, trailing slashes go."""
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def join(root: str, *names: str) -> str:
    """Join with ``/`` below ``root``; an empty root leaves the names alone."""
    return "/".join([root.rstrip("/"), *names]) if root else "/".join(names)


def _unglobbed(path: str) -> str:
    """``path`` as a pattern that matches it, and perhaps others: Beam knows no way to quote."""
    return "".join("?" if char in "*?[" else char for char in path)


def list_files(directory: str) -> dict[str, int]:
    """Size in bytes of every file below ``directory``, by full path; empty where there is none."""
    directory = directory.rstrip("/")
    if not is_remote(directory) and not os.path.isdir(directory):
        return {}
    return {
        path: size
        for path, size in match_glob(_unglobbed(directory) + "/**").items()
        if path.startswith(directory + "/")
    }


def file_size(path: str) -> int | None:
    """Bytes of the file of exactly that name, None where there is none."""
    return match_glob(_unglobbed(path)).get(path)


def match_glob(pattern: str) -> dict[str, int]:
    """Size in bytes of every file that matches Beam's ``pattern`` (``*`` within a folder, ``**`` across)."""
    (result,) = FileSystems.match([pattern])
    return {
        found.path: found.size_in_bytes
        for found in result.metadata_list
        if is_remote(found.path) or os.path.isfile(found.path)
    }


def exists(path: str) -> bool:
    return FileSystems.exists(path)


def open_read(path: str) -> BinaryIO:
    """Open for reading, bytes as they are (Beam would unpack ``.gz`` by its name)."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


@contextlib.contextmanager
def slices(path: str) -> Iterator[Callable[[int, int], bytes | memoryview]]:
    """A function of (offset, size) to the bytes there; those of a local file are views of its mapped pages."""
    if is_remote(path):
        with open_read(path) as stream:

            def read(offset: int, size: int) -> bytes:
                stream.seek(offset)
                return stream.read(size)

            yield read
        return
    with open(path, "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED | MAP_POPULATE, prot=mmap.PROT_READ)
    view = memoryview(pages)
    yield lambda offset, size: view[offset : offset + size]


def read_bytes(path: str) -> bytes:
    with open_read(path) as stream:
        return stream.read()


def read_table(path: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file as a pyarrow table."""
    with open_read(path) as stream:
        return pq.ParquetFile(stream).read(columns=columns)


@contextlib.contextmanager
def atomic_writer(root: str, name: str) -> Iterator[BinaryIO]:
    """Write ``root/name`` so that the name appears only when the block has ended without an error.

    >>> with tempfile.TemporaryDirectory() as root:
    ...     with atomic_writer(root, "sub/x.txt") as stream:
    ...         _ = stream.write(b"whole")
    ...     read_bytes(join(root, "sub/x.txt"))
    b'whole'
    """
    temporary = join(root, TMP_DIR, f"{uuid.uuid4().hex}-{name.replace('/', '-')}")
    final = join(root, name)
    try:
        with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            yield stream
        if not is_remote(final):
            os.makedirs(os.path.dirname(final), exist_ok=True)
        FileSystems.rename([temporary], [final])
    except BaseException:
        with contextlib.suppress(Exception):
            FileSystems.delete([temporary])
        raise


def write_bytes(root: str, name: str, content: bytes) -> None:
    with atomic_writer(root, name) as stream:
        stream.write(content)


def write_table(root: str, name: str, table: pa.Table, row_group_rows: int | None = None) -> None:
    """Write a Parquet file; equal tables give equal bytes (pyarrow stores no time stamps)."""
    with atomic_writer(root, name) as stream:
        pq.write_table(table, stream, compression="zstd", row_group_size=row_group_rows)


def delete_files(paths: list[str]) -> None:
    """Delete files (not folders); local folders that are empty afterwards go too."""
    if not paths:
        return
    FileSystems.delete(paths)
    folders = {os.path.dirname(path) for path in paths if not is_remote(path)}
    for folder in sorted(folders, key=len, reverse=True):
        with contextlib.suppress(OSError):
            os.removedirs(folder)


def clear_temporary(root: str) -> None:
    """Remove what killed runs left in ``<root>/.tmp``."""
    if is_remote(root):
        delete_files(list(list_files(join(root, TMP_DIR))))
    else:
        shutil.rmtree(join(root, TMP_DIR), ignore_errors=True)


def check_writable(root: str) -> None:
    """Raise OSError where nothing can be written below ``root``."""
    write_bytes(root, join(TMP_DIR, "probe"), b"")
    clear_temporary(root)
