"""Corpora of conversations, which come with label files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from lanser_ops.common.errors import InputError
from training.corpora.utterance import EXTENSIONS, TEST, TRAIN, VAL, PublishedLayout, Utterance

# Busso et al. 2008; the four classes that the literature compares on, excitement counted as happiness.
IEMOCAP = re.compile(r"^\[[\d.]+ - [\d.]+\]\s+(?P<name>Ses\d\d[FM]_\S+)\s+(?P<label>[a-z]{3})\s", re.MULTILINE)
IEMOCAP_LABELS = {"ang": "anger", "hap": "happiness", "exc": "happiness", "neu": "neutral", "sad": "sadness"}
# Poria et al. 2019: a label file per split, and the folders that the clips of a split are published in.
MELD_LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
MELD_SPLITS = {
    TRAIN: ("train_sent_emo.csv", ("train_splits", "train")),
    VAL: ("dev_sent_emo.csv", ("dev_splits_complete", "dev")),
    TEST: ("test_sent_emo.csv", ("output_repeated_splits_test", "test")),
}
# Lotfian and Busso 2019. O (other) and X (no agreement) are no emotions; Test2 and Test3 have other purposes.
MSP_LABELS = {
    "A": "anger", "S": "sadness", "H": "happiness", "U": "surprise", "F": "fear", "D": "disgust", "C": "contempt",
    "N": "neutral",
}  # fmt: skip
MSP_SPLITS = {"Train": TRAIN, "Development": VAL, "Test1": TEST}


def iemocap(root: Path) -> list[Utterance]:
    """The utterances of the sessions below ``root`` that have one of the four labels; a group is a session."""
    utterances = []
    for evaluation in sorted(root.rglob("dialog/EmoEvaluation/Ses*.txt")):
        session = evaluation.parents[2]
        for match in IEMOCAP.finditer(evaluation.read_text(encoding="utf-8", errors="replace")):
            if match["label"] in IEMOCAP_LABELS:
                path = session / "sentences" / "wav" / evaluation.stem / f"{match['name']}.wav"
                utterances.append(Utterance(path, IEMOCAP_LABELS[match["label"]], evaluation.stem[:5]))
    return utterances


def meld(root: Path) -> list[Utterance]:
    """The utterances of MELD below ``root`` in its own splits; clips may be the published .mp4 or extracted audio.

    A labelled clip without a file is listed too, and reported when it cannot be opened: the published archive lacks
    some. A group is a character of the series.
    """
    utterances = []
    for split, (name, folders) in MELD_SPLITS.items():
        clips = {
            path.stem: path
            for path in sorted(root.rglob("dia*_utt*"))
            if path.parent.name in folders and path.suffix.lower() in (".mp4", *EXTENSIONS)
        }
        for file in sorted(root.rglob(name)):
            for row in _rows(file, ("Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")):
                clip = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
                path = clips.get(clip, file.parent / folders[0] / f"{clip}.mp4")
                utterances.append(Utterance(path, row["Emotion"], row["Speaker"], split))
    return utterances


def msp_podcast(root: Path) -> list[Utterance]:
    """The utterances of MSP-Podcast below ``root`` whose consensus is an emotion, in its own splits (Test1 tests)."""
    utterances = []
    for file in sorted(root.rglob("labels_consensus.csv")):
        audio = next((folder for folder in (root / "Audios", root / "Audio") if folder.is_dir()), root)
        for row in _rows(file, ("FileName", "EmoClass", "SpkrID", "Split_Set")):
            if row["EmoClass"] in MSP_LABELS and row["Split_Set"] in MSP_SPLITS:
                speaker = None if row["SpkrID"] == "Unknown" else row["SpkrID"]
                label, split = MSP_LABELS[row["EmoClass"]], MSP_SPLITS[row["Split_Set"]]
                utterances.append(Utterance(audio / row["FileName"], label, speaker, split))
    return utterances


def _rows(file: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a label file; raises InputError if it lacks one of ``columns``."""
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in columns if name not in (reader.fieldnames or [])]
        if missing:
            raise InputError(f"{file}: no column {missing[0]}; use the label file as published")
        yield from reader


CONVERSATIONS = {
    "iemocap": PublishedLayout(iemocap, tuple(dict.fromkeys(IEMOCAP_LABELS.values())), 5),
    "meld": PublishedLayout(meld, MELD_LABELS, 1),
    "msp-podcast": PublishedLayout(msp_podcast, tuple(MSP_LABELS.values()), 1),
}
