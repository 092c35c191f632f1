"""What --input names: folders, globs, manifests, tars, and mixtures of them."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lanser_ops.common.errors import InputError
from lanser_ops.corpus.sources import full_paths, read_sources


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 10)


def sources(tmp_path: Path, *inputs: Path | str) -> list[str]:
    return sorted(read_sources([str(name) for name in inputs], str(tmp_path / "out")).rows.column("source").to_pylist())


def test_folder_is_searched_and_other_files_are_left_alone(tmp_path):
    touch(tmp_path, "in/a.wav", "in/sub/deep/b.FLAC", "in/notes.txt", "in/.hidden.wav", "in/.git/c.wav")
    assert sources(tmp_path, tmp_path / "in") == ["a.wav", "sub/deep/b.FLAC"]


def test_folder_with_pattern_characters_in_its_name(tmp_path):
    touch(tmp_path, "take [1]*/a.wav", "take 1/b.wav")
    assert sources(tmp_path, tmp_path / "take [1]*") == ["a.wav"]


def test_glob_and_file(tmp_path):
    touch(tmp_path, "in/a.wav", "in/b.wav", "in/c.mp3", "in/sub/d.wav")
    assert sources(tmp_path, tmp_path / "in" / "*.wav") == ["a.wav", "b.wav"]
    assert sources(tmp_path, tmp_path / "in" / "**.wav") == ["a.wav", "b.wav", "sub/d.wav"]
    assert sources(tmp_path, tmp_path / "in" / "c.mp3") == ["c.mp3"]


def test_output_below_the_input_is_not_an_input(tmp_path):
    touch(tmp_path, "a.wav", "out/shards/ekman/train-00000-of-00001.tar")
    assert sources(tmp_path, tmp_path) == ["a.wav"]


def test_the_same_file_by_two_names_is_one_source(tmp_path):
    touch(tmp_path, "in/a.wav", "in/sub/b.wav")
    inputs = [tmp_path / "in" / "sub", tmp_path / "in", tmp_path / "in" / "*.wav"]
    assert sources(tmp_path, *inputs) == ["a.wav", "sub/b.wav"]


def test_equal_names_below_two_folders_are_told_apart(tmp_path):
    touch(tmp_path, "first/x/a.wav", "second/x/a.wav", "second/x/b.wav")
    expanded = read_sources([str(tmp_path / "second/x"), str(tmp_path / "first/x")], str(tmp_path / "out"))
    assert sorted(expanded.rows.column("source").to_pylist()) == ["b.wav", "first/x/a.wav", "second/x/a.wav"]
    assert sorted(full_paths(expanded.rows, expanded.roots).to_pylist()) == [
        str(tmp_path / "first/x/a.wav"), str(tmp_path / "second/x/a.wav"), str(tmp_path / "second/x/b.wav"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_manifest(tmp_path, kind):
    touch(tmp_path, "in/a.wav", "in/b.wav")
    rows = [
        {"path": "a.wav", "start_s": 1.0, "end_s": 2.5, "speaker": "7", "text": "Hello, you", "other": 3},
        {"path": "./sub/../b.wav", "start_s": None, "end_s": None, "speaker": None, "text": None, "other": 4},
    ]
    file = tmp_path / "in" / f"list.{kind}"
    if kind == "csv":
        file.write_text('path,start_s,end_s,speaker,text,other\na.wav,1,2.5,7,"Hello, you",3\n./sub/../b.wav,,,,,4\n')
    elif kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    table = read_sources([str(file)], str(tmp_path / "out")).rows.to_pylist()
    assert [(row["source"], row["start_s"], row["end_s"], row["speaker"], row["text"]) for row in table] == [
        ("a.wav", 1.0, 2.5, "7", "Hello, you"),
        ("b.wav", None, None, None, None),
    ]
    assert [row["bytes"] for row in table] == [48000, 10]


def test_manifest_paths_outside_its_folder(tmp_path):
    touch(tmp_path, "data/x/a.wav", "data/y/b.wav", "lists/c.wav")
    (tmp_path / "lists" / "m.csv").write_text(f"path\n{tmp_path}/data/x/a.wav\n../data/y/b.wav\nc.wav\n")
    expanded = read_sources([str(tmp_path / "lists" / "m.csv")], str(tmp_path / "out"))
    assert sorted(expanded.rows.column("source").to_pylist()) == ["c.wav", "x/a.wav", "y/b.wav"]
    assert expanded.roots == (str(tmp_path / "data"), str(tmp_path / "lists"))


def test_manifest_paths_all_over_the_machine_do_not_become_names(tmp_path):
    paths = [
        "/home/ann/rec/a.wav",
        "/home/ann/rec/old/b.wav",
        "/home/bob/c.wav",
        "/srv/speech/d.wav",
        "gs://bucket/e.wav",
    ]
    (tmp_path / "m.csv").write_text("\n".join(["path,bytes", *(f"{path},9" for path in paths)]))
    expanded = read_sources([str(tmp_path / "m.csv")], str(tmp_path / "out"))
    assert sorted(expanded.rows.column("source").to_pylist()) == ["a.wav", "c.wav", "d.wav", "e.wav", "old/b.wav"]
    assert sorted(full_paths(expanded.rows, expanded.roots).to_pylist()) == sorted(paths)


def test_manifest_rows_win_over_a_folder_that_holds_the_same_files(tmp_path):
    touch(tmp_path, "in/a.wav", "in/b.wav")
    (tmp_path / "in" / "m.csv").write_text("path,text\na.wav,hello\n")
    expanded = read_sources([str(tmp_path / "in"), str(tmp_path / "in" / "m.csv")], str(tmp_path / "out"))
    assert sorted((row["source"], row["text"]) for row in expanded.rows.to_pylist()) == [
        ("a.wav", "hello"),
        ("b.wav", None),
    ]


def make_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_tar_members(tmp_path):
    make_tar(tmp_path / "s.tar", {"u1.flac": b"abc", "u1.json": b"{}", "../../u2.wav": b"defg", "/etc/u3.mp3": b"h"})
    members = read_sources([str(tmp_path / "s.tar")], str(tmp_path / "out")).rows.to_pylist()
    assert [row["source"] for row in members] == ["s.tar/u1.flac", "s.tar/../../u2.wav", "s.tar//etc/u3.mp3"]
    content = (tmp_path / "s.tar").read_bytes()
    assert [content[row["offset"] :][: row["bytes"]] for row in members] == [b"abc", b"defg", b"h"]


def test_broken_tar_becomes_a_row_of_its_own(tmp_path):
    make_tar(tmp_path / "s.tar", {"u1.flac": b"a" * 2000, "u2.flac": b"b" * 2000})
    (tmp_path / "s.tar").write_bytes((tmp_path / "s.tar").read_bytes()[:3000] + b"\xff" * 700)
    (tmp_path / "no.tar").write_bytes(b"not a tar at all" * 100)
    assert sources(tmp_path, tmp_path) == ["no.tar", "s.tar", "s.tar/u1.flac"]


def test_order_of_inputs_does_not_matter(tmp_path):
    touch(tmp_path, "x/a.wav", "y/b.wav", "z/c.wav")
    inputs = [str(tmp_path / name) for name in ("x", "y", "z")]
    assert read_sources(inputs, "/out") == read_sources(inputs[::-1], "/out")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("path,dialogue\na.wav,x\nb.wav,\nc.wav,x\n", [("x", 1), (None, None), ("x", 3)]),
        ("path,dialogue,turn\na.wav,x,7\nb.wav,,1\nc.wav,x,-2\n", [("x", 7), (None, None), ("x", -2)]),
        ("path,turn\na.wav,1\nb.wav,2\nc.wav,3\n", [(None, None)] * 3),
    ],
    ids=["in order", "with turns", "without dialogues"],
)
def test_dialogues_of_a_manifest(tmp_path, content, expected):
    touch(tmp_path, "a.wav", "b.wav", "c.wav")
    (tmp_path / "m.csv").write_text(content)
    rows = read_sources([str(tmp_path / "m.csv")], str(tmp_path / "out")).rows.to_pylist()
    assert [(row["dialogue"], row["turn"]) for row in rows] == expected


def test_a_dialogue_without_a_turn_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("path,dialogue,turn\na.wav,x,1\nb.wav,,\nc.wav,x,\n")
    line = refusal(tmp_path, tmp_path / "m.csv")
    assert line == f"--input {tmp_path}/m.csv: row 3 has a dialogue but no turn, which other rows have"


def test_a_dialogue_in_two_manifests_is_refused(tmp_path):
    touch(tmp_path, "in/a.wav", "b.wav")
    (tmp_path / "in" / "m.csv").write_text("path,dialogue\na.wav,x\n../b.wav,x\n")
    (tmp_path / "n.csv").write_text("path,dialogue\nb.wav,y\nb.wav,x\n")
    assert len(read_sources([str(tmp_path / "in" / "m.csv")], "/out").rows) == 2
    with pytest.raises(InputError) as raised:
        read_sources([str(tmp_path / "in" / "m.csv"), str(tmp_path / "n.csv")], "/out")
    assert str(raised.value) == (
        f"--input {tmp_path}/n.csv: the dialogue 'x' is also in {tmp_path}/in/m.csv; "
        "give every dialogue a name of its own"
    )


def test_manifest_without_rows(tmp_path):
    (tmp_path / "m.csv").write_text("path,text\n")
    with pytest.raises(InputError, match=r"m\.csv: the manifest has no rows"):
        read_sources([str(tmp_path / "m.csv")], "/out")


def refusal(tmp_path: Path, name: Path) -> str:
    with pytest.raises(InputError) as raised:
        read_sources([str(name)], str(tmp_path / "out"))
    return str(raised.value)


def test_a_tar_without_audio_is_refused(tmp_path):
    """Bug: an IndexError, from the plan of no rows."""
    make_tar(tmp_path / "s.tar", {"notes.txt": b"hello"})
    line = refusal(tmp_path, tmp_path / "s.tar")
    assert line.startswith(f"--input {tmp_path}/s.tar: no audio in these files (looked for aac, aif, ")
    make_tar(tmp_path / "with_audio.tar", {"u1.wav": b"x"})
    assert sources(tmp_path, tmp_path / "*.tar") == ["with_audio.tar/u1.wav"]


@pytest.mark.parametrize("name", ["out/a.wav", "out/*.wav", "out/shards"])
def test_an_input_below_the_output_is_refused(tmp_path, name):
    """Bug: "Must pass at least one table"."""
    touch(tmp_path, "out/a.wav", "out/shards/b.tar", "c.wav")
    assert refusal(tmp_path, tmp_path / name) == (
        f"--input {tmp_path}/{name}: lies below --output {tmp_path}/out, whose files are never read as input"
    )


@pytest.mark.parametrize("field", ["start_s", "end_s"])
@pytest.mark.parametrize("value", ["inf", "-inf", "1e300"])
def test_an_absurd_time_does_not_outweigh_the_other_rows(tmp_path, field, value):
    touch(tmp_path, "a.wav", "b.wav")
    times = {"start_s": "1", "end_s": "2"} | {field: value}
    (tmp_path / "m.csv").write_text(f"path,start_s,end_s\na.wav,{times['start_s']},{times['end_s']}\nb.wav,0,2\n")
    rows = read_sources([str(tmp_path / "m.csv")], "/out").rows.to_pylist()
    assert [(row["source"], row["bytes"]) for row in rows] == [("a.wav", 10), ("b.wav", 64000)]


def test_urls_of_local_files_are_paths_and_other_addresses_are_left_to_the_workers(tmp_path):
    """Bug: `file://` and `http://` rows stopped the job."""
    touch(tmp_path, "a b.wav", "c.wav", "d.wav")
    urls = [f"file://{tmp_path}/a%20b.wav", f"file://localhost{tmp_path}/c.wav", f"FILE:{tmp_path}/d.wav"]
    others = ["http://host/e.wav", "hdfs://host/f.wav", "file://host/g.wav"]
    (tmp_path / "m.csv").write_text("path\n" + "\n".join(urls + others))
    expanded = read_sources([str(tmp_path / "m.csv")], "/out")
    paths = full_paths(expanded.rows, expanded.roots).to_pylist()
    assert dict(zip(paths, expanded.rows.column("bytes").to_pylist(), strict=True)) == {
        f"{tmp_path}/a b.wav": 10, f"{tmp_path}/c.wav": 10, f"{tmp_path}/d.wav": 10,
        "http://host/e.wav": 0, "hdfs://host/f.wav": 0, "file://host/g.wav": 0,
    }  # fmt: skip


def test_shards_of_an_earlier_output_are_left_out_with_a_warning(tmp_path, caplog):
    make_tar(tmp_path / "in/old/shards/ekman/train-00000-of-00001.tar", {"u1.flac": b"abc"})
    (tmp_path / "in/old/dataset.json").write_text('{"schema_version": 1}')
    make_tar(tmp_path / "in/other/shards/x.tar", {"u2.flac": b"abc"})
    (tmp_path / "in/other/dataset.json").write_text("[]")
    assert sources(tmp_path, tmp_path / "in") == ["other/shards/x.tar/u2.flac"]
    assert sources(tmp_path, tmp_path / "in" / "**.tar") == ["other/shards/x.tar/u2.flac"]
    assert caplog.messages[0] == (
        f"--input {tmp_path}/in: leaves out 1 shards of an earlier output; naming their folder reads them"
    )
    assert sources(tmp_path, tmp_path / "in/old/shards/ekman") == ["train-00000-of-00001.tar/u1.flac"]


@pytest.mark.parametrize("size", [2**60, -1024])
def test_a_member_that_claims_more_than_the_tar_has_makes_it_broken(tmp_path, size):
    """Bug: MemoryError ended the job."""
    make_tar(tmp_path / "s.tar", {"u1.flac": b"a" * 600})
    liar = tarfile.TarInfo("u2.flac")
    liar.size = size
    pax = tarfile.TarInfo("u3.flac")
    pax.pax_headers = {"size": str(size)}
    whole = (tmp_path / "s.tar").read_bytes()[: 512 + 1024]
    (tmp_path / "s.tar").write_bytes(whole + liar.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    (tmp_path / "pax.tar").write_bytes(whole + pax.tobuf(tarfile.PAX_FORMAT) + bytes(4096))
    assert sources(tmp_path, tmp_path) == ["pax.tar", "pax.tar/u1.flac", "s.tar", "s.tar/u1.flac"]


def test_a_pipe_for_a_manifest_is_refused(tmp_path):
    """Bug: the command waited for its writer."""
    os.mkfifo(tmp_path / "m.csv")
    assert refusal(tmp_path, tmp_path / "m.csv").startswith(f"--input {tmp_path}/m.csv: no such file")


def test_names_that_are_not_utf_8_are_told_apart(tmp_path):
    for name in (b"caf\xe9.wav", b"caf\xe8.wav"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
    assert sources(tmp_path, tmp_path) == [r"caf\xe8.wav", r"caf\xe9.wav"]
