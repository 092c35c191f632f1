"""Windows, batches, languages and what is cut off, with the bundled recogniser where it takes one."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from apache_beam.utils.multi_process_shared import MultiProcessShared
from threadpoolctl import threadpool_info

from lanser_ops import models
from lanser_ops.asr.whisper import (
    AsrOptions,
    Clip,
    Hypothesis,
    Recognizer,
    _before_end,
    _languages,
    _log_mel,
    _more_to_come,
    language_code,
    load_recognizer,
    window_of,
)
from lanser_ops.audio.decode import SAMPLE_RATE, read_all
from lanser_ops.handlers import TranscribeHandler, Worker

EXAMPLES = Path(__file__).parents[2] / "examples" / "audio"
NAMES = ["slt/love_you.mp3", "slt/best_day.wav", "slt/thank_you.flac", "awb/child_is_safe.flac"]


class Watched:
    """A model that notes the (clips, seconds) of every batch, and runs out of memory above ``seconds``."""

    def __init__(self, model, seconds: float = 1e9):
        self._model, self._seconds = model, seconds
        self.batches: list[tuple[int, int]] = []

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def encode(self, features: np.ndarray):
        clips, seconds = features.shape[0], features.shape[2] // 100
        self.batches.append((clips, seconds))
        if clips * seconds > self._seconds:
            raise RuntimeError("CUDA failed with error out of memory")
        return self._model.encode(features)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return load_recognizer(AsrOptions(models.resolve_asr("bundled").path, threads=2))


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    found = []
    for name in NAMES:
        with (EXAMPLES / name).open("rb") as stream:
            found.append(Clip(read_all(stream)))
    return found


def silence(seconds: float) -> Clip:
    return Clip(np.zeros(round(seconds * SAMPLE_RATE), np.float32))


def test_numpy_computes_on_one_thread(recognizer: Recognizer):
    """A second one would wait busily beside the recogniser's own."""
    assert {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"} == {1}


@pytest.mark.parametrize(
    ("seconds", "window"),
    [(0.4, 8), (3.0, 8), (5.01, 9), (6.0, 9), (6.01, 10), (21.0, 24), (21.01, 30), (30.0, 30)],
)
def test_window(seconds, window):
    assert window_of(silence(seconds)) == window


def test_twice_the_same_and_whatever_the_threads(recognizer, clips):
    first = recognizer.recognize(clips)
    assert recognizer.recognize(clips) == first
    assert load_recognizer(replace(recognizer.options, threads=1)).recognize(clips) == first


def test_exact_uses_the_full_window(recognizer, clips):
    model = Watched(recognizer.model)
    options = replace(recognizer.options, exact=True)
    exact = replace(recognizer, model=model, options=options, batch_seconds=30.0)
    exact.recognize(clips[:2])
    assert model.batches == [(2, 30)]


def test_an_unsure_transcript_is_tried_again_in_the_full_window(recognizer, clips):
    model = Watched(recognizer.model)
    noise = Clip(np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32))
    heard = replace(recognizer, model=model).recognize([clips[0], noise])
    assert (heard[0].text, heard[0].flags) == ("I love you more than anything else in the world.", ())
    assert sorted(model.batches) == [(1, 30), (2, 8)]


def test_out_of_memory_halves_the_batch_once_and_for_all(recognizer, clips, caplog):
    model = Watched(recognizer.model, seconds=20)
    small = replace(recognizer, model=model, workers=1, batch_seconds=40.0)
    same = [clips[0]] * 4
    with caplog.at_level(logging.WARNING):
        heard = small.recognize(same)
        assert model.batches == [(4, 8), (2, 8), (2, 8)]
        small.recognize(same[:3])
    assert model.batches[3:] == [(2, 8), (1, 8)]
    assert [one.text for one in heard] == ["I love you more than anything else in the world."] * 4
    assert [record.message for record in caplog.records] == ["out of memory: going on with 20 s of audio at once"]


def test_a_single_clip_that_does_not_fit_is_an_error(recognizer, clips):
    small = replace(recognizer, model=Watched(recognizer.model, seconds=1))
    with pytest.raises(RuntimeError, match="out of memory"):
        small.recognize(clips)


