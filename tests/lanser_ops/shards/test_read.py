"""Samples read back from shards, and a fault for everything in them that lanser did not write."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable

import numpy as np
import pytest

from lanser_ops import tar
from lanser_ops.labelling.weak_labels import label_utterances
from lanser_ops.shards.read import Fault, read_samples
from lanser_ops.shards.write import sample_rows, tar_members
from schemas.records import LABEL_SCHEMA, TRANSCRIPT_SCHEMA, Transcript, to_table, utterance_key
from schemas.specs import MAX_JSON_BYTES, LabelSpec, ModelRef, ScoringKey
from schemas.taxonomy import Taxonomy, parse_taxonomy

MOODS = parse_taxonomy("name: moods\nlabels: [joy, {name: fear, hypothesis: afraid}, calm]\n", "moods.yaml")
MODEL = ModelRef("tiny", "0" * 64, "")
Members = list[tuple[str, bytes]]


def transcript(number: int) -> Transcript:
    start, end = number / 10, number / 10 + 1
    key = utterance_key("a.wav", start, end)
    return Transcript(key, "a.wav", start, end, 1.0, "what a day", "en", -0.2, 0.01, 1.1, ("repetition",), None)


def spec(templates: list[str], taxonomy: Taxonomy) -> LabelSpec:
    return LabelSpec(taxonomy, tuple(templates), MODEL, "contradiction", "none", prior_strength=0.0)


def shard_members(
    by_hypothesis: np.ndarray, truncated: tuple[bool, ...] = (False, False), taxonomy: Taxonomy = MOODS
) -> Members:
    """Names and contents of a shard of two samples with these scores, float32 (templates, 2, hypotheses)."""
    transcripts = sorted((transcript(number) for number in range(2)), key=lambda each: each.key)
    label_spec = spec([f"{number} {{}}." for number in range(len(by_hypothesis))], taxonomy)
    labels = label_utterances(transcripts, by_hypothesis, np.array(truncated), label_spec)
    table = to_table(transcripts, TRANSCRIPT_SCHEMA)
    table = table.append_column("asr_model", [["whisper", None]])
    rows = list(sample_rows(table, to_table(labels, LABEL_SCHEMA)))
    members = tar_members(rows, lambda key: b"fLaC" + key.encode(), label_spec)
    return [(name.decode(), bytes(content)) for name, content in members]


def tar_of(members: Members) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream


SCORES = np.array([[[0.123457, 0.9, 0.00123457], [0.7, 0.654321, 1.0]]], np.float32)
TWO_TEMPLATES = np.concatenate([SCORES, SCORES[:, ::-1]])


@pytest.mark.parametrize("scores", [SCORES, TWO_TEMPLATES], ids=["one template", "two templates"])
def test_samples_have_the_transcripts_and_scores_that_were_written(scores):
    stream = tar_of(shard_members(scores))
    samples = list(read_samples(stream))
    expected = sorted((transcript(number) for number in range(2)), key=lambda each: each.key)
    for index, (sample, stored) in enumerate(samples):
        assert {name: getattr(sample, name) for name in TRANSCRIPT_SCHEMA.names} == {
            **{name: getattr(expected[index], name) for name in TRANSCRIPT_SCHEMA.names},
            "flags": ["repetition"],
        }
        assert sample.asr_model == ["whisper", None][index]
        stream.seek(sample.flac_offset)
        assert stream.read(sample.flac_bytes) == b"fLaC" + sample.key.encode()
        assert stored.scoring_key == ScoringKey("0" * 64, "contradiction")
        assert (
            stored.sentences == (("0 joy.", "0 afraid.", "0 calm."), ("1 joy.", "1 afraid.", "1 calm."))[: len(scores)]
        )
        assert stored.entailment.dtype == np.float32 and np.array_equal(stored.entailment, scores[:, index])
    assert len(samples) == 2


@pytest.mark.parametrize("scores", [SCORES, TWO_TEMPLATES], ids=["one template", "two templates"])
def test_json_holds_six_digits_of_every_score(scores):
    """Bug: the scores of several templates were written with the 17 digits of a double."""
    for name, content in shard_members(scores):
        if name.endswith(".json"):
            fields = json.loads(content, parse_float=str)
            rows = [fields["entailment"], *fields.get("template_entailment", [])]
            assert len(rows) == (1 if len(scores) == 1 else 3)
            for score in [fields["score"], fields["margin"], *sum(rows, [])]:
                assert len(score.partition("e")[0].replace(".", "").lstrip("0")) <= 6, score
    texts = {name: content.decode() for name, content in shard_members(TWO_TEMPLATES)}
    first = min(name for name in texts if name.endswith(".json"))
    assert '"template_entailment":[[0.123457,0.9,0.00123457],[0.7,0.654321,1.0]]' in texts[first]


def test_context_and_dialogue_are_read():
    members = json_with(context=2, context_texts=["hi"], dialogue="x", turn=3)(shard_members(SCORES))
    (first, stored), (second, other) = read_samples(tar_of(members))
    assert (first.context_texts, first.dialogue, first.turn) == (["hi"], "x", 3)
    assert stored.scoring_key == ScoringKey("0" * 64, "contradiction", context=2)
    assert (second.context_texts, second.dialogue, second.turn) == (None, None, None)
    assert other.scoring_key == ScoringKey("0" * 64, "contradiction")


def test_scores_of_a_truncated_transcript_are_not_reused():
    (first, stored), (second, reusable) = read_samples(tar_of(shard_members(SCORES, (True, False))))
    assert stored.entailment is None and reusable.entailment is not None
    assert first.flags == second.flags == ["repetition"]  # the labeller's flag is not the transcript's


def test_a_mean_over_templates_is_not_reused():
    members = shard_members(TWO_TEMPLATES)
    fields = json.loads(members[2][1])
    del fields["template_entailment"]
    members[2] = (members[2][0], json.dumps(fields).encode())
    (_, stored), _ = read_samples(tar_of(members))
    assert stored.entailment is None


def test_hypotheses_of_schema_version_1_are_read():
    """Shards of schema version 1 have one hypothesis per label, not in a list."""
    members = shard_members(SCORES)
    fields = json.loads(members[2][1])
    assert fields["hypotheses"] == [["joy"], ["afraid"], ["calm"]]
    fields["hypotheses"] = ["joy", "afraid", "calm"]
    for name in ("aggregate", "prior_strength", "neutral_threshold"):
        del fields[name]
    members[2] = (members[2][0], json.dumps(fields).encode())
    (_, old), (_, new) = read_samples(tar_of(members))
    assert old.sentences == new.sentences == (("0 joy.", "0 afraid.", "0 calm."),)
    assert np.array_equal(old.entailment, SCORES[:, 0])


SEVERAL = """\
name: moods
version: 2
neutral: absence
labels:
  - {name: joy, hypotheses: [happy, glad]}
  - {name: fear, hypothesis: afraid}
  - neutral
