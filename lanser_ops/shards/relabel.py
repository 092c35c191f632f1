"""Shards as a source: which tars are read, what is unpacked from them, and how they are written again.

A tar is a unit, and what a build would have in transcripts/ and scores/ is unpacked from its JSON. From there on
labelling is the same; only the audio of the new shard is copied, not decoded.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from lanser_ops import storage
from lanser_ops.common.errors import InputError
from lanser_ops.labelling.score_store import make_set, write_scores
from lanser_ops.output.dataset import place_names
from lanser_ops.output.directory import OutputDir
from lanser_ops.output.rejects import count_reasons, write_transcripts
from lanser_ops.shards.read import REDACTED, SAMPLE_SCHEMA, Fault, ShardSample, StoredScores, read_samples
from lanser_ops.shards.write import choose_samples, redacted, write_shard
from schemas.records import Reject, make_reject, to_table
from schemas.specs import LabelSpec, ScoringKey, ShardSpec
from schemas.units import ShardTar, StageCounts, Unit

UNPACK = "unpack"
SHARD_NAME = re.compile(r"(train|val)-(\d{5,9})-of-(\d{5,9})\.tar")
EXAMPLE = "train-00000-of-00008.tar"
# Where below a folder its shards may be: in the folder itself, in an output directory, or in its shards/.
FOLDERS = re.compile(r"|shards/[^/]+|[^/]+")
PEEK_THREADS = 16


@dataclass(frozen=True)
class Labelled:
    """The samples of a new shard as its JSON has them, the rejects, and (offset, size) of every FLAC by key.

    ``flac_ranges`` is None for a sidecar.
    """

    samples: list[dict[str, Any]]
    rejects: list[Reject]
    flac_ranges: dict[str, tuple[int, int]] | None


@dataclass(frozen=True)
class ShardSource:
    """What ``--shards`` names. ``stored`` has (scoring key, sentences) of the scores that are in the tars.

    ``speech_classes`` are the classes of each tar's speech model, empty for a tar without one.
    """

    tars: tuple[ShardTar, ...]
    section: dict[str, Any]
    stored: tuple[tuple[ScoringKey, tuple[str, ...]], ...]
    speech_classes: tuple[tuple[str, ...], ...]


def read_source(names: Sequence[str], out: OutputDir, context: int) -> ShardSource:
    """Find the tars and read the first sample of each. ``context`` is that of the new labels.

    Raises InputError, one line, for a name without shards, for tars that are not of one set or lie in ``out``, for a
    tar without a sample that lanser wrote, and for one that holds less than ``context``.
    """
    tars = find_shards(names, out)
    with ThreadPoolExecutor(PEEK_THREADS) as pool:
        firsts = list(pool.map(_first_sample, tars))
    content = hashlib.sha256()
    for tar, (sample, scores) in zip(tars, firsts, strict=True):
        stored_context = scores.scoring_key.context
        if stored_context < context:
            raise InputError(
                f"--context {context}: {tar.path} was labelled with --context {stored_context} and holds no more; give "
                f"at most {stored_context}, or label the transcripts of its build again with lanser label"
            )
        content.update(repr((tar.unit, sample, scores.scoring_key, scores.sentences)).encode())
    section = {
        "inputs": place_names(names),
        "tars": len(tars),
        "asr_models": sorted({sample.asr_model for sample, _ in firsts if sample.asr_model}),
        "sha256": content.hexdigest(),
    }
    stored = {(scores.scoring_key, _distinct(scores)) for _, scores in firsts if scores.entailment is not None}
    classes = tuple(tuple(sample.speech_labels or ()) for sample, _ in firsts)
    return ShardSource(tuple(tars), section, tuple(sorted(stored)), classes)


def find_shards(names: Sequence[str], out: OutputDir) -> list[ShardTar]:
    """The tars that ``names`` (folders, tars, globs) stand for, in the order of their units."""
    sizes: dict[str, int] = {}
    for name in names:
        sizes |= tar_sizes(storage.absolute(name), f"--shards {storage.absolute(name)}")
    tars = sorted((_shard_tar(path, size) for path, size in sizes.items()), key=lambda tar: (tar.unit.index, tar.path))
    first = tars[0]
    for before, tar in zip([first, *tars], tars, strict=False):
        if tar.path.startswith(out.root + "/"):
            raise InputError(f"--output {out.root}: {tar.path} lies in it; write to another folder")
        if tar.unit.count != first.unit.count:
            raise InputError(f"--shards {tar.path}: not of one set with {first.path}; name the shards of one build")
        if tar is not before and tar.unit.index == before.unit.index:
            raise InputError(f"--shards {tar.path}: is the same unit as {before.path}; name one of them")
    return tars


def unpack_unit(out: OutputDir, tar: ShardTar) -> StageCounts:
    """Write the transcripts of a tar, the scores that can be reused, and rejects for what is not a sample.

    Scores are reused where every sample of the tar has those of one model for the same sentences; any other tar is
    scored as a whole.
    """
    unit = tar.unit
    if out.exists(out.transcripts(unit)):
        return StageCounts()
    samples: list[tuple[ShardSample, StoredScores]] = []
    rejects: list[Reject] = []
    with storage.open_read(tar.path) as stream:
        for sample in read_samples(stream):
            if isinstance(sample, Fault):
                rejects.append(_reject(tar, sample))
            elif samples and sample[1].scoring_key.context != samples[0][1].scoring_key.context:
                detail = "its 'context' is not that of the samples before it"
                rejects.append(_reject(tar, Fault(f"{sample[0].key}.json", "bad_sample", detail)))
            else:
                samples.append(sample)
    samples.sort(key=lambda pair: pair[0].key)
    table = to_table([sample for sample, _ in samples], SAMPLE_SCHEMA)
    stored = [scores.entailment for _, scores in samples if scores.entailment is not None]
    kinds = {(scores.scoring_key, scores.sentences) for _, scores in samples}
    if len(kinds) == 1 and len(stored) == len(samples):
        first = samples[0][1]
        score_set, _ = make_set(first.scoring_key, _distinct(first))
        column_of = {sentence: column for column, sentence in enumerate(chain(*first.sentences))}
        columns = [column_of[sentence] for sentence in score_set.hypotheses]
        entailment = np.stack([scores.reshape(-1)[columns] for scores in stored])
        keys = [sample.key for sample, _ in samples]
        write_scores(out, out.scores(score_set, unit), keys, entailment, np.zeros(len(samples), dtype=bool))
    write_transcripts(out, unit, table, rejects)
    audio_s = sum(sample.duration_s for sample, _ in samples)
    return StageCounts(len(samples) + len(rejects), audio_s, rejects=count_reasons(rejects))


def rewrite_unit(
    out: OutputDir,
    tar: ShardTar,
    spec: LabelSpec,
    shard_spec: ShardSpec,
    not_selected: Mapping[str, str] | None = None,
) -> StageCounts:
    """Write the unit's shard with the audio of ``tar``, and the samples that are left out to the unit's rejects.

    ``not_selected`` is that of `write.shard_unit`.
    """
    if out.exists(out.shard(spec.taxonomy.name, tar.unit)):
        return StageCounts()
    labelled = read_labelled(out, tar, spec, shard_spec, not_selected)
    write_labelled(out, tar, spec, labelled)
    return StageCounts(samples=len(labelled.samples), rejects=count_reasons(labelled.rejects))


def read_labelled(
    out: OutputDir,
    tar: ShardTar,
    spec: LabelSpec,
    shard_spec: ShardSpec,
    not_selected: Mapping[str, str] | None = None,
) -> Labelled:
    """The samples of ``tar`` with the unit's new labels; ``not_selected`` is that of `write.shard_unit`."""
    table = out.read_table(out.transcripts(tar.unit))
    keys, offsets, sizes = (table.column(name).to_pylist() for name in ("key", "flac_offset", "flac_bytes"))
    transcripts = table.drop_columns(["flac_offset", "flac_bytes"])
    samples, rejects = choose_samples(out, tar.unit, spec, shard_spec, transcripts, not_selected)
    ranges = dict(zip(keys, zip(offsets, sizes, strict=True), strict=True))
    return Labelled(redacted(samples, shard_spec), rejects, None if shard_spec.sidecar else ranges)


