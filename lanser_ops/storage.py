"""Files through Beam's filesystems: local paths, gs:// and s3:// look alike.

Nothing is ever written under its final name: `atomic_writer` writes to ``<root>/.tmp/`` and renames, so
a name that exists holds a whole file. On object stores Beam's rename is copy then delete, and a copy
shows up at once or not at all.

What may pass (a store that is busy, a connection that breaks) is tried again by the clients themselves, for
two minutes and more; what comes through to here is final. It is told alike for all stores: FileNotFoundError
where there is no such file or bucket, InputError where the store lets nobody in, for that is no fault of
one file. Other errors stay as the clients have them.
"""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.internal.gcp import auth
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, S3Options

from lanser_ops.errors import InputError

TMP_DIR = ".tmp"
# Up to this size a file of a store is fetched whole: some four minutes of 16 kHz FLAC and more.
WHOLE_BYTES = 8 << 20
# Read a mapped file's pages in at once, where the system can (Linux).
MAP_POPULATE = getattr(mmap, "MAP_POPULATE", 0)


def is_remote(path: str) -> bool:
    """True for paths with a scheme, such as ``gs://bucket/x``."""
    return FileSystems.get_scheme(path) is not None


def set_options(options: PipelineOptions) -> None:
    """Give this process the stores' options (``--s3_endpoint_url``, ``--no_auth``, …); Beam gives them to its workers.

    Without a call, and in commands that run no pipeline, the stores take what their environment says.
    """
    FileSystems.set_options(options)
    _connect.cache_clear()


@cache
def _connect(scheme: str | None) -> None:
    """Settle once a process what Beam would be long about. Raises InputError for a store that cannot be used."""
    if scheme is None:
        return
    if FileSystems._pipeline_options is None:
        FileSystems.set_options(PipelineOptions([]))  # Beam's S3 takes no None
    options = FileSystems._pipeline_options
    try:
        FileSystems.get_filesystem(f"{scheme}://")
    except ValueError:
        raise InputError(
            f"{scheme}://: no filesystem for that; pip install 'lanser[gcp]' for gs://, 'lanser[aws]' for s3://"
        ) from None
    if scheme == "gs" and (os.environ.get("STORAGE_EMULATOR_HOST") or options.view_as(GoogleCloudOptions).no_auth):
        # Beam has no option for its GCS client to go without credentials: it asks for them, half a minute long
        # where there are none. This is its own mark for having asked and found none.
        auth._Credentials._credentials_init = True
    if scheme == "s3":
        _connect_s3(options.view_as(S3Options))


def _connect_s3(options: S3Options) -> None:
    try:
        import boto3
        import botocore.session
    except ModuleNotFoundError:
        raise InputError("s3://: Amazon's client is not installed; pip install 'lanser[aws]'") from None
    # Beam makes a client for every call, and each reads Amazon's description of S3 anew: 0.1 s of a core. The loader
    # keeps what it has read, so with one loader for all it is 0.02 s.
    botocore.session.create_loader = cache(botocore.loaders.create_loader)
    # Without credentials Beam tries again for ten minutes, as if they might come.
    if not options.s3_access_key_id and boto3.session.Session().get_credentials() is None:
        raise InputError(
            "s3://: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
            "or give --s3_access_key_id and --s3_secret_access_key"
        )


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Errors of the block, which concerns ``path``, in the terms of this module."""
    _connect(FileSystems.get_scheme(path))
    try:
        yield
    except Exception as error:
        cause: object = error
        while details := getattr(cause, "exception_details", None):  # a BeamIOError holds the client's own errors
            cause = next(iter(details.values()))
        status = _http_status(cause)
        if status == 404:
            raise FileNotFoundError(errno.ENOENT, "no such file or bucket", path) from None
        if status in (401, 403):
            told = " ".join(str(cause).split())[:200]
            raise InputError(
                f"{path}: permission denied; let the account that runs this list, read, write and delete there ({told})"
            ) from None
        raise


def _http_status(error: object) -> int | None:
    """The status in a client's error, which Beam's batches reduce to the number alone; None where there is none."""
    code = getattr(getattr(error, "response", None), "status_code", getattr(error, "code", error))
    if code == "AccessDenied":  # of a key in one of S3's batches
        return 403
    return int(code) if isinstance(code, int) else None


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
    if is_remote(pattern) and "/" not in pattern.partition("://")[2]:
        return {}  # a bucket, which is no file
    try:
        with _told(pattern):
            (result,) = FileSystems.match([pattern])
    except FileNotFoundError:
        return {}
    return {
        found.path: found.size_in_bytes
        for found in result.metadata_list
        if is_remote(found.path) or os.path.isfile(found.path)
    }


def exists(path: str) -> bool:
    with _told(path):
        return FileSystems.exists(path)


def checksum(path: str) -> str:
    """What the store has of a file's content: CRC-32C on gs://, ETag on s3://; of a local file Beam has its size."""
    with _told(path):
        return str(FileSystems.checksum(path))


def open_read(path: str) -> BinaryIO:
    """Open for reading, bytes as they are (Beam would unpack ``.gz`` by its name)."""
    with _told(path):
        return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def open_seekable(path: str) -> BinaryIO:
    """`open_read` for who goes to and fro in a file: in a store every turn would be a request of its own.

    What is small comes whole, with one request.
    """
    stream = open_read(path)
    if not is_remote(path):
        return stream
    start = stream.read(WHOLE_BYTES + 1)
    if len(start) > WHOLE_BYTES:
        stream.seek(0)
        return stream
    stream.close()
    return io.BytesIO(start)


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
    with open_seekable(path) as stream:
        # Arrow's own threads may let go of a Python stream when Python has already ended, and abort the process.
        return pq.ParquetFile(stream, pre_buffer=False).read(columns=columns, use_threads=False)


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
    with _told(final):
        stream = FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED)
    try:
        yield stream
        with _told(final):
            stream.close()
            if not is_remote(final):
                os.makedirs(os.path.dirname(final), exist_ok=True)
            FileSystems.rename([temporary], [final])
    except BaseException:
        with contextlib.suppress(Exception):
            stream.__exit__(*sys.exc_info())  # Google's client cancels the upload; close() would finish it
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
    """Delete files; local folders that are empty afterwards go too."""
    if not paths:
        return
    with _told(paths[0]):
        FileSystems.delete(paths)
    folders = {os.path.dirname(path) for path in paths if not is_remote(path)}
    for folder in sorted(folders, key=len, reverse=True):
        with contextlib.suppress(OSError):
            os.removedirs(folder)


def clear_temporary(root: str) -> None:
    """Remove what killed runs left in ``<root>/.tmp``."""
    if is_remote(root):
        delete_files([join(root, TMP_DIR, "")])  # Beam deletes all that is below a name with a slash at its end
    else:
        shutil.rmtree(join(root, TMP_DIR), ignore_errors=True)


def check_writable(root: str) -> None:
    """Raise OSError or InputError where nothing can be written below ``root``."""
    write_bytes(root, join(TMP_DIR, "probe"), b"probe")  # S3 takes no empty file in parts, as Beam writes it
    clear_temporary(root)