"""


@pytest.mark.parametrize("scores", [SCORES, TWO_TEMPLATES], ids=["one template", "two templates"])
def test_scores_of_several_hypotheses_are_read(scores):
    """As many hypotheses as labels: the scores of labels must not be taken for those of hypotheses."""
    members = shard_members(scores, taxonomy=parse_taxonomy(SEVERAL, "moods.yaml"))
    fields = json.loads(members[2][1])
    assert fields["hypotheses"] == [["happy", "glad"], ["afraid"], []]
    assert fields["hypothesis_scores"][0] == pytest.approx([0.123457, 0.9, 0.00123457])
    for index, (_, stored) in enumerate(read_samples(tar_of(members))):
        assert stored.sentences[0] == ("0 happy.", "0 glad.", "0 afraid.")
        assert np.array_equal(stored.entailment, scores[:, index])
    del fields["hypothesis_scores"]
    members[2] = (members[2][0], json.dumps(fields).encode())
    (_, stored), _ = read_samples(tar_of(members))
    assert stored.entailment is None


def json_with(**changed: object) -> Callable[[Members], Members]:
    """A change to the JSON of the first sample."""

    def change(members: Members) -> Members:
        name, content = members[2]
        return [*members[:2], (name, json.dumps({**json.loads(content), **changed}).encode()), *members[3:]]

    return change


BAD = [
    (lambda members: members[:2] + members[3:], "{key}.cls", "there is no {key}.json beside it"),
    (lambda members: members[1:], "{key}.flac", "there is no {key}.cls beside it"),
    (lambda members: [members[0], *members], "{key}.cls", "the sample has it twice"),
    (lambda members: [*members, *members[:3]], "{key}.cls", "its key is in the shard twice"),
    (lambda members: [*members[:2], (members[2][0], b'{"key": '), *members[3:]], "{key}.json", "is not JSON"),
    (lambda members: [*members[:2], (members[2][0], b"[]"), *members[3:]], "{key}.json", "has no 'key'"),
    (lambda members: [members[0], (members[1][0], b"RIFF"), *members[2:]], "{key}.flac", "is not FLAC"),
    (
        lambda members: [(f"../../{name}", content) for name, content in members[:3]] + members[3:],
        "../../{key}.cls",
        "its name is not a key of 16 hex digits and .cls, .flac or .json",
    ),
    (
        lambda members: [("/tmp/evil\nname.cls", b"0"), *members],
        "/tmp/evil\ufffdname.cls",
        "its name is not a key of 16 hex digits and .cls, .flac or .json",
    ),
    (json_with(text=None), "{key}.json", "was written with --redact and holds no transcripts"),
    (json_with(text=" "), "{key}.json", "its 'text' is ' '"),
    (json_with(end_s="1"), "{key}.json", "its 'end_s' is '1'"),
    (json_with(flags=["a", 1]), "{key}.json", "its 'flags' is "),
    (json_with(hypotheses=["joy", ["afraid"], "calm"]), "{key}.json", "its 'hypotheses' is "),
    (json_with(hypotheses=[["joy", "glad"]], hypothesis_scores=[[0.5]]), "{key}.json", "has no score from 0 to 1 for "),
    (json_with(source="../elsewhere.wav"), "{key}.json", "its key is not that of its source, start and end"),
    (json_with(entailment=[0.5]), "{key}.json", "has no score from 0 to 1 for each of its 3 hypotheses"),
    (json_with(entailment=[2.0] * 3), "{key}.json", "has no score from 0 to 1 for each of its 3 hypotheses"),
    (json_with(entailment="high"), "{key}.json", "has no score from 0 to 1 for each of its 3 hypotheses"),
    (json_with(pad="x" * MAX_JSON_BYTES), "{key}.json", "is larger than 4 MB"),
    (json_with(dialogue=3), "{key}.json", "its 'dialogue' is '3'"),
    (json_with(turn=2**63), "{key}.json", "its 'turn' is '9223372036854775808'"),
    (json_with(context=17, context_texts=[]), "{key}.json", "its 'context' is '17'"),
    (json_with(context=1, context_texts=[None]), "{key}.json", "its 'context_texts' is '[None]'"),
    (json_with(context=1), "{key}.json", "has one of 'context' and 'context_texts' without the other"),
    (json_with(context=1, context_texts=["a", "b"]), "{key}.json", "has more 'context_texts' than its 'context', "),
]


@pytest.mark.parametrize(("change", "member", "detail"), BAD)
def test_a_bad_sample_is_a_fault_and_the_others_are_read(change, member, detail):
    members = shard_members(SCORES)
    key = members[0][0].partition(".")[0]
    read = list(read_samples(tar_of(change(members))))
    (fault,) = [each for each in read if isinstance(each, Fault)]
    assert (fault.member, fault.reason) == (member.format(key=key), "bad_sample")
    assert fault.detail.startswith(detail.format(key=key))
    assert {sample.key for sample, _ in (each for each in read if not isinstance(each, Fault))} >= {
        name.partition(".")[0] for name, _ in members[3:]
    }


def test_the_rest_of_a_tar_that_was_cut_off_is_a_fault():
    stream = io.BytesIO()
    tar.write_tar(stream, [(name.encode(), content) for name, content in shard_members(SCORES)])
    cut = io.BytesIO(stream.getvalue()[:5000])
    sample, fault = read_samples(cut)
    assert isinstance(sample, tuple)
    assert isinstance(fault, Fault) and (fault.member, fault.reason) == ("", "broken_tar")


def test_an_empty_tar_has_no_samples():
    assert list(read_samples(tar_of([]))) == []
