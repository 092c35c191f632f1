"""The backend ``whisper``: windows, batches, token limits, with the bundled recogniser where possible."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from apache_beam.utils.multi_process_shared import MultiProcessShared
from faster_whisper import WhisperModel
from threadpoolctl import threadpool_info

from lanser_ops.asr import whisper, whisper_recognizer
from lanser_ops.asr.base import Clip
from lanser_ops.asr.quality import words_of
from lanser_ops.asr.whisper_recognizer import (
    WhisperRecognizer,
    _before_end,
    _stops_early,
    cpu_replicas,
    load_recognizer,
)
from lanser_ops.asr.whisper_windows import Window, encode, log_mel, silent_states, window_of
from lanser_ops.audio.decode import SAMPLE_RATE, read_all
from lanser_ops.handlers import TranscribeHandler, Worker
from lanser_ops.output.directory import OutputDir
from schemas.specs import ModelRef, TranscribeSpec

EXAMPLES = Path(__file__).parents[3] / "examples" / "audio"
NAMES = ["slt/love_you.mp3", "slt/best_day.wav", "slt/thank_you.flac", "awb/child_is_safe.flac"]
LOVE = "I love you more than anything else in the world."


class WatchedModel:
    """A model that records the (clips, seconds) of every batch, and runs out of memory above ``seconds``."""

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


class ModelOnCpu(WhisperModel):
    """Runs on a CPU, whatever device it is asked for."""

    def __init__(self, path: str, device: str, compute_type: str, **options):
        super().__init__(path, device="cpu", compute_type="int8", **options)


class EndlessModel(WatchedModel):
    """A `WatchedModel` whose decoder never ends its text in windows of ``endless`` seconds: it reaches the limit."""

    def __init__(self, model, endless: Sequence[int]):
        super().__init__(model)
        self._endless = endless
        self.counts: list[int] = []

    @property
    def model(self):
        return SimpleNamespace(is_multilingual=self._model.model.is_multilingual, generate=self._generate)

    def _generate(self, encoded, prompts, suppress_tokens, **settings):
        if self.batches[-1][1] in self._endless:
            suppress_tokens = [*suppress_tokens, self._model.hf_tokenizer.token_to_id("<|endoftext|>")]
        results = self._model.model.generate(encoded, prompts, suppress_tokens=suppress_tokens, **settings)
        self.counts += [len(result.sequences_ids[0]) for result in results]
        return results


# Of a model of which no file is read.
SPEC = TranscribeSpec(ModelRef("a model", "", ""))


@pytest.fixture(scope="module")
def recognizer() -> WhisperRecognizer:
    return load_recognizer(TranscribeSpec(whisper.resolve("bundled")), "cpu", threads=2)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [Clip(read_all((EXAMPLES / name).open("rb"))) for name in NAMES]


def silence(seconds: float) -> Clip:
    return Clip(np.zeros(round(seconds * SAMPLE_RATE), np.float32))


def test_numpy_computes_on_one_thread(recognizer):
    """A second thread would wait busily beside the recogniser's own."""
    assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} == {1}


@pytest.mark.parametrize(
    ("seconds", "window"),
    [(0.4, 8), (3.0, 8), (5.01, 9), (6.0, 9), (6.01, 10), (21.0, 24), (21.01, 30), (30.0, 30)],
)
def test_window(seconds, window):
    assert window_of(silence(seconds)) == Window(window, window)


@pytest.mark.parametrize(
    ("seconds", "encoded", "attended"),
    [(0.4, 3, 8), (2.0, 3, 8), (2.01, 4, 8), (5.0, 6, 8), (5.01, 7, 9), (21.0, 22, 24), (21.01, 30, 30)],
)
def test_short_window(seconds, encoded, attended):
    assert window_of(silence(seconds), short=True) == Window(encoded, attended)


