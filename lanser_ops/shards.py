"""WebDataset tars: one sample is ``<key>.cls``, ``<key>.flac`` and ``<key>.json``.

Tars are deterministic: samples in key order, members in name order, no times, no owners. The format is
that of the WebDataset documentation (https://github.com/webdataset/webdataset).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import orjson
import pyarrow as pa

from lanser_ops import recordings
from lanser_ops.audio import AudioError, encode_flac
from lanser_ops.dataset import LabelSpec, ShardSpec
from lanser_ops.tars import Buffer
from schemas.records import SourceRow, Transcript

FLAC_MAGIC = b"fLaC"
JSON_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY


def fields_of_all(spec: LabelSpec) -> dict[str, Any]:
    """The part of ``<key>.json`` that all samples of a taxonomy share."""
    return {
        "taxonomy": spec.taxonomy.name,
        "labels": [one.name for one in spec.taxonomy.labels],
        "hypotheses": [one.hypothesis for one in spec.taxonomy.labels],
        "templates": list(spec.templates),
        "nli_model": spec.nli_model.id,
        "nli_sha256": spec.nli_model.sha256,
        "against": spec.against,
        "prior": spec.prior,
    }


def sample_rows(transcripts: pa.Table, labels: pa.Table) -> Iterator[dict[str, Any]]:
    """The columns of both tables, which have the same rows, as ``<key>.json`` holds them."""
    columns = {**_columns(transcripts), **_columns(labels)}
    columns["flags"] = [heard + said for heard, said in zip(_flags(transcripts), columns["flags"], strict=True)]
    if not any(columns["template_labels"]):
        del columns["template_labels"], columns["template_entailment"]
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _columns(table: pa.Table) -> dict[str, list]:
    return {name: _values(table.column(name).combine_chunks()) for name in table.column_names}


def _flags(table: pa.Table) -> list[list[str]]:
    return table.column("flags").to_pylist()


def _values(column: pa.Array) -> list:
    """A column's values; float32 stay numpy's, which are written with the digits that they have: six, not 17."""
    if pa.types.is_float32(column.type):
        return list(column.to_numpy())
    if pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type):
        return list(column.flatten().to_numpy().reshape(len(column), -1)) if len(column) else []
    return column.to_pylist()


def shortest(value: float) -> float:
    """A float32 as the decimal it was rounded to: six significant digits, not the 17 of its double."""
    return float(f"{value:.6g}")


def drop_reason(row: Mapping[str, Any], spec: ShardSpec) -> tuple[str, str] | None:
    """(reason, detail) where the utterance is left out of the shards, None where it goes in."""
    if row["flags"] and not spec.keep_flagged:
        return row["flags"][0], f"flags {', '.join(row['flags'])}; --keep-flagged keeps such utterances"
    if row["score"] < spec.min_score:
        return "low_score", f"{row['label']} scores {shortest(row['score'])}, --min-score is {spec.min_score}"
    if row["margin"] < spec.min_margin:
        return "low_margin", f"{row['label']} leads by {shortest(row['margin'])}, --min-margin is {spec.min_margin}"
    return None


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


def tar_members(
    samples: Iterable[dict[str, Any]], flac_of: Callable[[str], Buffer], spec: LabelSpec
) -> Iterator[tuple[bytes, Buffer]]:
    """(name, content) of what goes into the tar: of every sample the three members, in name order.

    ``samples`` are in key order; ``flac_of`` gives the FLAC of a key.
    """
    shared = fields_of_all(spec)
    for sample in samples:
        key = sample["key"].encode()
        yield key + b".cls", b"%d" % sample["label_index"]
        yield key + b".flac", flac_of(sample["key"])
        yield key + b".json", orjson.dumps(sample | shared, option=JSON_OPTIONS)
