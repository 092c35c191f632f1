"""Acted corpora, whose file names hold speaker and emotion."""

from __future__ import annotations

import re
from pathlib import Path

from training.corpora.utterance import EXTENSIONS, PublishedLayout, Utterance

# Livingstone and Russo 2018: modality-channel-emotion-intensity-statement-repetition-actor; 03-01 is audio, speech.
RAVDESS = re.compile(r"03-01-(?P<label>0[1-8])-\d\d-\d\d-\d\d-(?P<group>\d\d)")
RAVDESS_LABELS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fearful", "07": "disgust", "08": "surprised",
}  # fmt: skip
# Ma et al. 2024, "EmoBox", https://arxiv.org/abs/2406.07162: the actors that each fold tests on.
RAVDESS_EMOBOX = (
    ("01", "11", "20", "21"), ("04", "10", "12", "14"), ("08", "09", "19", "23"),
    ("03", "05", "07", "24"), ("02", "15", "16", "18"), ("06", "13", "17", "22"),
)  # fmt: skip
# Cao et al. 2014: actor_sentence_emotion_level.
CREMAD = re.compile(r"(?P<group>\d{4})_[A-Z]{3}_(?P<label>[A-Z]{3})_[A-Z]{1,2}")
CREMAD_LABELS = {
    "ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness",
}  # fmt: skip
# Burkhardt et al. 2005: speaker, text, emotion (a German initial), version.
EMODB = re.compile(r"(?P<group>\d\d)[ab]\d\d(?P<label>[WLEAFTN])[a-z]?")
EMODB_LABELS = {
    "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral",
}  # fmt: skip
# Haq and Jackson 2010: emotion and sentence, in a folder per speaker; in the single folder ALL, after the speaker.
SAVEE = re.compile(r"(?P<group>DC|JE|JK|KL)[/_](?P<label>sa|su|[adfhn])\d\d")
SAVEE_LABELS = {
    "a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "n": "neutral", "sa": "sadness", "su": "surprise",
}  # fmt: skip
# Pichora-Fuller and Dupuis 2020: actress, word, emotion (ps: pleasant surprise). One name has OA in the place of OAF.
TESS = re.compile(r"(?P<group>[OY]A)F?_[A-Za-z]+_(?P<label>angry|disgust|fear|happy|neutral|ps|sad)")
TESS_LABELS = {
    "angry": "angry", "disgust": "disgust", "fear": "fear", "happy": "happy", "neutral": "neutral", "ps": "surprise",
    "sad": "sad",
}  # fmt: skip
# Zhou et al. 2022: speaker/emotion/speaker_number, in some copies with a folder per split of voice conversion, which
# shares its speakers and so is no split for emotion recognition.
ESD = re.compile(
    r"(?P<group>00[01]\d|0020)/(?P<label>Angry|Happy|Neutral|Sad|Surprise)/"
    r"(?:(?:train|evaluation|test)/)?(?P=group)_\d{6}"
)
ESD_LABELS = {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad", "Surprise": "surprise"}


def by_name(root: Path, pattern: re.Pattern[str], labels: dict[str, str]) -> list[Utterance]:
    """The audio files below ``root`` whose name ``pattern`` matches, sorted by path.

    The pattern matches the end of a path without its extension, from the start of a file's or a folder's name on.
    """
    ending = re.compile(rf"(?:^|.*/){pattern.pattern}", re.DOTALL)
    utterances = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in EXTENSIONS and (match := ending.fullmatch(path.with_suffix("").as_posix())):
            utterances.append(Utterance(path, labels[match["label"]], match["group"]))
    return utterances


def _layout(
    pattern: re.Pattern[str], labels: dict[str, str], folds: int, emobox: tuple[tuple[str, ...], ...] = ()
) -> PublishedLayout:
    return PublishedLayout(lambda root: by_name(root, pattern, labels), tuple(labels.values()), folds, emobox)


ACTED = {
    "ravdess": _layout(RAVDESS, RAVDESS_LABELS, 6, RAVDESS_EMOBOX),
    "cremad": _layout(CREMAD, CREMAD_LABELS, 5),
    "emodb": _layout(EMODB, EMODB_LABELS, 5),
    "esd": _layout(ESD, ESD_LABELS, 5),
    "savee": _layout(SAVEE, SAVEE_LABELS, 4),
    "tess": _layout(TESS, TESS_LABELS, 2),
}
