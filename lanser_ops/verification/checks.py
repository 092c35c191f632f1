"""Checks of one unit: pure functions of tables and streams, each a generator of faults, one line of text per kind."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import soundfile

from lanser_ops import tar
from lanser_ops.shards.write import JSON_OPTIONS
from schemas.records import SPEECH_SCHEMA, WeakLabel, utterance_key

# Scores have six significant digits, and processors differ in the last one before they are rounded.
TOLERANCE = 2e-5
# How far the length of the audio may be from ``duration_s``: the latter is rounded to milliseconds.
TOLERANCE_S = 0.002
MEMBERS = ("cls", "flac", "json")
MEMBERS_OF_SIDECAR = ("cls", "json")


def transcript_faults(transcripts: pa.Table, rejects: pa.Table, sources: Collection[str] | None) -> Iterator[str]:
    """Keys that are no keys of their rows or occur twice, and rows of the plan that are lost or invented.

    ``sources`` are those of the unit's rows in the plan, None where there is no plan.
    """
    keys = transcripts.column("key").to_pylist()
    places = zip(*(transcripts.column(name).to_pylist() for name in ("source", "start_s", "end_s")), strict=True)
    wrong = [key for key, place in zip(keys, places, strict=True) if key != utterance_key(*place)]
    yield from _counted(wrong, "keys are not those of their sources and times")
    yield from _counted(_repeated(keys), "keys occur twice")
    if sources is not None:
        accounted = {*transcripts.column("source").to_pylist(), *rejects.column("source").to_pylist()}
        yield from _counted(sorted(set(sources) - accounted), "sources of the plan are neither transcripts nor rejects")
        yield from _counted(sorted(accounted - set(sources)), "sources are not in the plan")


def label_faults(stored: Sequence[WeakLabel], computed: Sequence[WeakLabel]) -> Iterator[str]:
    """Where stored labels are not those that the stored scores give; ``computed`` are of all transcripts, in order."""
    if [label.key for label in stored] != [label.key for label in computed]:
        yield f"has {len(stored)} labels, whose keys are not those of the {len(computed)} transcripts"
        return
    wrong = [before.key for before, now in zip(stored, computed, strict=True) if not _equal(before, now)]
    yield from _counted(wrong, "labels are not those that the stored scores give")


def _equal(stored: WeakLabel, computed: WeakLabel) -> bool:
    same = stored.label_index == computed.label_index and stored.label == computed.label
    if not same and max(stored.margin, computed.margin) > TOLERANCE:
        return False
    pairs = [
        (stored.entailment, computed.entailment),
        (stored.hypothesis_scores, computed.hypothesis_scores),
        (stored.template_entailment, computed.template_entailment),
        ([stored.score, stored.margin], [computed.score, computed.margin]),
    ]
    arrays = [(np.asarray(before, np.float64), np.asarray(now, np.float64)) for before, now in pairs]
    close = all(before.shape == now.shape and np.allclose(before, now, 0, TOLERANCE) for before, now in arrays)
    return close and list(stored.flags) == list(computed.flags)


def reject_faults(rejects: Iterable[str], labels: Collection[str]) -> Iterator[str]:
    """Keys that are left out of a taxonomy's shard twice, or of which there is no label."""
    rejects = list(rejects)
    yield from _counted(_repeated(rejects), "keys are left out of the shard twice")
    yield from _counted(sorted(set(rejects) - set(labels)), "keys are left out of the shard and have no label")


def shard_faults(
    stream: BinaryIO, size: int, expected: Mapping[str, Mapping[str, Any]], is_sidecar: bool
) -> Iterator[str]:
    """What is wrong with a shard of ``size`` bytes, of which ``expected`` has the JSON of every sample, by key."""
    extensions = MEMBERS_OF_SIDECAR if is_sidecar else MEMBERS
    seen: list[str] = []
    wrong: dict[str, list[str]] = {}
    try:
        for key, group in groupby(tar.read_members(stream), key=lambda member: member.name.partition(".")[0]):
            members = list(group)
            seen.append(key)
            if [member.name for member in members] != [f"{key}.{extension}" for extension in extensions]:
                wrong.setdefault(f"samples are not of {', '.join(extensions)}", []).append(key)
            elif key in expected:
                contents = dict(zip(extensions, (tar.read_content(stream, member) for member in members), strict=True))
                for fault in _sample_faults(contents, expected[key]):
                    wrong.setdefault(fault, []).append(key)
    except tar.BrokenTar as error:
        yield f"is damaged ({error})"
    else:
        if not tar.is_whole(stream, size):
            yield "has no end of an archive"
    yield from _counted(_repeated(seen), "keys occur twice")
    yield from _counted(sorted(expected.keys() - set(seen)), "samples are missing, which have a label and no reject")
    yield from _counted(sorted(set(seen) - expected.keys()), "samples have no label, or are rejects too")
    if seen != sorted(seen):
        yield "its samples are not in key order"
    for fault, keys in wrong.items():
        yield from _counted(keys, fault)


def _sample_faults(contents: Mapping[str, bytes], expected: Mapping[str, Any]) -> Iterator[str]:
    """``contents`` are the members of a sample by extension."""
    try:
        fields = orjson.loads(contents["json"])
    except orjson.JSONDecodeError:
        yield "samples have a .json that is none"
        return
    columns: dict[str, Any] = orjson.loads(orjson.dumps(expected, option=JSON_OPTIONS))
    names = {*fields, *columns} - (set(SPEECH_SCHEMA.names) - columns.keys())
    for name in sorted(name for name in names if fields.get(name) != columns.get(name)):
        yield f"samples differ from the Parquet files in {name!r}"
    if contents["cls"] != b"%d" % columns["label_index"]:
        yield "samples have another label in .cls"
    if "flac" not in contents:
        return
    try:
        audio = soundfile.info(io.BytesIO(contents["flac"]))
    except soundfile.LibsndfileError:
        yield "samples have a .flac that is none"
        return
    if abs(audio.frames / audio.samplerate - columns["duration_s"]) > TOLERANCE_S:
        yield "samples have audio that is not duration_s long"


def repeated_keys(keys: Sequence[np.ndarray]) -> list[str]:
    """The keys that occur more than once; ``keys`` has one array, uint64 (utterances,), per unit."""
    values, counts = np.unique(np.concatenate(keys) if keys else np.zeros(0, np.uint64), return_counts=True)
    return [f"{key:016x}" for key in values[counts > 1].tolist()]


def account_faults(recorded: Mapping[str, Any], counted: Mapping[str, Any]) -> Iterator[str]:
    """Where the statistics of dataset.json are not those of the files; ``counted`` are from `statistics.total`."""
    for name in sorted(counted.keys() - {"seconds", "pairs_scored"}):
        said, has = recorded.get(name), counted[name]
        if name == "splits" and isinstance(said, dict):  # relabelled units without a shard do not tell their split
            said, has = ({split: n for split, n in counts.items() if n} for counts in (said, has))
        if said != has:
            yield f"says {name} {recorded.get(name)}, and the files have {counted[name]}"
    rejects = sum(counted["rejects"].values())
    if counted["samples"] and counted["utterances"] != counted["samples"] + rejects:
        yield f"{counted['utterances']} utterances are not {counted['samples']} samples and {rejects} rejects"


def _repeated(keys: Iterable[str]) -> list[str]:
    return sorted(key for key, count in Counter(keys).items() if count > 1)


def _counted(keys: Sequence[str], fault: str) -> Iterator[str]:
    """One line for all ``keys`` with the same fault, if there are any."""
    if keys:
        yield f"{len(keys)} {fault} (such as {keys[0]})"