@pytest.mark.parametrize(
    ("threads", "workers"),
    [(1, 1), (2, 2), (8, 8), (9, 9), (10, 10), (11, 11), (12, 12), (13, 13), (14, 14), (15, 15), (16, 8), (36, 9)],
)
def test_no_thread_is_idle(threads, workers):
    """With at most 8 workers, 9 to 15 threads used to run 8."""
    assert cpu_replicas(threads) == workers
    assert workers * (threads // workers) == threads


@pytest.mark.parametrize(("threads", "idle"), [(17, 1), (23, 1), (47, 2), (61, 1)])
def test_few_threads_are_idle_where_they_cannot_be_shared_equally(threads, idle):
    assert threads % cpu_replicas(threads) == idle


def test_nine_threads_are_nine_workers(recognizer):
    nine = load_recognizer(recognizer.spec, "cpu", threads=9)
    assert (nine.replicas, nine.model.model.num_workers) == (9, 9)


def test_a_second_run_and_other_threads_give_the_same(recognizer, clips):
    first = recognizer.recognize(clips)
    assert recognizer.recognize(clips) == first
    assert load_recognizer(recognizer.spec, "cpu", threads=1).recognize(clips) == first


def test_batch_sizes_agree(recognizer, clips):
    together = [hypothesis.text for hypothesis in recognizer.recognize(clips)]
    assert together[0] == LOVE
    assert [recognizer.recognize([clip])[0].text for clip in clips] == together


def test_exact_uses_the_full_window(recognizer, clips):
    model = WatchedModel(recognizer.model)
    exact = replace(recognizer, model=model, spec=replace(recognizer.spec, exact=True), batch_seconds=30.0)
    assert exact.recognize(clips[:2])[0].text == LOVE
    assert model.batches == [(2, 30)]


def test_on_a_gpu_all_windows_are_full(recognizer, clips, monkeypatch):
    """The rules for timestamps, which short windows need, cost a GPU most of its time."""
    monkeypatch.setattr(whisper_recognizer, "WhisperModel", ModelOnCpu)
    on_gpu = load_recognizer(replace(recognizer.spec, short_windows=True), "cuda", threads=1)
    model = WatchedModel(on_gpu.model)
    assert replace(on_gpu, model=model).recognize(clips[:2])[0].text == LOVE
    assert model.batches == [(2, 30)]


def test_an_unsure_transcript_is_decoded_again_in_the_full_window(recognizer, clips):
    model = WatchedModel(recognizer.model)
    noise = Clip(np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32))
    hypotheses = replace(recognizer, model=model).recognize([clips[0], noise])
    assert (hypotheses[0].text, hypotheses[0].flags) == (LOVE, ())
    assert sorted(model.batches) == [(1, 30), (2, 8)]


def test_short_windows_encode_less_and_say_the_same(recognizer, clips):
    expected = [words_of(hypothesis.text) for hypothesis in recognizer.recognize(clips)]
    short = load_recognizer(replace(recognizer.spec, short_windows=True), "cpu", threads=1)
    model = WatchedModel(short.model)
    watched = replace(short, model=model)
    hypotheses = watched.recognize(clips)
    assert sorted(model.batches) == [(1, 4), (1, 6), (2, 5)]  # and none of them again in full
    assert [words_of(hypothesis.text) for hypothesis in hypotheses] == expected
    assert watched.recognize(clips) == hypotheses


def test_what_follows_short_windows_are_the_states_of_silence(recognizer):
    window = Window(encoded_s=3, attended_s=8)
    features = np.stack([log_mel(recognizer.model, silence(1.0).samples, 3)] * 2)
    states = np.array(encode(recognizer.model, features, silent_states(recognizer.model), window))
    assert states.shape == (2, 400, 384)
    np.testing.assert_allclose(states[0, :150], np.array(recognizer.model.encode(features))[0], atol=1e-3)
    np.testing.assert_allclose(states[1, 150:], silent_states(recognizer.model)[0, 150:400], atol=1e-3)


def test_longer_than_the_window_is_an_error(recognizer):
    with pytest.raises(ValueError, match="31.0 s do not fit Whisper's 30 s window"):
        recognizer.recognize([silence(31.0)])


def test_text_cut_off_in_a_short_window_is_decoded_again_in_full(recognizer, clips):
    """CTranslate2 generates half of its ``max_length``: 8 s used to end at 56 tokens, without a sign of it."""
    model = EndlessModel(recognizer.model, endless=[8])
    (hypothesis,) = replace(recognizer, model=model).recognize(clips[:1])
    assert model.batches == [(1, 8), (1, 30)]
    assert model.counts[0] == 96  # 12 tokens per second
    assert (hypothesis.text, hypothesis.flags) == (LOVE, ())


