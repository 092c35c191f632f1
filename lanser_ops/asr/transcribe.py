"""Transcribe a work unit: from source rows to transcripts and rejects."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

from lanser_ops.asr import quality
from lanser_ops.asr.base import Clip, Hypothesis, Recognizer
from lanser_ops.asr.utterances import STAGE, Utterance, read_ahead, row_reject, utterances_of
from lanser_ops.audio import segment
from lanser_ops.audio.decode import is_silent
from lanser_ops.corpus.plan import read_unit
from lanser_ops.output import attempts
from lanser_ops.output.directory import OutputDir
from lanser_ops.output.rejects import count_reasons, seconds_of, write_transcripts
from lanser_ops.process import release_memory
from schemas.records import TRANSCRIPT_SCHEMA, Reject, SourceRow, Transcript, make_reject, to_table, utterance_key
from schemas.specs import CutSpec
from schemas.units import StageCounts, Unit

log = logging.getLogger(__name__)


def transcribe_unit(
    out: OutputDir, unit: Unit, roots: Sequence[str], recognizer: Recognizer, spec: CutSpec
) -> StageCounts:
    """Write the unit's transcripts and its rejects, unless they exist.

    A unit that was begun `attempts.MAX_TRIES` times and never finished is set aside: all its rows become rejects.
    """
    if out.exists(out.transcripts(unit)):
        return StageCounts()
    rows = read_unit(out, unit)
    if attempts.used_up(out, unit):
        log.warning(
            "unit %d is set aside after %d tries: %d rejects",
            unit.index,
            attempts.MAX_TRIES,
            len(rows),
            extra={"stage": STAGE, "unit": unit.index, "reason": "gave_up"},
        )
        rejects = set_aside(rows, attempts.GAVE_UP)
        write_transcripts(out, unit, to_table([], TRANSCRIPT_SCHEMA), rejects)
        attempts.forget(out, unit)
        return _counts([], rejects)
    with attempts.attempt(out, unit):
        transcripts, rejects = transcribe_rows(rows, roots, recognizer, spec)
        write_transcripts(out, unit, to_table(transcripts, TRANSCRIPT_SCHEMA), rejects)
    return _counts(transcripts, rejects)


def _counts(transcripts: Sequence[Transcript], rejects: Sequence[Reject]) -> StageCounts:
    audio_s = sum(transcript.duration_s for transcript in transcripts)
    audio_s += sum(seconds_of(reject.reason, reject.start_s, reject.end_s) for reject in rejects)
    return StageCounts(len(transcripts) + len(rejects), audio_s, rejects=count_reasons(rejects))


def transcribe_rows(
    rows: Sequence[SourceRow], roots: Sequence[str], recognizer: Recognizer, spec: CutSpec
) -> tuple[list[Transcript], list[Reject]]:
    """Transcripts and rejects of ``rows``, each sorted by key. Every second of audio is in exactly one of them."""
    transcripts: dict[str, Transcript] = {}
    rejects: list[Reject] = []
    seen: set[str] = set()

    def add(utterance: Utterance, text: str, hypothesis: Hypothesis | None) -> None:
        if not any(char.isalpha() for char in text):
            rejects.append(_reject(utterance, "no_text", f"the transcript is {text!r}"))
            return
        transcript = _transcript(utterance, text, hypothesis)
        transcripts[transcript.key] = transcript

    for pool in _pools(read_ahead(utterances_of(rows, roots, spec)), recognizer.pool_seconds):
        pending: list[tuple[Utterance, Clip]] = []
        for item in pool:
            if isinstance(item, Reject):
                rejects.append(item)
                continue
            key = utterance_key(item.row.source, item.start_s, item.end_s)
            if key in seen:
                rejects.append(_reject(item, "duplicate"))
                continue
            seen.add(key)
            probability = 0.0 if is_silent(item.samples) else 1.0
            if item.row.text is None and probability:
                probability = segment.speech_probability(item.samples)
            if probability < quality.MIN_SPEECH_PROBABILITY:
                rejects.append(_reject(item, "no_speech"))
            elif item.end_s - item.start_s < spec.min_duration_s:
                detail = f"{item.end_s - item.start_s:.2f} s, --min-duration is {spec.min_duration_s:g} s"
                rejects.append(_reject(item, "too_short", detail))
            elif item.row.text is not None:
                add(item, item.row.text.strip(), None)
            else:
                pending.append((item, Clip(item.samples, item.row.language, probability)))
        hypotheses = recognizer.recognize([clip for _, clip in pending])
        release_memory()
        for (item, clip), hypothesis in zip(pending, hypotheses, strict=True):
            noise = quality.noise_detail(clip.samples, clip.speech_probability, hypothesis.no_speech_prob)
            if hypothesis.rejection:
                rejects.append(_reject(item, hypothesis.rejection.reason, hypothesis.rejection.detail))
            elif noise:
                rejects.append(_reject(item, "no_speech", noise))
            else:
                add(item, hypothesis.text, hypothesis)
    return [transcripts[key] for key in sorted(transcripts)], _in_order(rejects)


def set_aside(rows: Sequence[SourceRow], detail: str) -> list[Reject]:
    """A reject for every row of a unit on which workers die, in the order of `transcribe_rows`."""
    return _in_order([row_reject(row, "gave_up", detail) for row in rows])


def _in_order(rejects: list[Reject]) -> list[Reject]:
    return sorted(rejects, key=lambda reject: (reject.key, reject.reason, reject.detail))


def _reject(utterance: Utterance, reason: str, detail: str = "") -> Reject:
    return make_reject(utterance.row.source, utterance.start_s, utterance.end_s, STAGE, reason, detail)


def _transcript(utterance: Utterance, text: str, hypothesis: Hypothesis | None) -> Transcript:
    """The transcript's row; ``hypothesis`` is None if the text came with the input."""
    row, start_s, end_s = utterance.row, utterance.start_s, utterance.end_s
    return Transcript(
        key=utterance_key(row.source, start_s, end_s),
        source=row.source,
        start_s=start_s,
        end_s=end_s,
        duration_s=end_s - start_s,
        text=text,
        language=hypothesis.language if hypothesis else row.language,
        avg_logprob=hypothesis.avg_logprob if hypothesis else None,
        no_speech_prob=hypothesis.no_speech_prob if hypothesis else None,
        compression_ratio=hypothesis.compression_ratio if hypothesis else None,
        flags=hypothesis.flags if hypothesis else (),
        speaker=row.speaker,
        dialogue=row.dialogue,
        turn=row.turn,
    )


def _pools(items: Iterable[Utterance | Reject], pool_seconds: float) -> Iterator[list[Utterance | Reject]]:
    """Consecutive items with about ``pool_seconds`` of audio; the boundaries depend on the items alone."""
    pool: list[Utterance | Reject] = []
    seconds = 0.0
    for item in items:
        pool.append(item)
        seconds += item.end_s - item.start_s if isinstance(item, Utterance) else 0.0
        if seconds >= pool_seconds:
            yield pool
            pool, seconds = [], 0.0
    if pool:
        yield pool
