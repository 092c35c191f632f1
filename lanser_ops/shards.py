"""WebDataset tars: one sample is ``<key>.cls``, ``<key>.flac`` and ``<key>.json``.

Tars are deterministic: samples in key order, members in name order, no times, no owners. The format is
that of the WebDataset documentation (https://github.com/webdataset/webdataset).
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from lanser_ops import recordings
from lanser_ops.audio import AudioError, encode_flac
from lanser_ops.dataset import LabelSpec, ShardSpec
from schemas.records import SourceRow, Transcript, WeakLabel


@dataclass(frozen=True)
class Sample:
    """An utterance as it goes into a shard; ``asr_model`` is None where the transcript was given."""

    transcript: Transcript
    label: WeakLabel
    asr_model: str | None


def sample_json(sample: Sample, spec: LabelSpec) -> dict[str, Any]:
    """What ``<key>.json`` holds: the transcript's and the label's columns, and where they come from."""
    transcript, label = sample.transcript, sample.label
    return {
        "key": transcript.key,
        "source": transcript.source,
        "start_s": transcript.start_s,
        "end_s": transcript.end_s,
        "duration_s": transcript.duration_s,
        "speaker": transcript.speaker,
        "text": transcript.text,
        "language": transcript.language,
        "avg_logprob": transcript.avg_logprob,
        "no_speech_prob": transcript.no_speech_prob,
        "compression_ratio": transcript.compression_ratio,
        "flags": [*transcript.flags, *label.flags],
        "label": label.label,
        "label_index": label.label_index,
        "score": shortest(label.score),
        "margin": shortest(label.margin),
        "entailment": [shortest(score) for score in label.entailment],
        "taxonomy": spec.taxonomy.name,
        "labels": [one.name for one in spec.taxonomy.labels],
        "hypotheses": [one.hypothesis for one in spec.taxonomy.labels],
        "templates": list(spec.templates),
        "asr_model": sample.asr_model,
        "nli_model": spec.nli_model.id,
        "nli_sha256": spec.nli_model.sha256,
    }


def shortest(value: float) -> float:
    """A float32 as the decimal it was rounded to: six significant digits, not the 17 of its double."""
    return float(f"{value:.6g}")


def drop_reason(transcript: Transcript, label: WeakLabel, spec: ShardSpec) -> tuple[str, str] | None:
    """(reason, detail) where the utterance is left out of the shards, None where it goes in."""
    flags = [*transcript.flags, *label.flags]
    if flags and not spec.keep_flagged:
        return flags[0], f"flags {', '.join(flags)}; --keep-flagged keeps such utterances"
    if label.score < spec.min_score:
        return "low_score", f"{label.label} scores {shortest(label.score)}, --min-score is {spec.min_score}"
    if label.margin < spec.min_margin:
        return (
            "low_margin",
            f"{label.label} leads by {shortest(label.margin)}, --min-margin is {spec.min_margin}",
        )
    return None


def write_samples(stream: BinaryIO, members: Iterable[tuple[str, bytes]]) -> None:
    """Write (name, content) members, already in order, as a whole tar.

    An error half-way leaves the tar without its end, so that nobody takes it for a whole one.
    """
    tar = tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
    for name, content in members:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        info.mode = 0o644
        tar.addfile(info, io.BytesIO(content))
    tar.close()


def sample_members(key: str, flac: bytes, fields: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The three members of one sample, in name order."""
    yield f"{key}.cls", str(fields["label_index"]).encode()
    yield f"{key}.flac", flac
    yield f"{key}.json", json.dumps(fields, ensure_ascii=False, sort_keys=True).encode()


def spool_flac(
    spool: BinaryIO, transcripts: Sequence[Transcript], rows: Sequence[SourceRow], roots: Sequence[str]
) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[str, str]]]:
    """Decode the audio of ``transcripts`` and append each utterance as FLAC to ``spool``.

    Returns (offset, size) in the spool by key, and (reason, detail) by key for those whose recording no
    longer gives the audio that was transcribed. Each recording is decoded once, in a stream.
    """
    wanted: dict[str, list[Transcript]] = {}
    for transcript in transcripts:
        wanted.setdefault(transcript.source, []).append(transcript)
    places: dict[str, tuple[int, int]] = {}
    lost: dict[str, tuple[str, str]] = {}
    for group in recordings.by_recording(rows):
        cut = wanted.pop(group[0].source, [])
        if not cut:
            continue
        ranges = [(recordings.to_samples(one.start_s), recordings.to_samples(one.end_s)) for one in cut]
        fault = ("decode_error", "the recording has changed since it was transcribed")
        try:
            for index, samples in recordings.cut_blocks(recordings.decode_recording(group[0], roots), ranges):
                if len(samples) == ranges[index][1] - ranges[index][0]:
                    flac = encode_flac(samples)
                    places[cut[index].key] = (spool.tell(), len(flac))
                    spool.write(flac)
        except AudioError as error:  # at the end of a long recording: what came before it is whole
            fault = (error.reason, error.detail)
        except OSError as error:
            fault = ("missing", " ".join(str(error).split()))
        lost.update({one.key: fault for one in cut if one.key not in places})
    return places, lost


def spooled_members(
    spool: BinaryIO, places: dict[str, tuple[int, int]], samples: Sequence[Sample], spec: LabelSpec
) -> Iterator[tuple[str, bytes]]:
    """The tar members of ``samples``, in key order, their audio read back from ``spool``."""
    for sample in sorted(samples, key=lambda one: one.transcript.key):
        offset, size = places[sample.transcript.key]
        spool.seek(offset)
        yield from sample_members(sample.transcript.key, spool.read(size), sample_json(sample, spec))
