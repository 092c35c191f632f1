"""Files of a training run, wherever they lie: local paths, gs:// and s3:// through Arrow's filesystems.

The pipelines reach the stores through Beam, which training does not import. Arrow takes the same credentials from the
environment: Google's application default credentials, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or
an instance's role. ``STORAGE_EMULATOR_HOST`` and ``AWS_ENDPOINT_URL`` name a store of your own.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from lanser_ops.common.errors import InputError, first_line

SCHEMES = ("gs", "s3")
# Arrow's clients would try for 15 minutes to reach a store without credentials.
RETRY_S = 60
READ_AHEAD_BYTES = 1 << 20


def is_remote(path: str) -> bool:
    return "://" in path


def list_files(location: str) -> tuple[list[str], bool]:
    """The files below a folder, or those that match a glob, by full path, and whether ``location`` is a folder.

    Raises InputError for a store that cannot be read, or that there is no client for.
    """
    if not is_remote(location):
        folder = Path(location)
        paths = folder.rglob("*") if folder.is_dir() else map(Path, glob.glob(location))
        return [str(path.resolve()) for path in paths if path.is_file()], folder.is_dir()
    from pyarrow.fs import FileSelector, FileType

    scheme, path = _parts(location)
    plain = re.split(r"[*?\[]", path, maxsplit=1)[0]
    is_folder = plain == path
    top = path if is_folder else plain.rpartition("/")[0]
    with _errors_of(location):
        listing = _filesystem(scheme, top.partition("/")[0], os.getpid()).get_file_info(
            FileSelector(top, allow_not_found=True, recursive=True)
        )
    names = [info.path for info in listing if info.type == FileType.File and (is_folder or _matches(info.path, path))]
    return [f"{scheme}://{name}" for name in names], is_folder


def _matches(path: str, pattern: str) -> bool:
    """Whether a glob whose ``*`` stays within a folder matches all of ``path``."""
    whole = PurePosixPath(path)
    return len(whole.parts) == len(PurePosixPath(pattern).parts) and whole.match(pattern)


def open_read(path: str) -> BinaryIO:
    """A stream of the bytes of ``path``, which can be read forwards only if it is in a store.

    Raises OSError, and InputError for a store that there is no client for.
    """
    if not is_remote(path):
        return open(path, "rb")
    scheme, name = _parts(path)
    return _filesystem(scheme, name.partition("/")[0], os.getpid()).open_input_stream(
        name, compression=None, buffer_size=READ_AHEAD_BYTES
    )


def _parts(location: str) -> tuple[str, str]:
    """The scheme of ``location``, and bucket and path."""
    scheme, _, path = location.partition("://")
    if scheme not in SCHEMES:
        raise InputError(f"{location}: no client for {scheme}://; give a local path, gs:// or s3://")
    return scheme, path.rstrip("/")


# By process: a client's connections and threads do not survive a fork, and loader workers are forked.
@cache
def _filesystem(scheme: str, bucket: str, process: int) -> Any:
    from pyarrow import fs

    if scheme == "s3":
        return fs.FileSystem.from_uri(f"s3://{bucket}")[0]  # looks up the bucket's region
    limit = timedelta(seconds=RETRY_S)
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if not emulator:
        return fs.GcsFileSystem(retry_time_limit=limit)
    address = urlsplit(emulator)
    return fs.GcsFileSystem(
        anonymous=True, scheme=address.scheme, endpoint_override=address.netloc, retry_time_limit=limit
    )


@contextmanager
def _errors_of(location: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{location}: cannot be listed ({first_line(error)[:200]}); check the name and the credentials"
        ) from None
