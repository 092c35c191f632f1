"""When to doubt a Whisper hypothesis: its own numbers, and the signs in the text."""

from __future__ import annotations

from dataclasses import dataclass

from lanser_ops.asr.quality import is_doubled, is_faster, is_looped, is_subtitle_phrase, repeats_itself

# Whisper's own limits, Radford et al. 2022, section 4.5.
MAX_COMPRESSION_RATIO = 2.4
MIN_AVG_LOGPROB = -1.0
# Faster speech is rare enough to be worth decoding again.
FAST_WORDS_PER_SECOND = 5.0


@dataclass(frozen=True)
class WhisperOutput:
    """What Whisper gave for an utterance of ``seconds``.

    ``foreign``: its language is not one of those asked for, or not one that the model transcribes. ``truncated``: the
    decoder ran into its token limit. ``unfinished``: that, or it went on after the end of the audio, or stopped before
    it.
    """

    text: str
    seconds: float
    language: str
    foreign: bool
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    truncated: bool
    unfinished: bool


def looks_wrong(output: WhisperOutput) -> bool:
    """Whether it is worth decoding the utterance again, in the full window."""
    return (
        output.unfinished
        or output.compression_ratio > MAX_COMPRESSION_RATIO
        or output.avg_logprob < MIN_AVG_LOGPROB
        or is_faster(output.text, output.seconds, FAST_WORDS_PER_SECOND)
        or repeats_itself(output.text)
        or is_doubled(output.text)
        or not output.text
    )


def flags_of(output: WhisperOutput) -> tuple[str, ...]:
    """Doubts about a transcript, by the names in `schemas.records.REASONS`."""
    doubts = {
        "repetition": output.compression_ratio > MAX_COMPRESSION_RATIO or is_looped(output.text, output.seconds),
        "low_logprob": output.avg_logprob < MIN_AVG_LOGPROB,
        "subtitle_phrase": is_subtitle_phrase(output.text),
        "transcript_truncated": output.truncated,
    }
    return tuple(name for name, doubted in doubts.items() if doubted)
