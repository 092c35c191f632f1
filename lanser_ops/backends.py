"""Which recogniser, labeller or speech labeller ``BACKEND:MODEL`` names.

A backend is whatever an entry point of the group ``lanser.asr``, ``lanser.labellers`` or ``lanser.speech_labellers``
names: a module or object with the functions of `lanser_ops.asr.base.AsrBackend`,
`lanser_ops.labelling.base.LabellerBackend` or `lanser_ops.speech_labelling.base.SpeechBackend`. Those that ship are
declared in pyproject.toml like anybody else's; docs/extending.md shows how to add one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import EntryPoint, distributions
from typing import Any

from lanser_ops import models
from lanser_ops.common.errors import InputError
from schemas.specs import ModelRef
from schemas.suggestions import closest, did_you_mean

ASR, LABELLERS, SPEECH = "lanser.asr", "lanser.labellers", "lanser.speech_labellers"
DEFAULTS = {ASR: "whisper", LABELLERS: "nli", SPEECH: "audio-classifier"}
BUNDLED = "bundled"
# What messages recommend for a real corpus.
PRODUCTION_ASR, PRODUCTION_NLI = "large-v3-turbo", "FacebookAI/roberta-large-mnli"


def split_name(group: str, name: str) -> tuple[str, str]:
    """(backend, model) of ``[BACKEND:]MODEL``. The colon of a URL such as ``gs://…`` does not separate a backend.

    >>> split_name(ASR, "large-v3-turbo"), split_name(ASR, "transformers:facebook/wav2vec2-base-960h")
    (('whisper', 'large-v3-turbo'), ('transformers', 'facebook/wav2vec2-base-960h'))
    >>> split_name(ASR, "gs://bucket/model")
    ('whisper', 'gs://bucket/model')
    """
    backend, colon, model = name.partition(":")
    if not colon or model.startswith("//"):
        return DEFAULTS[group], name
    return backend, model


@lru_cache
def load_backend(group: str, name: str) -> Any:
    """The backend of that name. Raises InputError, one line, where none is installed or it cannot be imported."""
    installed = _installed(group)
    if name not in installed:
        raise InputError(
            f"no backend {name!r} is installed (entry points of {group!r}: {', '.join(sorted(installed)) or 'none'}); "
            f"install the package that has it, or write ./NAME for a path with a colon{did_you_mean(name, installed)}"
        )
    try:
        return installed[name].load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"backend {name!r} ({installed[name].value}) cannot be loaded: {error}") from None


def _installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of ``group``, by name.

    `importlib.metadata.entry_points` would read only one of two copies of a package's metadata, and where the working
    directory is on the path, an old ``lanser.egg-info`` there would win over the installed one.
    """
    entries = [entry for distribution in distributions() for entry in distribution.entry_points if entry.group == group]
    return {entry.name: entry for entry in reversed(entries)}


@lru_cache
def resolve(group: str, name: str) -> ModelRef:
    """The model that ``[BACKEND:]MODEL`` names, its files on this machine.

    The id of another backend than the default one begins with the backend's name. Raises InputError where there is no
    such backend or model.
    """
    backend, model = split_name(group, name)
    resolver = load_backend(group, backend)
    # Nothing on the hub is called almost like that, and asking it takes a while.
    if model != BUNDLED and closest(model, [BUNDLED]) and not os.path.isdir(model):
        raise InputError(f"model {name}: no such directory; did you mean {name.replace(model, BUNDLED)}?")
    ref = _speech_model(model) if group == SPEECH else resolver.resolve(model)
    return ref if backend == DEFAULTS[group] else replace(ref, id=f"{backend}:{ref.id}")


def _speech_model(name: str) -> ModelRef:
    """The model of a speech labeller.

    It is found here and not by the backend: one backend is in training, which must not import what reads stores.
    """
    advice = "an audio classifier of transformers or RUN/model of lanser finetune is needed"
    return models.find_model(name, "--speech-model", models.download_snapshot, "config.json", advice)


def resolve_same(group: str, name: str, launched: ModelRef) -> ModelRef:
    """`resolve` on a worker; raises InputError unless the content is that of ``launched``, the launching machine's."""
    ref = resolve(group, name)
    if ref.sha256 != launched.sha256:
        raise InputError(
            f"model {launched.id}: the worker has other weights (sha256 {ref.sha256[:8]}) than the launching "
            f"machine ({launched.sha256[:8]}); install the same version on both"
        )
    return ref


def backend_of(group: str, name: str) -> Any:
    """The backend of ``[BACKEND:]MODEL``. Raises InputError where there is none."""
    return load_backend(group, split_name(group, name)[0])
