"""Which files of a folder are audio."""

from __future__ import annotations

# Lower case, without the dot.
AUDIO_EXTENSIONS = frozenset(
    [
        "aac",
        "aif",
        "aiff",
        "amr",
        "au",
        "caf",
        "flac",
        "m4a",
        "m4b",
        "mka",
        "mkv",
        "mov",
        "mp2",
        "mp3",
        "mp4",
        "oga",
        "ogg",
        "opus",
        "wav",
        "wave",
        "webm",
        "wma",
    ]
)