def write_labelled(out: OutputDir, tar: ShardTar, spec: LabelSpec, labelled: Labelled) -> None:
    """Write the unit's shard with the audio of ``tar``, which is copied unchanged, or as a sidecar, without."""
    ranges = labelled.flac_ranges
    if ranges is None:
        write_shard(out, tar.unit, spec, labelled.samples, labelled.rejects, None)
        return
    with storage.slices(tar.path) as read:
        write_shard(out, tar.unit, spec, labelled.samples, labelled.rejects, lambda key: read(*ranges[key]))


def tar_sizes(name: str, where: str) -> dict[str, int]:
    """Sizes of the tars that ``name``, an absolute path, stands for, by path; ``where`` names it in messages.

    Raises InputError where there are none, or several sets.
    """
    if storage.is_remote(name) or not os.path.isdir(name):
        size = storage.file_size(name)
        files = storage.match_glob(name) if size is None else {name: size}
        if files:
            return files
    by_folder: dict[str, dict[str, int]] = {}
    for path, size in storage.list_files(name).items():
        folder, _, base = path[len(name) + 1 :].rpartition("/")
        if SHARD_NAME.fullmatch(base) and FOLDERS.fullmatch(folder):
            by_folder.setdefault(folder, {})[path] = size
    if "" in by_folder:
        return by_folder[""]
    if len(by_folder) > 1:
        folders = ", ".join(storage.join(name, folder) for folder in sorted(by_folder))
        raise InputError(f"{where}: has several sets of shards; name one: {folders}")
    if not by_folder:
        raise InputError(f"{where}: no such tar, and no folder with shards (files such as {EXAMPLE})")
    return next(iter(by_folder.values()))


