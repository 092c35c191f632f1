"""``lanser export-shards``: what it refuses, in one line, and that it leaves nothing half-done."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest

from lanser_ops.exports.formats import FORMATS

# A WAV file of two samples.
WAV = b"RIFF(\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0data\4\0\0\0\0\0\0\0"


def error_of(lanser, *argv: object) -> str:
    """The one line with which ``lanser export-shards`` refuses."""
    done = lanser("export-shards", *argv)
    assert done.returncode == 2 and done.stdout == "", done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line.removeprefix("lanser export-shards: ")


def digests_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def copy_of(built: Path, folder: Path, **shard_options: object) -> Path:
    """A copy of an output without records of its files, so that its shards may be changed."""
    shutil.copytree(built, folder)
    content = json.loads((folder / "dataset.json").read_text())
    content.pop("files", None)
    content["taxonomies"]["ekman"]["shard"] |= shard_options
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def rewrite(shard: Path, change) -> None:
    """Write the members of ``shard`` again as ``change`` returns them."""
    with tarfile.open(shard) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}
    with tarfile.open(shard, "w") as archive:
        for name, content in change(members).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("name", FORMATS)
def test_equal_outputs_give_equal_bytes(built: Path, tmp_path: Path, lanser, name: str):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        assert lanser("export-shards", built, "--to", name, "--output", folder).returncode == 0
    assert digests_of(folders[0]) == digests_of(folders[1]) != {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_what_is_no_output(tmp_path: Path, lanser):
    (tmp_path / "empty").mkdir()
    line = error_of(lanser, tmp_path / "empty", "--to", "hf", "--output", tmp_path / "x")
    assert line == f"{tmp_path}/empty: no finished shards there (dataset.json without samples, or none)"


def test_several_taxonomies(built: Path, tmp_path: Path, lanser):
    output = copy_of(built, tmp_path / "out")
    content = json.loads((output / "dataset.json").read_text())
    content["taxonomies"]["plutchik"] = content["taxonomies"]["ekman"]
    (output / "dataset.json").write_text(json.dumps(content))
    line = error_of(lanser, output, "--to", "wids", "--output", tmp_path / "x")
    assert line == f"{output}: has shards of ekman, plutchik; choose one with --taxonomy"
    line = error_of(lanser, output, "--to", "wids", "--taxonomy", "ekmann", "--output", tmp_path / "x")
    assert line == f"--taxonomy ekmann: {output} has ekman, plutchik; did you mean ekman?"
    done = lanser("export-shards", output, "--to", "wids", "--taxonomy", "ekman", "--output", tmp_path / "x")
    assert done.stdout == f"wrote {tmp_path / 'x'}: 10 samples of ekman in 4 shards\n"


def test_a_taxonomy_that_leads_out_of_the_folder(built: Path, tmp_path: Path, lanser):
    output = copy_of(built, tmp_path / "out")
    content = json.loads((output / "dataset.json").read_text())
    content["taxonomies"] = {"../../ekman": content["taxonomies"]["ekman"]}
    (output / "dataset.json").write_text(json.dumps(content))
    line = error_of(lanser, output, "--to", "hf", "--output", tmp_path / "x")
    assert "(taxonomies has '../../ekman', which this lanser does not know)" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second file system here")
def test_another_file_system(built: Path, lanser):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert lanser("export-shards", built, "--to", "energon", "--output", f"{folder}/x").returncode == 0
        for path in (built / "shards" / "ekman").iterdir():
            copy = Path(folder, "x", path.name)
            assert copy.read_bytes() == path.read_bytes() and not copy.samefile(path)


def test_shards_in_a_store(built: Path, tmp_path: Path, lanser, gcs: str, upload):
    upload(built, gcs)
    for name in ("hf", "lhotse", "wids"):
        assert lanser("export-shards", gcs, "--to", name, "--output", tmp_path / "store" / name).returncode == 0
        assert lanser("export-shards", built, "--to", name, "--output", tmp_path / "local" / name).returncode == 0
    for name in ("hf", "lhotse"):
        assert digests_of(tmp_path / "store" / name) == digests_of(tmp_path / "local" / name)
    index = json.loads((tmp_path / "store" / "wids" / "train.json").read_text())
    names = sorted(path.name for path in (built / "shards" / "ekman").glob("train-*.tar"))
    assert [entry["url"] for entry in index["shardlist"]] == [f"{gcs}/shards/ekman/{name}" for name in names]


def test_an_output_that_is_not_empty(built: Path, tmp_path: Path, lanser):
    (tmp_path / "x").mkdir()
    assert lanser("export-shards", built, "--to", "wids", "--output", tmp_path / "x").returncode == 0
    line = error_of(lanser, built, "--to", "wids", "--output", tmp_path / "x")
    assert line == f"--output {tmp_path}/x: exists and is not an empty folder; choose another name"


def test_an_output_in_the_directory(built: Path, lanser):
    line = error_of(lanser, built, "--to", "wids", "--output", built / "wids")
    assert line == f"--output {built}/wids: lies in {built}; choose a folder outside of it"
    assert not (built / "wids").exists()


def test_an_output_in_a_store(built: Path, lanser):
    line = error_of(lanser, built, "--to", "wids", "--output", "gs://bucket/x")
    assert line.startswith("--output gs://bucket/x: exports are written to a local folder; copy it")


def test_redacted_shards(built: Path, tmp_path: Path, lanser):
    def without_text(members: dict[str, bytes]) -> dict[str, bytes]:
        return {
            name: json.dumps(json.loads(content) | {"text": None}).encode() if name.endswith(".json") else content
            for name, content in members.items()
        }

    output = copy_of(built, tmp_path / "out", redact=True)
    for shard in output.glob("shards/ekman/*.tar"):
        rewrite(shard, without_text)
    for name in ("lhotse", "nemo", "csv"):
        line = error_of(lanser, output, "--to", name, "--output", tmp_path / name)
        assert line == (
            f"{output}: its shards were written with --redact, and {name} has transcripts; export to hf, energon, "
            "wids, or shard without --redact"
        )
    for name in ("hf", "energon", "wids"):
        assert lanser("export-shards", output, "--to", name, "--output", tmp_path / name).returncode == 0


def test_a_shard_that_is_not_the_recorded_one(built: Path, tmp_path: Path, lanser):
    shutil.copytree(built, tmp_path / "out")
    shard = min((tmp_path / "out" / "shards" / "ekman").iterdir())
    shard.unlink()
    line = error_of(lanser, tmp_path / "out", "--to", "energon", "--output", tmp_path / "x")
    assert line.startswith(f"{shard}: is not the shard that dataset.json records; lanser verify ")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("key", ["../../../escaped", "/tmp/escaped", "0123456789abcdeg"])
def test_keys_that_are_none(built: Path, tmp_path: Path, lanser, name: str, key: str):
    if name == "hf":
        pytest.skip("has the shards as they are, and reads none")
    output = copy_of(built, tmp_path / "out")
    shard = min((output / "shards" / "ekman").iterdir())
    rewrite(shard, lambda members: {f"{key}{name[16:]}": content for name, content in list(members.items())[:3]})
    line = error_of(lanser, output, "--to", name, "--output", tmp_path / "x")
    assert line.startswith(f"{shard}: ") and "is not one sample of cls, flac, json under 16 hex digits" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]  # nothing half-written, and nothing above it


@pytest.mark.parametrize(
    ("extension", "content", "part"),
    [
        (".json", b"[]", "is not a weak label of this lanser with a transcript"),
        (".json", b'{"text": ' * 10_000, "is not a weak label of this lanser with a transcript"),
        (".flac", b"fLaC" + bytes(100), ".flac cannot be read ("),
        (".flac", WAV, ".flac is not FLAC but WAV"),
    ],
)
def test_content_that_is_not_ours(built: Path, tmp_path: Path, lanser, extension: str, content: bytes, part: str):
    output = copy_of(built, tmp_path / "out")
    shard = min((output / "shards" / "ekman").iterdir())
    rewrite(shard, lambda members: {name: content if extension in name else old for name, old in members.items()})
    for name in ("lhotse", "nemo", "csv"):
        line = error_of(lanser, output, "--to", name, "--output", tmp_path / "x")
        assert line.startswith(f"{shard}: ") and part in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_tar_that_is_cut_off(built: Path, tmp_path: Path, lanser):
    output = copy_of(built, tmp_path / "out")
    shard = min((output / "shards" / "ekman").iterdir())
    shard.write_bytes(shard.read_bytes()[:20_000])
    for name in FORMATS.keys() - {"hf"}:
        line = error_of(lanser, output, "--to", name, "--output", tmp_path / "x")
        assert line.startswith(f"{shard}: ") and line.endswith("; relabel the shards, or build them again")


def test_formulas_are_text(built: Path, tmp_path: Path, lanser):
    def with_formula(members: dict[str, bytes]) -> dict[str, bytes]:
        return {
            name: json.dumps(json.loads(content) | {"text": '=HYPERLINK("http://x")'}).encode()
            if name.endswith(".json")
            else content
            for name, content in members.items()
        }

    output = copy_of(built, tmp_path / "out")
    for shard in output.glob("shards/ekman/*.tar"):
        rewrite(shard, with_formula)
    assert lanser("export-shards", output, "--to", "csv", "--output", tmp_path / "x").returncode == 0
    assert (tmp_path / "x" / "samples.csv").read_text("utf-8-sig").count(""","'=HYPERLINK(""http://x"")",""") == 10