def test_text_after_the_end_of_the_audio_is_cut_off():
    tokenizer = SimpleNamespace(timestamp_begin=1000, eot=900)
    # <0.00> 1 2 <1.00> <2.90> 3 <4.00>: the second segment starts 0.1 s before the end of 3 s of audio
    tokens = [1000, 1, 2, 1050, 1145, 3, 1200]
    assert _before_end(tokens, tokenizer, seconds=3.0) == ([1, 2], True)
    assert _before_end(tokens, tokenizer, seconds=5.0) == ([1, 2, 3], False)
    assert _before_end([1200, 1, 900], tokenizer, seconds=1.0) == ([1], False)  # the first words are kept


@pytest.mark.parametrize(
    ("tokens", "more"),
    [
        ([1000, 1, 2, 1050, 1050], True),  # <0.00> 1 2 <1.00><1.00>, of 3 s
        ([1000, 1, 2, 1140, 1140], False),  # <2.80><2.80>: nothing can be said in what is left
        ([1000, 1, 2, 1050], False),  # pause at the end
        ([1000, 1050, 1, 2], False),
        ([1, 2], False),
        ([], False),
    ],
)
def test_stopping_before_the_end(tokens, more):
    assert _more_to_come(tokens, SimpleNamespace(timestamp_begin=1000), seconds=3.0) is more


@pytest.mark.parametrize(
    ("wanted", "given", "ranked", "expected"),
    [
        ((), None, [("<|de|>", 0.9), ("<|en|>", 0.1)], ("de", False)),
        (("en",), None, [("<|de|>", 0.9), ("<|en|>", 0.1)], ("de", True)),
        (("en", "de"), None, [("<|de|>", 0.9), ("<|en|>", 0.1)], ("de", False)),
        (("en",), None, [("<|nl|>", 0.4), ("<|de|>", 0.35), ("<|en|>", 0.25)], ("en", False)),  # unsure: not foreign
        (("en",), "fr", [("<|en|>", 0.9), ("<|fr|>", 0.1)], ("fr", True)),
    ],
)
def test_language_of_each_utterance(wanted, given, ranked, expected):
    multilingual = SimpleNamespace(is_multilingual=True, detect_language=lambda encoded: [ranked])
    recognizer = Recognizer(SimpleNamespace(model=multilingual), AsrOptions("", languages=wanted))
    assert _languages(recognizer, None, [Clip(np.zeros(1, np.float32), given)]) == [expected]


def test_an_english_model_takes_any_other_language_for_foreign():
    english = SimpleNamespace(model=SimpleNamespace(is_multilingual=False))
    clips = [Clip(np.zeros(1, np.float32), language) for language in (None, "en", "de")]
    assert _languages(Recognizer(english, AsrOptions("")), None, clips) == [("en", False), ("en", False), ("en", True)]


@pytest.mark.parametrize(
    ("name", "code"),
    [("en", "en"), ("EN", "en"), ("en-US", "en"), ("pt_BR", "pt"), (" German", "de"), ("klingon", None), ("", None)],
)
def test_language_code(name, code):
    assert language_code(name) == code


@pytest.mark.parametrize("seconds", [0.37, 3.01, 7.95, 8.0])
def test_frames_of_silence_need_not_be_computed(recognizer, seconds):
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    whole = recognizer.model.feature_extractor(np.pad(noise, (0, 8 * SAMPLE_RATE - len(noise))), padding=0)
    features = _log_mel(recognizer.model, noise, 8)
    assert features.shape == (80, 800) and np.array_equal(features, whole)


def test_another_language_is_marked_or_flagged():
    heard = Hypothesis("Guten Morgen.", "de", -0.2, 0.0, 1.0, foreign=True)
    clip = silence(2.0)
    assert Recognizer(None, AsrOptions("", languages=("en",)))._judged(heard, clip) == heard
    flagged = Recognizer(None, AsrOptions("", languages=("en",), other_languages="flag"))._judged(heard, clip)
    assert (flagged.flags, flagged.foreign) == (("language",), False)


@pytest.mark.parametrize(("device", "shared"), [("cpu", False), ("cuda", True)])
def test_worker_processes_share_a_model_on_a_gpu_alone(device, shared):
    handler = TranscribeHandler(Worker("out", (), device, 1), "bundled", None)
    assert handler.share_model_across_processes() is shared


def test_a_shared_model_hears_the_same_through_its_proxy(recognizer, clips):
    options = recognizer.options
    shared = MultiProcessShared(lambda: load_recognizer(options), tag="test_asr", always_proxy=True)
    proxy = shared.acquire()
    try:
        assert proxy.recognize(clips[:2]) == recognizer.recognize(clips[:2])
    finally:
        shared.release(proxy)
