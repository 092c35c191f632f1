"""Files that were damaged after they were finished: removed before a job whose stages make them again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lanser_ops.common.errors import InputError
from lanser_ops.output.directory import OutputDir
from lanser_ops.output.files import SHARD, damaged
from schemas.units import FileRecord

SHOWN = 10
# Which stage of `JobSpec.stages` makes the files of a folder.
STAGES = {"transcripts": "transcribe", "rejects": "transcribe", "scores": "score", "speech": "speech"}
STAGES |= {"labels": "label", "shards": "shard"}


def remove_damaged(
    out: OutputDir, recorded: Mapping[str, FileRecord], stages: Collection[str], taxonomy: str | None
) -> list[str]:
    """Remove the damaged files that ``stages`` make again; returns a line for each, of many for the first.

    Files of other taxonomies are left alone. A unit whose rejects are damaged is begun anew, since they hold what its
    shards leave out. Raises InputError for a damaged file that the stages only read.
    """
    existing = out.names()
    writing = {"transcribe" if stage == "unpack" else stage for stage in stages}
    reading = {"transcribe", "label"} if "shard" in writing else {"transcribe"}
    faults = {name: fault for name, fault in damaged(out, existing, recorded).items() if _concerns(name, taxonomy)}
    for name, fault in faults.items():
        stage = STAGES[name.split("/")[0]]
        if stage in reading - writing:  # which are also the names of the commands
            raise InputError(
                f"{out.path(name)}: {fault}; run lanser {stage} or lanser build again, which makes it again"
            )
    faults = {name: fault for name, fault in faults.items() if STAGES[name.split("/")[0]] in writing}
    doomed = set(faults) & existing.keys()
    for name in faults:
        if name.startswith("rejects/"):
            doomed |= _of_unit(name, existing)
    out.delete(sorted(doomed))
    lines = [f"{name}: {fault}; it is made again" for name, fault in faults.items()]
    lines += [
        f"{name}: removed with the rejects of its unit; the command that made it makes it again"
        for name in sorted(doomed - set(faults))
        if SHARD.fullmatch(name) and not _concerns(name, taxonomy)
    ]
    return lines[:SHOWN] + ([f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])


def _concerns(name: str, taxonomy: str | None) -> bool:
    """Whether a job for ``taxonomy`` reads or writes the file."""
    folder, inside = name.split("/")[:2]
    return folder not in ("labels", "shards") or inside == taxonomy


def _of_unit(rejects: str, existing: Collection[str]) -> set[str]:
    """The files of a unit that are made together with its ``rejects``: those, its transcripts and its shards."""
    part = rejects.split("/")[1]
    numbers = part.removeprefix("part-").removesuffix(".parquet")
    shards = {name for name in existing if SHARD.fullmatch(name) and name.endswith(f"-{numbers}.tar")}
    return shards | ({rejects, f"transcripts/{part}"} & set(existing))
