"""The backend ``whisper``: languages that are asked for, stated, and heard."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lanser_ops.asr import whisper
from lanser_ops.asr.base import Clip, Rejection
from lanser_ops.asr.whisper_quality import WhisperOutput
from lanser_ops.asr.whisper_recognizer import WhisperRecognizer, _languages
from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.common.errors import InputError
from schemas.specs import ModelRef, TranscribeSpec

NO_SILENCE = np.empty((1, 0, 0), np.float32)


def spec_of(languages: tuple[str, ...] = (), **options) -> TranscribeSpec:
    """Options of a model of which no file is read."""
    return TranscribeSpec(ModelRef("a model", "", ""), languages=languages, **options)


def silence(seconds: float, language: str | None = None) -> Clip:
    return Clip(np.zeros(round(seconds * SAMPLE_RATE), np.float32), language)


@pytest.mark.parametrize(
    ("accepted", "stated", "ranking", "expected"),
    [
        ((), None, [("<|de|>", 0.9), ("<|en|>", 0.1)], ("de", False)),
        (("en",), None, [("<|de|>", 0.9), ("<|en|>", 0.1)], ("de", True)),
        (("en", "de"), None, [("<|de|>", 0.9), ("<|en|>", 0.1)], ("de", False)),
        (("en",), None, [("<|nl|>", 0.4), ("<|de|>", 0.35), ("<|en|>", 0.25)], ("en", False)),  # unsure: not foreign
        (("en",), "fr", [("<|en|>", 0.9), ("<|fr|>", 0.1)], ("fr", True)),
        (("yue",), None, [("<|zh|>", 0.4), ("<|en|>", 0.3)], ("zh", True)),  # the model does not have it
    ],
)
def test_language_of_each_utterance(accepted, stated, ranking, expected):
    multilingual = SimpleNamespace(is_multilingual=True, detect_language=lambda encoded: [ranking])
    recognizer = WhisperRecognizer(SimpleNamespace(model=multilingual), spec_of(accepted), NO_SILENCE)
    assert _languages(recognizer, None, [silence(1.0, stated)]) == [expected]


def test_an_english_model_takes_any_other_language_for_foreign():
    english = SimpleNamespace(model=SimpleNamespace(is_multilingual=False))
    clips = [silence(1.0, language) for language in (None, "en", "de")]
    languages = _languages(WhisperRecognizer(english, spec_of(), NO_SILENCE), None, clips)
    assert languages == [("en", False), ("en", False), ("en", True)]


def test_an_utterance_in_a_language_that_the_model_lacks_is_rejected():
    """Its token would be None in the prompt."""
    multilingual = SimpleNamespace(
        model=SimpleNamespace(is_multilingual=True), hf_tokenizer=SimpleNamespace(token_to_id={"<|en|>": 1}.get)
    )
    recognizer = WhisperRecognizer(multilingual, spec_of(), NO_SILENCE)
    hypotheses = recognizer.recognize([silence(1.0, "yue"), silence(1.0, "Klingon")])
    assert [hypothesis.rejection for hypothesis in hypotheses] == [
        Rejection("language", "the model knows no language 'yue'"),
        Rejection("language", "Whisper knows no language 'Klingon'"),
    ]


@pytest.fixture
def multilingual_model(tmp_path: Path) -> ModelRef:
    """The vocabulary of a multilingual model before large-v3, which brought Cantonese (yue)."""
    tokens = [f"token {index}" for index in range(51863)] + ["<|en|>", "<|zh|>"]
    (tmp_path / "vocabulary.json").write_text(json.dumps(tokens))
    return ModelRef("base", "", str(tmp_path))


@pytest.mark.parametrize("languages", [("yue",), ("en", "yue")])
def test_languages_that_the_model_lacks_are_refused(multilingual_model, languages):
    with pytest.raises(InputError) as caught:
        whisper.check(TranscribeSpec(multilingual_model, languages))
    assert str(caught.value) == (
        f"--language {','.join(languages)}: base does not know yue; --asr-model takes one that does"
    )


@pytest.mark.parametrize("languages", [(), ("zh",), ("en", "zh")])
def test_languages_that_the_model_has_are_accepted(multilingual_model, languages):
    whisper.check(TranscribeSpec(multilingual_model, languages))


def test_an_english_model_is_known_by_its_vocabulary():
    bundled = whisper.resolve("bundled")
    whisper.check(TranscribeSpec(bundled, ("en",)))
    with pytest.raises(InputError, match=r"--language de: whisper tiny\.en .* knows English alone"):
        whisper.check(TranscribeSpec(bundled, ("de",)))


@pytest.mark.parametrize(
    ("name", "code"),
    [("en", "en"), ("EN", "en"), ("en-US", "en"), ("pt_BR", "pt"), (" German", "de"), ("klingon", None), ("", None)],
)
def test_language_code(name, code):
    assert whisper.language_code(name) == code


def test_another_language_is_rejected_or_flagged():
    output = WhisperOutput(
        text="Guten Morgen.",
        seconds=2.0,
        language="de",
        foreign=True,
        avg_logprob=-0.2,
        no_speech_prob=0.0,
        compression_ratio=1.0,
        truncated=False,
        unfinished=False,
    )
    rejected = WhisperRecognizer(None, spec_of(("en",)), NO_SILENCE)._judge(output, silence(2.0))
    assert rejected.rejection == Rejection("language", "it is de")
    flagged = WhisperRecognizer(None, spec_of(("en",), other_languages="flag"), NO_SILENCE)._judge(output, silence(2.0))
    assert (flagged.text, flagged.flags, flagged.rejection) == ("Guten Morgen.", ("language",), None)
