"""Files: local paths, gs:// and s3:// look alike.

Nothing is ever written under its final name: `atomic_writer` writes to ``<root>/.tmp/`` and renames, so a name that
exists holds a whole file. On object stores a rename is a copy and a delete, and a copy appears at once or not at all.

Stores are reached through Beam's filesystems (`lanser_ops.stores`), which are imported for the first path with a
scheme: a command that reads local files alone does not wait for Beam.
"""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from lanser_ops.common.errors import InputError, naming

if TYPE_CHECKING:
    import pyarrow as pa

TMP_DIR = ".tmp"
# Up to this size a file of a store is fetched whole: some four minutes of 16 kHz FLAC and more.
WHOLE_BYTES = 8 << 20
# Read a mapped file's pages in at once, where the system can (Linux).
MAP_POPULATE = getattr(mmap, "MAP_POPULATE", 0)
# The stores that are read and written. Beam has filesystems for other schemes, whose errors it does not put into words.
STORES = ("gs", "s3")
SCHEME = re.compile(r"[a-zA-Z][-a-zA-Z0-9+.]*://")


def is_remote(path: str) -> bool:
    """True for paths with a scheme, such as ``gs://bucket/x``."""
    return SCHEME.match(path) is not None


def is_store(path: str) -> bool:
    """Whether ``path`` lies in a store that can be read and written."""
    return path.partition("://")[0] in STORES and is_remote(path)


def absolute(path: str) -> str:
    """A path that means the same in every worker: local paths become absolute, trailing slashes go.

    Raises InputError for an address that is neither local nor in one of STORES.
    """
    if is_remote(path) and not is_store(path):
        known = ", ".join(f"{store}://" for store in STORES)
        raise InputError(f"{path}: addresses of this kind are not supported; use {known} or a local path")
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def join(root: str, *names: str) -> str:
    """Join with ``/`` below ``root``; an empty root leaves the names alone."""
    return "/".join([root.rstrip("/"), *names]) if root else "/".join(names)


def list_files(directory: str) -> dict[str, int]:
    """Size in bytes of every file below ``directory``, by full path; empty where there is none."""
    directory = directory.rstrip("/")
    if not is_remote(directory):
        return {path: size for path, size in _walk(directory or "/")}
    from lanser_ops import stores

    files = stores.match_glob(_unglobbed(directory) + "/**")
    return {path: size for path, size in files.items() if path.startswith(directory + "/")}


def _walk(directory: str) -> Iterator[tuple[str, int]]:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with contextlib.suppress(OSError):  # removed just now, or a link to nothing
                if os.path.isfile(path):
                    yield path, os.path.getsize(path)


def _unglobbed(path: str) -> str:
    """``path`` as a pattern that matches it, and perhaps others: Beam has no way to quote."""
    return "".join("?" if char in "*?[" else char for char in path)


def file_size(path: str) -> int | None:
    """Bytes of the file of exactly that name, None where there is none."""
    if not is_remote(path):
        return os.path.getsize(path) if os.path.isfile(path) else None
    from lanser_ops import stores

    return stores.match_glob(_unglobbed(path)).get(path)


def match_glob(pattern: str) -> dict[str, int]:
    """Size in bytes of every file that matches ``pattern`` (``*`` within a folder, ``**`` across, ``?``, ``[a-z]``).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     write_bytes(root, "a/b/x.wav", b"123")
    ...     {path[len(root):]: size for path, size in match_glob(root + "/a/*/*.wav").items()}
    {'/a/b/x.wav': 3}
    """
    if is_remote(pattern):
        from lanser_ops import stores

        return stores.match_glob(pattern)
    plain = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    matches = re.compile(_glob_regex(pattern)).fullmatch
    return {path: size for path, size in sorted(_walk(os.path.dirname(plain) or ".")) if matches(path)}


def _glob_regex(pattern: str) -> str:
    """A regular expression for a glob, with the meaning that Beam's filesystems give it."""
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern, flags=re.DOTALL)
    return "".join(
        parts.get(token) or (re.sub(r"^\[!", "[^", token) if len(token) > 1 else re.escape(token)) for token in tokens
    )


def exists(path: str) -> bool:
    if not is_remote(path):
        return os.path.exists(path)
    from lanser_ops import stores

    return stores.exists(path)


