"""dataset.json that somebody has edited: refused in one line that says where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lanser_ops.output.dataset_format import dataset_fault

SHA = "0" * 64


MODEL = {"id": "tiny", "sha256": SHA}
CONTENT = {
    "schema_version": 2,
    "plan": {
        "num_shards": None, "shard_size_mb": 128, "val_fraction": 0.05, "inputs": ["a"], "sources": 2,
        "plan_sha256": SHA,
    },
    "transcribe": {"asr_model": MODEL, "languages": ["en"], "exact": False},
    "taxonomies": {
        "ekman": {
            "label": {
                "taxonomy": [{"name": "joy", "hypotheses": ["joy"]}, {"name": "neutral", "hypotheses": []}],
                "aggregate": "max", "templates": ["{}"], "nli_model": MODEL, "against": "all", "prior": "corpus",
                "prior_strength": 0.4, "neutral_threshold": 0.0, "temperature": 1.0,
            },
            "accounts": {
                "sources": 2, "utterances": 2, "transcripts": 2, "labelled": 2, "samples": 2, "splits": {"train": 2},
                "rejects": {"no_speech": 1}, "labels": {"joy": 2}, "label_hours": {"joy": 0.1}, "languages": {"en": 2},
                "hours": {"audio": 0.1, "samples": 0.1}, "pairs_scored": 2, "seconds": {"label": 0.5},
            },
        }
    },
    "files": {"plan.parquet": {"bytes": 7, "sha256": SHA}},
}  # fmt: skip


def test_what_lanser_writes_is_of_the_form(built: Path):
    assert dataset_fault(CONTENT) is None
    assert dataset_fault(json.loads((built / "dataset.json").read_text())) is None


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (("plan", "num_shards"), "4", "plan.num_shards is '4'"),
        (("plan", "inputs"), [None], "plan.inputs[0] is None"),
        (("transcribe", "asr_model"), {"id": "x"}, "transcribe.asr_model has no 'sha256'"),
        (("taxonomies",), {"../../x": {}}, "taxonomies has '../../x', which this lanser does not know"),
        (("taxonomies",), [], "taxonomies is []"),
        (("taxonomies", "ekman", "label", "prior"), "mine", "taxonomies.ekman.label.prior is 'mine'"),
        (("taxonomies", "ekman", "label", "temperature"), float("nan"), "taxonomies.ekman.label.temperature is nan"),
        (("taxonomies", "ekman", "accounts", "samples"), True, "taxonomies.ekman.accounts.samples is True"),
        (("taxonomies", "ekman", "accounts", "samples"), 10**400, f"taxonomies.ekman.accounts.samples is 1{'0' * 59}"),
        (("taxonomies", "ekman", "accounts", "hours"), {}, "taxonomies.ekman.accounts.hours has no 'audio'"),
        (
            ("taxonomies", "ekman", "accounts", "rejects"),
            {"\x1b[2J": 1},
            r"taxonomies.ekman.accounts.rejects has '\x1b[2J', which this lanser does not know",
        ),
        (("taxonomies", "ekman", "label"), None, "taxonomies.ekman.label is None"),
        (("taxonomies", "ekman", "accounts"), None, "taxonomies.ekman.accounts is None"),
        (
            ("taxonomies", "ekman", "accounts", "label_hours"),
            {},
            "taxonomies.ekman.accounts.label_hours has no 'joy'",
        ),
        (
            ("taxonomies", "ekman", "accounts", "labels"),
            {"awe": 1},
            "taxonomies.ekman.accounts.labels has 'awe', which is not a label of it",
        ),
        (("files", "a\n"), {"bytes": "1", "sha256": SHA}, r"files.'a\n'.bytes is '1'"),
    ],
)
def test_what_is_not_of_the_form(place: tuple[str, ...], value: object, fault: str):
    changed = json.loads(json.dumps(CONTENT))
    *folders, name = place
    node = changed
    for folder in folders:
        node = node[folder]
    node[name] = value
    assert dataset_fault(changed) == fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[" * 100_000, "not a dataset.json that lanser wrote; choose another --output"),
        (
            '{"schema_version": 2, "plan": ' + "[" * 100_000 + "]" * 100_000 + "}",
            "not a dataset.json that lanser wrote",
        ),
        (r'{"schema_version": 2, "mine": "\ud800"}', "not a dataset.json that lanser wrote; choose another --output"),
        (
            '{"schema_version": 2, "plan": 7}',
            "not as lanser wrote it (plan is 7); restore it, or choose another --output",
        ),
    ],
)
def test_commands_refuse_it_in_one_line(tmp_path: Path, lanser, text: str, fault: str):
    path = tmp_path / "dataset.json"
    path.write_text(text)
    for argv in (("inspect", tmp_path), ("verify", tmp_path), ("report", tmp_path)):
        done = lanser(*argv)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(f"lanser {argv[0]}: {path}: {fault}")


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[7]", ""])
def test_roots_that_are_none(built: Path, tmp_path: Path, lanser, text: str):
    output = shutil.copytree(built, tmp_path / "out")
    (output / ".private" / "roots.json").write_text(text)
    done = lanser("shard", "--output", output, "--taxonomy", "ekman", "--overwrite")
    path = output / ".private" / "roots.json"
    assert (done.returncode, done.stderr) == (
        2,
        f"lanser shard: {path}: is missing or damaged, and with it where the audio is; "
        "run lanser transcribe with their --input\n",
    )


def test_roots_that_lack_a_folder(built: Path, tmp_path: Path, lanser):
    output = shutil.copytree(built, tmp_path / "out")
    (output / ".private" / "roots.json").write_text("[]")
    done = lanser("shard", "--output", output, "--taxonomy", "ekman", "--overwrite", "--threads", 1)
    *_, line = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("lanser shard: .private/roots.json: has no folder for ")
    assert line.endswith("; run lanser transcribe with the --input of the plan")
