"""The folder that an export fills: it appears under its name when it is complete."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lanser_ops import storage
from lanser_ops.common.errors import InputError
from lanser_ops.exports.source import ShardFile

# What `os.link` fails with where a file cannot have a second name: another file system, one without links, too many.
UNLINKABLE = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)


@contextmanager
def new_folder(output: str, directory: str) -> Iterator[Path]:
    """A temporary folder beside ``output``, which becomes ``output`` when the block ends without an error.

    Raises InputError where ``output`` is not local, holds files, lies in ``directory`` or cannot be written.
    """
    if storage.is_remote(output):
        raise InputError(f"--output {output}: exports are written to a local folder; copy it to the store afterwards")
    target = Path(output).resolve()
    if not storage.is_remote(directory) and target.is_relative_to(Path(directory).resolve()):
        raise InputError(f"--output {output}: lies in {directory}; choose a folder outside of it")
    temporary = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"--output {output}: exists and is not an empty folder; choose another name")
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({' '.join(str(error).split())})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def place(shard: ShardFile, folder: Path) -> Path:
    """The shard in ``folder`` under its own name: as a second name of the same file (a hard link), or as a copy.

    Shards in a store, and those on another file system than ``folder``, are copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / shard.name
    if not storage.is_remote(shard.path):
        try:
            os.link(Path(shard.path).resolve(), path)
            return path
        except OSError as error:
            if error.errno not in UNLINKABLE:
                raise
    with storage.open_read(shard.path) as stream, path.open("wb") as copy:
        shutil.copyfileobj(stream, copy, 8 << 20)
    return path