def _shard_tar(path: str, size: int) -> ShardTar:
    matched = SHARD_NAME.fullmatch(posixpath.basename(path))
    if not matched or int(matched[2]) >= int(matched[3]):
        raise InputError(f"--shards {path}: not named like a shard of lanser, such as {EXAMPLE}")
    return ShardTar(Unit(int(matched[2]), int(matched[3]), matched[1], sources=1, bytes=size), path)


def _first_sample(tar: ShardTar) -> tuple[ShardSample, StoredScores]:
    faults = []
    try:
        with storage.open_read(tar.path) as stream:
            for sample in read_samples(stream):
                if not isinstance(sample, Fault):
                    return sample
                faults.append(sample)
    except OSError as error:
        raise InputError(f"--shards {tar.path}: cannot be read ({' '.join(str(error).split())})") from None
    if faults and faults[0].detail == REDACTED:
        raise InputError(
            f"--shards {tar.path}: {REDACTED}; run lanser label and lanser shard on the folder that it was built in"
        )
    reason = ": ".join(filter(None, (faults[0].member, faults[0].detail))) if faults else "is empty"
    raise InputError(f"--shards {tar.path}: {reason}; name shards that lanser wrote")


def _distinct(scores: StoredScores) -> tuple[str, ...]:
    return tuple(sorted({sentence for row in scores.sentences for sentence in row}))


def _reject(tar: ShardTar, fault: Fault) -> Reject:
    name = f"{tar.unit.shard}/{fault.member}" if fault.member else tar.unit.shard
    return make_reject(name, None, None, UNPACK, fault.reason, fault.detail)
