"""How long a file says it is."""

from __future__ import annotations

from typing import BinaryIO

import av

from lanser_ops.audio.decode import DEMUXERS, AudioError


def stated_seconds(stream: BinaryIO) -> float:
    """The length that the header of ``stream``, a seekable stream without a name, states; nothing is decoded.

    Where a format states none, FFmpeg estimates it from the size of the file and the bit rate. Raises AudioError for a
    file that is not audio, or of which there is no estimate.
    """
    try:
        with av.open(stream, "r", options={"format_whitelist": DEMUXERS}, metadata_errors="replace") as container:
            length = container.duration
    except av.FFmpegError as error:
        raise AudioError("decode_error", f"cannot be opened: {error.strerror}") from None
    if length is None or length <= 0:
        raise AudioError("decode_error", "its header states no length")
    return length / av.time_base
