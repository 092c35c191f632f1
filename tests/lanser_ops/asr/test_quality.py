"""What recognisers invent, in literal texts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lanser_ops.asr.quality import flags_of, looks_wrong, repeats_itself, says_all_twice


def heard(text: str, avg_logprob: float = -0.3, compression_ratio: float = 1.0) -> SimpleNamespace:
    return SimpleNamespace(text=text, avg_logprob=avg_logprob, no_speech_prob=0.1, compression_ratio=compression_ratio)


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("No, no, no!", False),
        ("No, no, no, no, no!", False),
        ("No no no no no no", True),
        ("Come on, come on, come on!", False),
        ("Come on. Come on. Come on. Come on.", True),
        ("I don't know. I don't know.", False),
        ("I don't know what. I don't know what. I don't know what.", True),
        ("Kids are talking by the door", False),
        ("", False),
    ],
)
def test_a_loop_is_the_same_words_too_often_in_a_row(text, loops):
    assert repeats_itself(text) is loops


def test_said_twice_is_a_whole_sentence_again():
    assert says_all_twice("Dogs are sitting by the door. Dogs are sitting by the door.")
    assert not says_all_twice("I said no. I said no.")
    assert not says_all_twice("Dogs are sitting by the door. Kids are sitting by the door.")


@pytest.mark.parametrize(
    ("transcript", "seconds", "flags"),
    [
        (heard("I love you more than anything."), 2.5, ()),
        (heard("Come on. " * 4), 4.0, ("repetition",)),
        (heard("la la la", compression_ratio=2.5), 4.0, ("repetition",)),
        (heard("one two three four five six seven eight nine"), 1.0, ("repetition",)),
        (heard("one two three four five six seven eight nine"), 2.0, ()),
        (heard("mumble", avg_logprob=-1.01), 2.0, ("low_logprob",)),
        (heard("Thanks for watching!"), 2.0, ("subtitle_phrase",)),
        (heard("Thank you."), 2.0, ()),
        (heard("He said thanks for watching the kids."), 2.0, ()),
        (heard("Thank you for watching.", avg_logprob=-1.2), 2.0, ("low_logprob", "subtitle_phrase")),
    ],
)
def test_flags(transcript, seconds, flags):
    assert flags_of(transcript, seconds) == flags


@pytest.mark.parametrize(
    ("transcript", "seconds", "unfinished", "again"),
    [
        (heard("I love you more than anything."), 2.5, False, False),
        (heard("I love you more than anything."), 2.5, True, True),
        (heard("I love you more than anything."), 1.0, False, True),  # six words in a second
        (heard(""), 2.5, False, True),
        (heard("mumble", avg_logprob=-1.01), 2.0, False, True),
        (heard("Dogs are sitting by the door. Dogs are sitting by the door."), 4.0, False, True),
    ],
)
def test_what_is_decoded_again(transcript, seconds, unfinished, again):
    assert looks_wrong(transcript, seconds, unfinished) is again
