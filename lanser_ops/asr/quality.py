"""Signs that a recogniser made a text up: in the audio, which is noise, and in the text itself.

Noise becomes a reject, whichever recogniser wrote something down for it; benchmarks/noise_rules.py compares rules, and
docs/reliability.md has its figures. In texts there are loops, doubled sentences, too many words and subtitle phrases.
"""

from __future__ import annotations

import re

import numpy as np

# If no 32 ms window reaches this speech probability of Silero's, recognition is not worth its time: of 1,440 acted
# RAVDESS clips the lowest maximum is 0.35, of 600 clips of noise and tones two thirds stay below 0.3.
MIN_SPEECH_PROBABILITY = 0.2
# Below this maximum the voice activity detector is not sure that somebody speaks, and the two rules for noise apply.
SURE_SPEECH_PROBABILITY = 0.97
# Where Whisper itself is not sure either: over noise, tones and music-like sound its no-speech probability was 0.75 and
# more, over RAVDESS at most 0.5.
MAX_NO_SPEECH = 0.6
# Loud, structured noise gets lower ones, but is even: speech has syllables and pauses. The evenness is the standard
# deviation over the mean of the RMS levels of frames.
MAX_EVEN_NO_SPEECH = 0.1
MIN_LEVEL_RATIO = 0.4
LEVEL_FRAME = 512  # samples, 32 ms

# Fast speech reaches some five words per second; far more is not speech.
MAX_WORDS_PER_SECOND = 8.0
# Below this duration, the number of words per second says little.
MIN_RATE_SECONDS = 0.5
# Speakers do not repeat a sentence of this many words by chance.
MIN_DOUBLED_WORDS = 5
# How often a run of so many words may be said in a row ("no, no, no"); more is a loop.
MAX_REPEATS = {1: 5, 2: 3, 3: 3, 4: 2, 5: 2, 6: 2, 7: 2, 8: 2}
# Whisper learned these from the ends of subtitled videos and outputs them for non-speech.
SUBTITLE_PHRASES = frozenset(
    {
        "thanks for watching",
        "thank you for watching",
        "thank you so much for watching",
        "thanks for watching and dont forget to like and subscribe",
        "please subscribe",
        "please subscribe to my channel",
        "like and subscribe",
        "subscribe to my channel",
        "see you in the next video",
        "ill see you in the next video",
        "see you next time",
        "subtitles by the amara org community",
        "transcription by castingwords",
    }
)


def level_ratio(samples: np.ndarray) -> float:
    """Standard deviation over mean of the levels (RMS) of whole frames of LEVEL_FRAME samples; 0.0 for silence."""
    frames = samples[: len(samples) // LEVEL_FRAME * LEVEL_FRAME].reshape(-1, LEVEL_FRAME)
    levels = np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1))
    return float(levels.std() / levels.mean()) if levels.any() else 0.0


def noise_detail(samples: np.ndarray, speech_probability: float, no_speech_prob: float | None) -> str | None:
    """Why an utterance (float32 at 16 kHz) is noise, None if it may be speech.

    ``speech_probability`` is the voice activity detector's highest, ``no_speech_prob`` the recogniser's, if it has one.
    """
    if speech_probability >= SURE_SPEECH_PROBABILITY or no_speech_prob is None:
        return None
    unsure = f"the detector's speech probability is at most {speech_probability:.2f}"
    if no_speech_prob > MAX_NO_SPEECH:
        return f"{unsure}, the recogniser's for no speech {no_speech_prob:.2f}"
    if no_speech_prob >= MAX_EVEN_NO_SPEECH and (ratio := level_ratio(samples)) < MIN_LEVEL_RATIO:
        return (
            f"{unsure}, the recogniser's for no speech {no_speech_prob:.2f}, and the level is even (ratio {ratio:.2f})"
        )
    return None


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.sub(r"[^\w\s]", "", text.lower().replace("-", " ").replace(".", " ")).split()


def is_faster(text: str, seconds: float, words_per_second: float) -> bool:
    """Whether ``text``, said in ``seconds``, has more than ``words_per_second``."""
    return len(words_of(text)) > words_per_second * max(seconds, MIN_RATE_SECONDS)


def repeats_itself(text: str) -> bool:
    """Whether a run of one to eight words occurs too often in a row (see MAX_REPEATS)."""
    words = words_of(text)
    for size, most in MAX_REPEATS.items():
        for first in range(len(words) - size * (most + 1) + 1):
            run = words[first : first + size]
            if all(words[first + size * i : first + size * (i + 1)] == run for i in range(1, most + 1)):
                return True
    return False


def is_doubled(text: str) -> bool:
    """Whether the second half of the words repeats the first."""
    words = words_of(text)
    half = len(words) // 2
    return half >= MIN_DOUBLED_WORDS and words[:half] == words[half:]


def is_looped(text: str, seconds: float) -> bool:
    """Whether ``text`` repeats itself, or has more words than can be said in ``seconds``."""
    return repeats_itself(text) or is_faster(text, seconds, MAX_WORDS_PER_SECOND)


def is_subtitle_phrase(text: str) -> bool:
    return " ".join(words_of(text)) in SUBTITLE_PHRASES
