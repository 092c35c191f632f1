"""Shards that other programs wrote or damaged: each fault is one line that names the file."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest

from lanser_ops.common.errors import InputError
from schemas.specs import ShardSpec
from training.labels import selected
from training.shards import Source, parse_sources, read_index
from training.stores import list_files

LABEL = {
    "taxonomy": "t", "labels": ["x", "y"], "label_index": 1, "score": 0.5, "margin": 0.25, "entailment": [0.25, 0.5],
    "text": "hello",
}  # fmt: skip


def tar_of(path, members):
    """A tar at ``path`` of (name, content) ``members`` in their order."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return str(path)


def labelled(**values):
    return json.dumps(LABEL | values).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a": ' * 100_000,
        labelled(score=0).replace(b'"score": 0', b'"score": 1' + b"0" * 400),
        labelled(margin=0).replace(b'"margin": 0', b'"margin": 1e400'),
        labelled(entailment=[0.5, float("nan")]),
        labelled(entailment=[0.5, None]),
        labelled(entailment=[0.5]),
        labelled(entailment=[0.5, 1.5]),
        labelled(label_index=2),
        labelled(label_index=0.5),
        labelled(label_index="1"),
        labelled(labels=[["x"], ["y"]]),
        labelled(taxonomy=["t"]),
        labelled(text=7),
        labelled(prior=["corpus"]),
        labelled(prior="corpus", prior_strength="much"),
        labelled(hypotheses=7),
        labelled(hypotheses=[["a", "b"], ["c"]], hypothesis_scores=[[0.5, 0.5]]),
        labelled(hypotheses=[["a", "b"], ["c"]], hypothesis_scores=[[0.5, 0.5, 7.0]]),
        b"7",
        b"",
        b"\xff",
        b" " * (5 << 20),
    ],
    ids=range(23),
)
def test_json_that_is_no_weak_label(tmp_path, content):
    path = tar_of(tmp_path / "train-0.tar", [("k.flac", b""), ("k.json", content)])
    with pytest.raises(InputError, match=f"^{path}: k.json: not a weak label ") as raised:
        read_index([path])
    assert "\n" not in str(raised.value)


def test_members_of_a_sample_that_are_apart(tmp_path):
    """webdataset would take them for two samples, of which the second has no audio."""
    members = [("a.json", labelled()), ("b.flac", b""), ("b.json", labelled()), ("a.flac", b"")]
    path = tar_of(tmp_path / "train-0.tar", members)
    with pytest.raises(InputError, match=f"^{path}: the members of sample a are not next to each other; sort the tar"):
        read_index([path])


@pytest.mark.parametrize(("name", "lacking"), [("inner.tar", "flac"), ("b.flac", "json"), ("b.json", "flac")])
def test_samples_that_are_incomplete(tmp_path, name, lacking):
    """webdataset would give the network a sample without audio or without a label."""
    path = tar_of(tmp_path / "train-0.tar", [("a.flac", b""), ("a.json", labelled()), (name, labelled())])
    with pytest.raises(InputError) as refused:
        read_index([path])
    assert (
        str(refused.value) == f"{path}: sample {name[: name.index('.')]} has no .{lacking}; give shards of lanser build"
    )


def test_headers_that_are_damaged(tmp_path):
    path = tar_of(tmp_path / "train-0.tar", [("a.flac", b""), ("a.json", labelled())])
    whole = (tmp_path / "train-0.tar").read_bytes()
    for size in (b"\x80" + b"\xff" * 11, b"77777777777\0", b"-1" + b"\0" * 10):
        header = bytearray(whole[512:1024])
        header[124:136] = size
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        (tmp_path / "train-0.tar").write_bytes(whole[:512] + header + whole[1024:])
        with pytest.raises(InputError, match=f"^{path}: ") as raised:
            read_index([path])
        assert "\n" not in str(raised.value)


def test_shards_of_other_hypotheses_do_not_mix(tmp_path):
    paths = [
        tar_of(tmp_path / f"train-{name}.tar", [(f"{name}.flac", b""), (f"{name}.json", labelled(hypotheses=words))])
        for name, words in (("a", [["x"], ["y"]]), ("b", [["x"], ["z"]]))
    ]
    with pytest.raises(InputError, match=f"^{paths[1]}: other hypotheses or templates than {paths[0]} for the labels"):
        read_index(paths)


def test_what_is_known_of_hypotheses(tmp_path):
    several = {"hypotheses": [["a", "b"], []], "hypothesis_scores": [[0.5, 0.25], [1.0, 0.75]]}
    cases = {
        "single": ({}, (("x",), ("y",)), [[[0.25, 0.5]]]),
        "old": ({"hypotheses": ["u", "v"]}, (("u",), ("v",)), [[[0.25, 0.5]]]),
        "several": (several, (("a", "b"), ()), [[[0.5, 0.25]], [[1.0, 0.75]]]),
        "means": ({"hypotheses": [["a", "b"], []]}, (("a", "b"), ()), None),
        "templates": ({"template_entailment": [[0, 0.5], [0.5, 0.5]]}, (("x",), ("y",)), [[[0, 0.5]], [[0.5, 0.5]]]),
    }
    for name, (values, hypotheses, scores) in cases.items():
        path = tar_of(tmp_path / f"train-{name}.tar", [("k.flac", b""), ("k.json", labelled(**values))])
        index = read_index([path])
        assert index.hypotheses == hypotheses, name
        assert (None if index.by_hypothesis is None else index.by_hypothesis.tolist()) == scores, name
    assert np.isclose(index.score, 0.5) and index.scoring.absence is None


def test_samples_without_transcripts(tmp_path):
    members = [("a.flac", b""), ("a.json", labelled(text=None)), ("b.flac", b""), ("b.json", labelled(score=0.75))]
    index = read_index([tar_of(tmp_path / "train-0.tar", members)])
    assert (index.keys, index.words) == (("a", "b"), None)
    assert selected(index, ShardSpec(per_label=1)).keys == ("b",)
    with pytest.raises(InputError) as refused:
        selected(index, ShardSpec(max_repeats=1))
    assert str(refused.value) == (
        "--max-repeats 1: shards were written with --redact and hold no transcripts to compare; "
        "leave it out, or give it to the lanser build that writes them"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a:0.7", "b"], "--shards b: in a mixture every corpus needs a share above 0, as in A:0.7 B:0.3"),
        (["a:0", "b:1"], "--shards a:0: in a mixture every corpus needs a share above 0"),
        (["a:1", "gs://b/c"], "--shards gs://b/c: in a mixture every corpus"),
        (["a:1", "a:2"], "--shards a:1 a:2: a corpus comes twice; give its shares together"),
    ],
)
def test_shares_that_mean_nothing(values, message):
    with pytest.raises(InputError) as raised:
        parse_sources(values)
    assert str(raised.value).startswith(message)


def test_colons_in_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "take:2").mkdir()
    assert parse_sources(["take:2", "gs://a/b"]) == [Source(("take:2", "gs://a/b"), None)]
    assert parse_sources(["take:2:1", "gs://a/train-*.tar:3"]) == [
        Source(("take:2",), 0.25), Source(("gs://a/train-*.tar",), 0.75)
    ]  # fmt: skip
    assert list_files("take:2") == ([], True)
