"""WebDataset tars: one sample is ``<key>.cls``, ``<key>.flac`` and ``<key>.json``.

Tars are deterministic: samples in key order, members in name order, no times, no owners. The format is that of the
WebDataset documentation (https://github.com/webdataset/webdataset).
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import IO, Any

import orjson
import pyarrow as pa

from lanser_ops import tar
from lanser_ops.audio.encode import encode_flac
from lanser_ops.audio.recordings import Lost, read_utterances
from lanser_ops.corpus.plan import read_unit
from lanser_ops.labelling.context import CONTEXT_TEXTS, with_context
from lanser_ops.labelling.weak_labels import NO_LABEL
from lanser_ops.output import attempts
from lanser_ops.output.directory import OutputDir
from lanser_ops.output.files import remember
from lanser_ops.output.rejects import count_reasons, shard_stage, write_shard_rejects
from lanser_ops.speech_labelling.classes import voice_label
from lanser_ops.speech_labelling.score import with_scores
from lanser_ops.tar import Buffer
from schemas.records import (
    OPTIONAL_COLUMNS,
    REASONS,
    SPEECH_SCHEMA,
    Reject,
    SourceRow,
    Transcript,
    from_table,
    make_reject,
)
from schemas.specs import LabelSpec, ShardSpec, source_field
from schemas.taxonomy import Taxonomy
from schemas.units import FileRecord, StageCounts, Unit

FLAC_MAGIC = b"fLaC"
# FLAC bytes of a unit are held in memory up to this size, then in a temporary file.
SPOOL_BYTES = 8 << 20
JSON_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY

log = logging.getLogger(__name__)


def shard_unit(
    out: OutputDir,
    unit: Unit,
    roots: Sequence[str],
    spec: LabelSpec,
    shard_spec: ShardSpec,
    asr_model: str,
    not_selected: Mapping[str, str] | None = None,
) -> StageCounts:
    """Write the unit's shard from its recordings, and add the samples that are left out to the unit's rejects.

    ``not_selected`` says, by key, why the selection over all units leaves out a sample (`select.details`).
    A unit that was begun `attempts.MAX_TRIES` times and never finished is set aside: all its samples are left out.
    As it then has no tar, a later job begins it again.
    """
    taxonomy = spec.taxonomy.name
    if out.exists(out.shard(taxonomy, unit)):
        return StageCounts()
    table = out.read_table(out.transcripts(unit))
    is_set_aside = attempts.used_up(out, unit)
    if is_set_aside:  # perhaps before its audio was scored
        shard_spec = replace(shard_spec, agree=False)
    samples, rejects = choose_samples(out, unit, spec, shard_spec, with_asr_model(table, asr_model), not_selected)
    if is_set_aside:
        log.warning(
            "unit %d is set aside after %d tries: %d rejects",
            unit.index,
            attempts.MAX_TRIES,
            len(samples),
            extra={"stage": shard_stage(taxonomy), "unit": unit.index, "reason": "gave_up"},
        )
        rejects += [_reject(sample, spec, "gave_up", attempts.GAVE_UP) for sample in samples]
        write_shard_rejects(out, unit, taxonomy, rejects)
        attempts.forget(out, unit)
        return StageCounts(rejects=count_reasons(rejects))
    chosen = {sample["key"] for sample in samples}
    transcripts = [transcript for transcript in from_table(table, Transcript) if transcript.key in chosen]
    with attempts.attempt(out, unit), tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        ranges, lost = spool_flac(spool, transcripts, read_unit(out, unit), roots)
        faults = [(sample, lost[sample["key"]]) for sample in samples if sample["key"] in lost]
        rejects += [_reject(sample, spec, fault.reason, fault.detail) for sample, fault in faults]
        samples = redacted([sample for sample in samples if sample["key"] in ranges], shard_spec)

        def flac_of(key: str) -> bytes:
            offset, size = ranges[key]
            spool.seek(offset)
            return spool.read(size)

        write_shard(out, unit, spec, samples, rejects, flac_of)
    return StageCounts(samples=len(samples), rejects=count_reasons(rejects))


def with_asr_model(transcripts: pa.Table, asr_model: str) -> pa.Table:
    """``transcripts`` of a build with a column ``asr_model``, null where the text came with the input."""
    logprobs = transcripts.column("avg_logprob").to_pylist()
    models = [None if logprob is None else asr_model for logprob in logprobs]
    return transcripts.append_column("asr_model", pa.array(models, pa.string()))


def choose_samples(
    out: OutputDir,
    unit: Unit,
    spec: LabelSpec,
    shard_spec: ShardSpec,
    transcripts: pa.Table,
    not_selected: Mapping[str, str] | None = None,
) -> tuple[list[dict[str, Any]], list[Reject]]:
    """The samples of the unit's shard, as its JSON has them and in key order, and rejects for the others.

    ``transcripts`` has the columns of a transcript and ``asr_model``, null where the text came with the input, and
    those of SPEECH_SCHEMA where scores come with it. ``not_selected`` is that of `shard_unit`.
    """
    not_selected = not_selected or {}
    if shard_spec.speech:
        transcripts = with_scores(out, unit, transcripts, shard_spec.speech)
    labels = out.read_table(out.labels(spec.taxonomy.name, unit))
    if labels.column("key") != transcripts.column("key"):
        raise out.damaged(out.labels(spec.taxonomy.name, unit), "its rows are not those of the transcripts")
    samples, rejects = [], []
    for row in sample_rows(with_context(transcripts, spec.context), labels):
        dropped = drop_reason(row, shard_spec, spec.taxonomy)
        if dropped:
            rejects.append(_reject(row, spec, *dropped))
        elif row["key"] in not_selected:
            rejects.append(_reject(row, spec, "not_selected", not_selected[row["key"]]))
        else:
            samples.append(row)
    return samples, rejects


def redacted(samples: list[dict[str, Any]], shard_spec: ShardSpec) -> list[dict[str, Any]]:
    """``samples`` as they are written: with ``shard_spec.redact`` without their transcripts and context."""
    if not shard_spec.redact:
        return samples
    return [
        {**{name: value for name, value in sample.items() if name != CONTEXT_TEXTS}, "text": None} for sample in samples
    ]


def write_shard(
    out: OutputDir,
    unit: Unit,
    spec: LabelSpec,
    samples: Sequence[dict[str, Any]],
    rejects: list[Reject],
    flac_of: Callable[[str], Buffer] | None,
) -> None:
    """Write the unit's rejects of this taxonomy, then its tar; ``flac_of`` is that of `tar_members`.

    A unit without a sample gets no tar: readers fail on an empty one.
    """
    write_shard_rejects(out, unit, spec.taxonomy.name, rejects)
    if samples:
        name = out.shard(spec.taxonomy.name, unit)
        with out.writer(name) as stream:
            record = FileRecord(name, *tar.write_tar(stream, tar_members(samples, flac_of, spec)))
        remember(out, record)


def _reject(row: Mapping[str, Any], spec: LabelSpec, reason: str, detail: str) -> Reject:
    return make_reject(row["source"], row["start_s"], row["end_s"], shard_stage(spec.taxonomy.name), reason, detail)


def fields_of_all(spec: LabelSpec) -> dict[str, Any]:
    """The part of ``<key>.json`` that all samples of a taxonomy share."""
    return {
        "taxonomy": spec.taxonomy.name,
        "labels": list(spec.taxonomy.label_names),
        "hypotheses": [list(label.hypotheses) for label in spec.taxonomy.labels],
        "aggregate": spec.taxonomy.aggregate,
        "templates": list(spec.templates),
        "nli_model": spec.nli_model.id,
        **spec.key.fields,
        "prior": spec.prior,
        "prior_strength": spec.prior_strength,
        "neutral_threshold": spec.neutral_threshold,
        "temperature": spec.temperature,
        **source_field(spec.label_source),
    }


def sample_rows(transcripts: pa.Table, labels: pa.Table) -> Iterator[dict[str, Any]]:
    """The columns of both tables, which have the same rows, as ``<key>.json`` holds them.

    A sample without a value of one of OPTIONAL_COLUMNS, or whose audio no speech model has scored, lacks those fields.
    """
    if not len(labels.column("template_labels").combine_chunks().flatten()):
        labels = labels.drop_columns(["template_labels", "template_entailment"])
    if not len(labels.column("hypothesis_scores").combine_chunks().flatten()):
        labels = labels.drop_columns(["hypothesis_scores"])
    columns = {**_columns(transcripts), **_columns(labels)}
    flags = zip(_flags(transcripts), _flags(labels), strict=True)
    columns["flags"] = [of_transcript + of_label for of_transcript, of_label in flags]
    optional = {*OPTIONAL_COLUMNS, *SPEECH_SCHEMA.names}
    for values in zip(*columns.values(), strict=True):
        row = zip(columns, values, strict=True)
        yield {name: value for name, value in row if value is not None or name not in optional}


def _columns(table: pa.Table) -> dict[str, list]:
    return {name: _values(table.column(name).combine_chunks()) for name in table.column_names}


def _flags(table: pa.Table) -> list[list[str]]:
    return table.column("flags").to_pylist()


def _values(column: pa.Array) -> list:
    """A column's values. float32 stay numpy's, alone and in lists: orjson writes their six digits, not a double's 17.

    Lists of float32 have the same lengths in all rows.
    """
    values, shape = column, [len(column)]
    while pa.types.is_list(values.type):
        values = values.flatten()
        shape.append(len(values) // max(1, math.prod(shape)))
    return list(values.to_numpy().reshape(shape)) if pa.types.is_float32(values.type) else column.to_pylist()


def shortest(value: float) -> float:
    """A float32 as the decimal that it was rounded to: six significant digits, not the 17 of its double."""
    return float(f"{value:.6g}")


def drop_reason(row: Mapping[str, Any], spec: ShardSpec, taxonomy: Taxonomy) -> tuple[str, str] | None:
    """(reason, detail) if the utterance is left out of the shards, else None."""
    if NO_LABEL in row["flags"]:
        return NO_LABEL, REASONS[NO_LABEL]
    if row["flags"] and not spec.keep_flagged:
        return row["flags"][0], f"flags {', '.join(row['flags'])}; --keep-flagged keeps such utterances"
    if row["score"] < spec.min_score:
        return "low_score", f"{row['label']} scores {shortest(row['score'])}, --min-score is {spec.min_score}"
    if row["margin"] < spec.min_margin:
        return "low_margin", f"{row['label']} leads by {shortest(row['margin'])}, --min-margin is {spec.min_margin}"
    if spec.agree:
        return _disagreement(row, taxonomy)
    return None


def _disagreement(row: Mapping[str, Any], taxonomy: Taxonomy) -> tuple[str, str] | None:
    """(reason, detail) unless the voice favours the label of the text."""
    names = taxonomy.label_names
    voice = voice_label(row["speech_labels"], row["speech_scores"], names) if row.get("speech_scores") else None
    if voice is None:
        return "disagreement", "no speech model has scored its audio for labels of the taxonomy; --agree asks for that"
    label, score = voice
    if label == row["label"]:
        return None
    text = f"the text says {row['label']} ({shortest(row['score'])})"
    return "disagreement", f"{text}, the voice {label} ({shortest(score)}); --agree leaves such utterances out"


def spool_flac(
    spool: IO[bytes], transcripts: Sequence[Transcript], rows: Sequence[SourceRow], roots: Sequence[str]
) -> tuple[dict[str, tuple[int, int]], dict[str, Lost]]:
    """Decode the audio of ``transcripts`` and append each utterance as FLAC to ``spool``.

    Returns (offset, size) in the spool by key, and by key what is lost of the others.
    """
    ranges: dict[str, tuple[int, int]] = {}
    lost: dict[str, Lost] = {}
    for utterance, samples in read_utterances(transcripts, rows, roots):
        if isinstance(samples, Lost):
            lost[utterance.key] = samples
        else:
            flac = encode_flac(samples)
            ranges[utterance.key] = (spool.tell(), len(flac))
            spool.write(flac)
    return ranges, lost


def tar_members(
    samples: Iterable[dict[str, Any]], flac_of: Callable[[str], Buffer] | None, spec: LabelSpec
) -> Iterator[tuple[bytes, Buffer]]:
    """(name, content) of the tar's members: three for every sample, in name order.

    ``samples`` are in key order; ``flac_of`` gives the FLAC of a key, and is None for a sidecar, which has two members.
    """
    shared = fields_of_all(spec)
    for sample in samples:
        key = sample["key"].encode()
        yield key + b".cls", b"%d" % sample["label_index"]
        if flac_of:
            yield key + b".flac", flac_of(sample["key"])
        yield key + b".json", orjson.dumps(sample | shared, option=JSON_OPTIONS)