def open_read(path: str) -> BinaryIO:
    """Open for reading, bytes as they are. Raises OSError for a pipe or a device, at which a reader might wait."""
    if not is_remote(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", path)
    from lanser_ops import stores

    return stores.open_read(path)


def open_seekable(path: str) -> BinaryIO:
    """`open_read` for random access: in a store every seek would be a request of its own.

    A small file is fetched whole, with one request.
    """
    if not is_remote(path):
        return open_read(path)
    start = read_range(path, 0, WHOLE_BYTES + 1)
    return open_read(path) if len(start) > WHOLE_BYTES else io.BytesIO(start)


def read_range(path: str, offset: int, size: int) -> bytes:
    """Up to ``size`` bytes from ``offset`` on, fewer where the file ends; of a store with one request."""
    if is_remote(path):
        from lanser_ops import stores

        return stores.read_range(path, offset, size)
    with open_read(path) as stream:
        stream.seek(offset)
        return stream.read(size)


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
    with open_seekable(path) as stream:
        return stream.read()


def read_table(path: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file as a pyarrow table."""
    import pyarrow.parquet as pq

    with open_seekable(path) as stream:
        # Arrow's own threads may release a Python stream after Python has ended, and abort the process.
        return pq.ParquetFile(stream, pre_buffer=False).read(columns=columns, use_threads=False)


@contextlib.contextmanager
def atomic_writer(root: str, name: str, job: str = "") -> Iterator[BinaryIO]:
    """Write ``root/name`` so that the name appears only when the block has ended without an error.

    ``job`` begins the temporary name, so that `clear_temporary` can tell whose it is.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     with atomic_writer(root, "sub/x.txt") as stream:
    ...         _ = stream.write(b"whole")
    ...     read_bytes(join(root, "sub/x.txt"))
    b'whole'
    """
    temporary = join(root, TMP_DIR, f"{job}-{uuid.uuid4().hex}-{name.replace('/', '-')}")
    final = join(root, name)
    if is_remote(root):
        from lanser_ops import stores

        with stores.renamed_writer(temporary, final) as stream:
            yield stream
        return
    try:
        with naming(final):
            with _create(temporary) as stream:
                yield stream
            _replace(temporary, final)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


def _create(temporary: str) -> BinaryIO:
    """Open for writing, creating the folder, which another process may remove as empty at the same time."""
    while True:
        os.makedirs(os.path.dirname(temporary), exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return open(temporary, "wb")


def _replace(temporary: str, final: str) -> None:
    """Rename, creating the folder of ``final``, which another process may remove as empty at the same time."""
    while True:
        os.makedirs(os.path.dirname(final), exist_ok=True)
        try:
            return os.replace(temporary, final)
        except FileNotFoundError:
            if not os.path.exists(temporary):
                raise


def write_bytes(root: str, name: str, content: bytes, job: str = "") -> None:
    with atomic_writer(root, name, job) as stream:
        stream.write(content)


def write_table(root: str, name: str, table: pa.Table, job: str = "") -> None:
    """Write a Parquet file; equal tables give equal bytes (pyarrow stores no time stamps)."""
    import pyarrow.parquet as pq

    with atomic_writer(root, name, job) as stream:
        pq.write_table(table, stream, compression="zstd")


def checksum(path: str) -> str:
    """What the store of ``path`` knows of its content; of a local file, its size."""
    if not is_remote(path):
        return str(os.path.getsize(path))
    from lanser_ops import stores

    return stores.checksum(path)


def delete_files(paths: list[str], root: str) -> None:
    """Delete files below ``root``; local folders that are empty afterwards go too, up to ``root``, and none above it.

    Raises FileNotFoundError if one does not exist.
    """
    if not paths:
        return
    if is_remote(paths[0]):
        from lanser_ops import stores

        stores.delete_files(paths)
        return
    for path in paths:
        os.remove(path)
    for folder in sorted({os.path.dirname(path) for path in paths}, key=len, reverse=True):
        with contextlib.suppress(OSError):  # it is not empty
            while folder.startswith(root):
                os.rmdir(folder)
                folder = os.path.dirname(folder)


def clear_temporary(root: str, job: str) -> None:
    """Remove what the processes of ``job`` left in ``<root>/.tmp`` when they were killed."""
    prefix = join(root, TMP_DIR, f"{job}-")
    leftovers = [path for path in list_files(join(root, TMP_DIR)) if path.startswith(prefix)]
    with contextlib.suppress(FileNotFoundError):
        delete_files(leftovers, root)
    if not is_remote(root):
        with contextlib.suppress(OSError):  # there are files of others, or no folder
            os.rmdir(join(root, TMP_DIR))


def check_writable(root: str) -> None:
    """Raise OSError or InputError where nothing can be written below ``root``."""
    probe = f"{TMP_DIR}/probe-{uuid.uuid4().hex}"
    write_bytes(root, probe, b"probe")  # S3 takes no empty file in parts, as Beam writes it
    delete_files([join(root, probe)], root)