def test_text_cut_off_in_the_full_window_is_flagged(recognizer, clips):
    """30 s used to end at 188 tokens, without a sign of it. The model has 448 positions, two of them for the prompt."""
    model = EndlessModel(recognizer.model, endless=[8, 30])
    (hypothesis,) = replace(recognizer, model=model).recognize(clips[:1])
    assert model.counts == [96, 446]
    assert "transcript_truncated" in hypothesis.flags


def test_out_of_memory_halves_the_batch_once_and_for_all(recognizer, clips, caplog):
    model = WatchedModel(recognizer.model, seconds=20)
    small = replace(recognizer, model=model, replicas=1, batch_seconds=40.0)
    same = [clips[0]] * 4
    with caplog.at_level(logging.WARNING):
        hypotheses = small.recognize(same)
        assert model.batches == [(4, 8), (2, 8), (2, 8)]
        small.recognize(same[:3])
    assert model.batches[3:] == [(2, 8), (1, 8)]
    assert [hypothesis.text for hypothesis in hypotheses] == [LOVE] * 4
    assert [record.message for record in caplog.records] == ["out of memory: continuing with 20 s of audio per batch"]


def test_a_single_clip_that_does_not_fit_is_an_error(recognizer, clips):
    small = replace(recognizer, model=WatchedModel(recognizer.model, seconds=1))
    with pytest.raises(RuntimeError, match="out of memory"):
        small.recognize(clips)


def test_text_after_the_end_of_the_audio_is_cut_off():
    tokenizer = SimpleNamespace(timestamp_begin=1000, eot=900)
    # <0.00> 1 2 <1.00> <2.90> 3 <4.00>: the second segment starts 0.1 s before the end of 3 s of audio
    tokens = [1000, 1, 2, 1050, 1145, 3, 1200]
    assert _before_end(tokens, tokenizer, seconds=3.0) == ([1, 2], True)
    assert _before_end(tokens, tokenizer, seconds=5.0) == ([1, 2, 3], False)
    assert _before_end([1200, 1, 900], tokenizer, seconds=1.0) == ([1], False)  # the first words remain


@pytest.mark.parametrize(
    ("tokens", "early"),
    [
        ([1000, 1, 2, 1050, 1050], True),  # <0.00> 1 2 <1.00><1.00>, of 3 s
        ([1000, 1, 2, 1140, 1140], False),  # <2.80><2.80>: nothing can be said in the remainder
        ([1000, 1, 2, 1050], False),  # a pause at the end
        ([1000, 1050, 1, 2], False),
        ([1, 2], False),
        ([], False),
    ],
)
def test_stopping_before_the_end(tokens, early):
    assert _stops_early(tokens, SimpleNamespace(timestamp_begin=1000), seconds=3.0) is early


@pytest.mark.parametrize("seconds", [0.37, 3.01, 7.95, 8.0])
def test_frames_of_silence_need_not_be_computed(recognizer, seconds):
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    whole = recognizer.model.feature_extractor(np.pad(noise, (0, 8 * SAMPLE_RATE - len(noise))), padding=0)
    features = log_mel(recognizer.model, noise, 8)
    assert features.shape == (80, 800)
    np.testing.assert_allclose(features, whole, atol=1e-5)


@pytest.mark.parametrize(
    ("device", "alone", "shared"), [("cpu", False, False), ("cuda", False, True), ("cuda", True, False)]
)
def test_worker_processes_share_a_model_on_a_gpu_alone(device, alone, shared):
    handler = TranscribeHandler(Worker(OutputDir("out"), (), device, 1, alone), "bundled", SPEC)
    assert handler.share_model_across_processes() is shared


def test_a_worker_with_a_gpu_of_its_own_shares_no_model(monkeypatch):
    monkeypatch.setenv("LANSER_DEALT_GPU", "3")
    handler = TranscribeHandler(Worker(OutputDir("out"), (), "cuda", 1), "bundled", SPEC)
    assert handler.share_model_across_processes() is False


def test_a_shared_model_gives_the_same_through_its_proxy(recognizer, clips, tmp_path):
    spec = recognizer.spec
    # In a folder of its own: by default any process with this tag, of another run of the tests, would serve.
    shared = MultiProcessShared(
        lambda: load_recognizer(spec, "cpu", 2), tag="model", path=str(tmp_path), always_proxy=True
    )
    proxy = shared.acquire()
    try:
        assert proxy.recognize(clips[:2]) == recognizer.recognize(clips[:2])
    finally:
        shared.release(proxy)
