"""What the config.json of a transformers speech recognition model says."""

from __future__ import annotations

import json
from pathlib import Path

OPTION = "--asr-model"
ADVICE = "choose a CTC or encoder-decoder speech recognition model such as facebook/wav2vec2-large-960h-lv60-self"
CTC_SUFFIX = "ForCTC"


def architecture_of(path: str) -> str:
    """The class name that the model's config.json states; empty if it states none."""
    config = json.loads(Path(path, "config.json").read_bytes())
    return (config.get("architectures") or [""])[0]
