"""What ``lanser verify`` finds in an output directory that something has happened to."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PART = "part-00001-of-00004.parquet"
TRAIN = "shards/ekman/train-00001-of-00004.tar"
REMAKE = "; delete it, and run the command that made it again"


@pytest.fixture
def output(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


def replace(output: Path, name: str, content: bytes) -> None:
    """Write ``content`` and record it, so that only a look inside can tell."""
    (output / name).write_bytes(content)
    dataset = json.loads((output / "dataset.json").read_text())
    dataset["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (output / "dataset.json").write_text(json.dumps(dataset))


def change_table(output: Path, name: str, change: Callable[[list[dict]], list[dict]]) -> None:
    table = pq.read_table(output / name)
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), stream)
    replace(output, name, stream.getvalue())


def change_tar(output: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with tarfile.open(output / TRAIN) as source:
        members = {member.name: source.extractfile(member).read() for member in source}
    change(members)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as target:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    replace(output, TRAIN, stream.getvalue())


def lines_of(lanser, output: Path) -> list[str]:
    done = lanser("verify", output)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.removeprefix("lanser verify: ").replace(f"{output}/", "").splitlines()


def test_what_a_build_wrote_is_as_recorded(built: Path, lanser):
    done = lanser("verify", built)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{built}: everything is as recorded\n", "")


def test_a_flipped_byte_of_audio(output: Path, lanser):
    with tarfile.open(output / TRAIN) as tar:
        flac = next(member for member in tar if member.name.endswith(".flac"))
    content = bytearray((output / TRAIN).read_bytes())
    content[flac.offset_data + flac.size // 2] ^= 1
    (output / TRAIN).write_bytes(content)
    (line,) = lines_of(lanser, output)
    assert line.startswith(f"{TRAIN}: is not what was written (sha256 ") and line.endswith(REMAKE)


def test_a_shard_that_is_cut_and_one_that_is_gone(output: Path, lanser):
    size = (output / TRAIN).stat().st_size
    with (output / TRAIN).open("r+b") as stream:
        stream.truncate(size // 2)
    (output / "shards/ekman/train-00000-of-00004.tar").unlink()
    lines = lines_of(lanser, output)
    assert lines[0] == "shards/ekman/train-00000-of-00004.tar: is missing; run the command that made it again"
    assert f"{TRAIN}: has {size // 2} bytes, and {size} were written{REMAKE}" in lines


@pytest.mark.parametrize("folder", ["transcripts", "rejects", "labels/ekman"])
def test_a_table_that_is_cut(folder: str, output: Path, lanser):
    name = f"{folder}/{PART}"
    content = (output / name).read_bytes()
    replace(output, name, content[: len(content) // 2])
    assert lines_of(lanser, output)[-1].startswith(f"{name}: is damaged (")


def first_key(members: dict[str, bytes]) -> str:
    return min(members)[:16]


def drop_a_sample(members: dict[str, bytes]) -> None:
    key = first_key(members)
    for extension in ("cls", "flac", "json"):
        del members[f"{key}.{extension}"]


def invent_a_sample(members: dict[str, bytes]) -> None:
    key = first_key(members)
    members |= {f"f{key[1:]}.{extension}": members[f"{key}.{extension}"] for extension in ("cls", "flac", "json")}


def change_a_text(members: dict[str, bytes]) -> None:
    name = f"{first_key(members)}.json"
    members[name] = json.dumps(json.loads(members[name]) | {"text": "Something else."}).encode()


def change_a_class(members: dict[str, bytes]) -> None:
    members[f"{first_key(members)}.cls"] = b"99"


def exchange_the_audio(members: dict[str, bytes]) -> None:
    first, *_, last = sorted(name for name in members if name.endswith(".flac"))
    members[first], members[last] = members[last], members[first]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (drop_a_sample, "1 samples are missing, which have a label and no reject"),
        (invent_a_sample, "1 samples have no label, or are rejects too"),
        (change_a_text, "1 samples differ from the Parquet files in 'text'"),
        (change_a_class, "1 samples have another label in .cls"),
        (exchange_the_audio, "2 samples have audio that is not duration_s long"),
    ],
)
def test_a_shard_that_is_not_in_step_with_the_tables(change, fault: str, output: Path, lanser):
    change_tar(output, change)
    (line,) = lines_of(lanser, output)
    assert line.startswith(f"{TRAIN}: {fault} (such as ") and line.endswith(REMAKE)


def test_labels_that_the_stored_scores_do_not_give(output: Path, lanser):
    name = f"labels/ekman/{PART}"
    change_table(output, name, lambda rows: [{**rows[0], "label_index": 6, "label": "neutral"}, *rows[1:]])
    lines = lines_of(lanser, output)
    assert lines[0].startswith(f"{name}: 1 labels are not those that the stored scores give (such as ")


def test_an_utterance_that_is_lost_and_one_that_is_invented(output: Path, lanser):
    (name,) = [path for path in output.glob("rejects/*") if "broken/truncated.flac" in str(pq.read_table(path))]
    name = str(name.relative_to(output))
    change_table(
        output, name, lambda rows: [row | {"source": "x.wav"} if "truncated" in row["source"] else row for row in rows]
    )
    lines = lines_of(lanser, output)
    transcripts = name.replace("rejects", "transcripts")
    lost = "1 sources of the plan are neither transcripts nor rejects (such as broken/truncated.flac)"
    assert lines[:2] == [
        f"{transcripts}: {lost}{REMAKE}",
        f"{transcripts}: 1 sources are not in the plan (such as x.wav){REMAKE}",
    ]


def test_a_key_that_is_in_two_units(output: Path, lanser):
    (row, *_) = pq.read_table(output / "transcripts" / PART).to_pylist()
    change_table(output, f"transcripts/{PART.replace('1', '0', 1)}", lambda rows: [*rows, row])
    assert f"transcripts: 1 keys are in several units (such as {row['key']}); use another --output" in lines_of(
        lanser, output
    )


def test_counts_that_are_not_those_of_the_files(output: Path, lanser):
    dataset = json.loads((output / "dataset.json").read_text())
    dataset["taxonomies"]["ekman"]["accounts"]["samples"] = 11
    (output / "dataset.json").write_text(json.dumps(dataset))
    fault = "ekman: says samples 11, and the files have 10; run the command that made it again"
    assert lines_of(lanser, output) == [f"dataset.json: {fault}"]


def test_files_of_another_plan_and_files_that_are_not_recorded(output: Path, lanser):
    other = "labels/ekman/part-00001-of-00009.parquet"
    shutil.copy(output / "labels/ekman" / PART, output / other)
    dataset = json.loads((output / "dataset.json").read_text())
    del dataset["files"][TRAIN]
    (output / "dataset.json").write_text(json.dumps(dataset))
    assert lines_of(lanser, output) == [
        f"{other}: belongs to none of the units; delete it",
        f"{TRAIN}: is not recorded in dataset.json; run the command that made it again",
    ]


def test_ten_differences_and_how_many_more(output: Path, lanser):
    for path in [*output.glob("scores/*/part-*"), *output.glob("labels/ekman/*"), *output.glob("rejects/*")]:
        path.unlink()
    lines = lines_of(lanser, output)
    assert len(lines) == 11 and lines[-1].startswith("and ") and lines[-1].endswith(" more")


def test_a_folder_without_a_finished_run_is_bad_input(tmp_path: Path, lanser):
    done = lanser("verify", tmp_path)
    line = f"lanser verify: {tmp_path}: no finished run there (a dataset.json without counts, or none)\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_an_output_in_a_store(built: Path, gcs: str, upload, lanser):
    upload(built, gcs)
    assert lanser("verify", gcs).returncode == 0
