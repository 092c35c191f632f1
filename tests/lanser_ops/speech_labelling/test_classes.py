"""Which label a class of a speech model stands for, and which label a voice favours."""

from __future__ import annotations

import pytest

from lanser_ops.common.errors import InputError
from lanser_ops.speech_labelling.classes import check_classes, class_labels, voice_label
from schemas.taxonomy import load_taxonomy

EKMAN = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")


@pytest.mark.parametrize(
    ("classes", "labels", "matched"),
    [
        (("neu", "hap", "ang", "sad"), EKMAN, {"neu": "neutral", "hap": "joy", "ang": "anger", "sad": "sadness"}),
        (("Happy", "FEARFUL", " surprised"), EKMAN, {"Happy": "joy", "FEARFUL": "fear", " surprised": "surprise"}),
        (("calm", "neutral"), EKMAN, {"neutral": "neutral"}),
        (("calm", "neutral"), ("calm", "neutral"), {"calm": "calm", "neutral": "neutral"}),
        # Its own name wins over a synonym, and of two synonyms neither is the right one.
        (("happy",), ("joy", "happy"), {"happy": "happy"}),
        (("happiness",), ("joy", "happy"), {}),
        (("bored",), ("Bored", "calm"), {"bored": "Bored"}),
        (("LABEL_0", "LABEL_1"), EKMAN, {}),
    ],
)
def test_classes_stand_for_labels_by_name(classes: tuple[str, ...], labels: tuple[str, ...], matched: dict[str, str]):
    assert class_labels(classes, labels) == matched


@pytest.mark.parametrize(
    ("classes", "scores", "favoured"),
    [
        (("happy", "angry"), (0.3, 0.7), ("anger", 0.7)),
        (("happy", "angry", "calm"), (0.125, 0.375, 0.5), ("anger", 0.75)),
        (("happy", "joy", "angry"), (0.3, 0.3, 0.4), ("joy", 0.6)),
        (("calm", "happy"), (1.0, 0.0), None),
        (("calm",), (1.0,), None),
        # Probabilities of independent classes need not have a sum of 1.
        (("sad", "fear"), (0.75, 0.25), ("sadness", 0.75)),
        (("sad", "fear"), (0.9, 0.9), ("sadness", 0.5)),
    ],
)
def test_the_voice_favours_the_best_label_that_it_can_name(
    classes: tuple[str, ...], scores: tuple[float, ...], favoured: tuple[str, float] | None
):
    voice = voice_label(classes, scores, EKMAN)
    assert voice == (favoured and (favoured[0], pytest.approx(favoured[1])))


def test_a_class_set_that_does_not_match_is_refused_with_both_sets():
    check_classes("--speech-model m", ("LABEL_0", "neutral"), load_taxonomy("ekman"))
    with pytest.raises(InputError) as refused:
        check_classes("--speech-model m", ("yes", "no"), load_taxonomy("ekman"))
    assert str(refused.value) == (
        "--speech-model m: none of its classes (yes, no) is a label of ekman (anger, disgust, fear, joy, sadness, "
        "surprise, neutral); use a model with classes of these names, or another --taxonomy"
    )
