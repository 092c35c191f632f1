"""What a page warns of, from literal counts."""

from __future__ import annotations

from typing import Any

import pytest

from lanser_ops.report.clips import Clips
from lanser_ops.report.concerns import concerns_of_corpus, concerns_of_labels
from lanser_ops.report.survey import Survey

LABELS = ["joy", "anger"]


def accounts(**changes: Any) -> dict[str, Any]:
    """Counts of a corpus that nothing is wrong with."""
    counts = {
        "utterances": 1000,
        "labels": {"joy": 600, "anger": 300},
        "splits": {"train": 850, "val": 50},
        "rejects": {"no_speech": 100},
        "languages": {"en": 900},
    }
    return counts | changes


def survey(samples: int, words: int) -> Survey:
    """A survey of ``samples`` samples with ``words`` different texts."""
    result = Survey("two", tuple(LABELS), 1, 1, durations=[1.0] * samples)
    result.words.update(range(words))
    return result


def names(statistics: dict[str, Any], read: Survey | None = None, clips: Clips | None = None) -> list[str]:
    of_corpus = concerns_of_corpus(statistics, clips or Clips())
    return [each.name for each in [*of_corpus, *concerns_of_labels(statistics, LABELS, 0.4, read or survey(9, 9))]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"labels": {"joy": 720, "anger": 180}}, []),  # exactly 80 %
        ({"labels": {"joy": 721, "anger": 179}}, ["majority"]),
        ({"labels": {"joy": 900}}, ["majority", "absent"]),
        ({"splits": {"train": 899, "val": 1}}, ["val"]),
        ({"splits": {"train": 900}}, ["val"]),
        ({"splits": {"train": 890, "val": 10}}, []),
        ({"rejects": {"no_speech": 200}}, []),
        ({"rejects": {"no_speech": 150, "truncated": 51}}, ["rejects"]),
        ({"rejects": {"low_margin": 500, "not_selected": 300}}, []),  # as the options asked
        ({"languages": {"en": 850, "de": 30, "fr": 21}}, ["language"]),
        ({"languages": {"en": 850, "unknown": 500}}, []),
        ({"rejects": {"language": 60}}, ["language"]),
    ],
)
def test_concerns(changes: dict[str, Any], expected: list[str]):
    assert names(accounts(**changes)) == expected


def test_repeated_transcripts():
    assert names(accounts(), survey(100, 90)) == []
    assert names(accounts(), survey(100, 89)) == ["repeats"]


def test_clipped_clips():
    assert names(accounts(), clips=Clips(audio=dict.fromkeys(map(str, range(20)), ""), clipped=1)) == []
    assert names(accounts(), clips=Clips(audio=dict.fromkeys(map(str, range(20)), ""), clipped=2)) == ["clipping"]


def test_the_text_of_a_concern():
    (concern,) = concerns_of_labels(accounts(labels={"joy": 90, "anger": 10}), LABELS, 0.4, survey(9, 9))
    assert concern.finding == "90.0% of the samples are labelled joy."
    assert "`--prior-strength` (it was 0.4)" in concern.advice
    (concern,) = concerns_of_labels(accounts(splits={"train": 99, "val": 1}), LABELS, 0.4, survey(9, 9))
    assert concern.finding == "The val split has one sample."
