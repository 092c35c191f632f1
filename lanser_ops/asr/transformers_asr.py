"""The backend ``transformers``: speech recognition models of the Hugging Face transformers library.

These are CTC models (wav2vec 2.0, HuBERT, WavLM, Parakeet and others) and encoder-decoder models that need no text
prompt, with safetensors weights and without code of their own. Decoding is greedy. Models are located and checked here,
without heavy imports; recognition is in `transformers_recognizer`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lanser_ops import models
from lanser_ops.asr.transformers_config import ADVICE, CTC_SUFFIX, OPTION, architecture_of
from lanser_ops.backends import BUNDLED
from lanser_ops.common.device import resolve_device
from lanser_ops.common.errors import InputError
from schemas.specs import ModelRef, TranscribeSpec

if TYPE_CHECKING:
    from lanser_ops.asr.transformers_recognizer import TransformersRecognizer

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
SEQ2SEQ_ARCHITECTURES = (
    "MoonshineForConditionalGeneration",
    "Speech2TextForConditionalGeneration",
    "SpeechEncoderDecoderModel",
    "WhisperForConditionalGeneration",
)


def resolve(name: str) -> ModelRef:
    """The transformers model of that name. Raises InputError, one line, if there is none or it is of another kind."""
    if name == BUNDLED:
        raise InputError(f"{OPTION} transformers:{name}: no model of this backend is bundled; {ADVICE}")
    ref = models.find_model(name, OPTION, models.download_snapshot, "config.json", ADVICE)
    if not any(Path(ref.path, file).is_file() for file in WEIGHTS):
        raise InputError(f"{OPTION} {name}: no safetensors weights there (pickled ones can run code); {ADVICE}")
    architecture = architecture_of(ref.path)
    if not architecture.endswith(CTC_SUFFIX) and architecture not in SEQ2SEQ_ARCHITECTURES:
        raise InputError(f"{OPTION} {name}: a {architecture} is not supported; {ADVICE}")
    return ref


def language_code(name: str) -> str:
    """``name`` in lower case: the backend knows no list of languages."""
    return name.strip().lower()


def check(spec: TranscribeSpec) -> None:
    """Raise InputError for options of the Whisper backend."""
    if spec.languages:
        raise InputError(f"--language {','.join(spec.languages)}: the backend transformers detects no languages")
    if spec.exact:
        raise InputError("--exact: the backend transformers has no shorter windows to turn off")
    if spec.short_windows:
        raise InputError("--short-windows: the backend transformers reads utterances as they are, without a window")
    if spec.beam_size != TranscribeSpec.beam_size:
        raise InputError(f"--beam-size {spec.beam_size}: the backend transformers decodes greedily")


def load(spec: TranscribeSpec, device: str, threads: int) -> TransformersRecognizer:
    """Load the model of ``spec`` from its path; see `transformers_recognizer.load_recognizer`."""
    from lanser_ops.asr.transformers_recognizer import load_recognizer

    return load_recognizer(spec, device, threads)


def has_gpu() -> bool:
    """Whether torch sees a GPU on this machine."""
    return resolve_device("auto") == "cuda"
