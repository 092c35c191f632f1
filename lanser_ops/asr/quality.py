"""Signs in a text that a recogniser made it up: loops, doubled sentences, too many words, subtitle phrases."""

from __future__ import annotations

import re

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
