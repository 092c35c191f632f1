"""--max-repeats, --keep-top, --per-label and --balance, from the command line to tars and rejects."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

TEXTS = [
    "Thank you.",
    "thank you",
    "Thank you!",
    "Thank YOU...",
    "Thank-you",
    "I am so happy today.",
    "This is wonderful news!",
    "I love this place.",
    "What a great day!",
    "We won the game!",
    "I am so sad.",
    "She cried all night.",
    "I miss him terribly.",
    "I hate you!",
    "I'm furious with him.",
    "I'm so scared.",
    "There's someone downstairs.",
    "The meeting is at three.",
    "The bus stops here.",
    "It is on the table.",
    "That's disgusting.",
]
ALL_RULES = ("--max-repeats", "1", "--keep-top", "0.8", "--per-label", "3", "--balance", "2")


@pytest.fixture(scope="module")
def manifest(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of one recording under 21 names, with a text for each."""
    folder = tmp_path_factory.mktemp("spoken")
    rows = ["path\ttext"]
    for index, text in enumerate(TEXTS):
        shutil.copy(small_corpus / "slt" / "best_day.wav", folder / f"{index:02d}.wav")
        rows.append(f"{index:02d}.wav\t{text}")
    (folder / "list.tsv").write_text("\n".join(rows) + "\n")
    return folder / "list.tsv"


@pytest.fixture(scope="module")
def build(manifest: Path, build_of):
    return build_of(manifest, "--num-shards", 16, "--val-fraction", 0.2)


@pytest.fixture(scope="module")
def everything(build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output without a selection."""
    return build(tmp_path_factory.mktemp("everything") / "out")


@pytest.fixture(scope="module")
def selected(build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output with all four rules."""
    return build(tmp_path_factory.mktemp("selected") / "out", *ALL_RULES)


@pytest.fixture
def copy(everything: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(everything, tmp_path / "copy"))


def labels_of(output: Path) -> list[dict]:
    """The labels of all units, the best score first."""
    rows = pq.read_table(output / "labels" / "ekman").to_pylist()
    return sorted(rows, key=lambda row: (-row["score"], row["key"]))


def rejects_of(output: Path) -> dict[str, str]:
    """The details of what is not selected, by key."""
    rows = pq.read_table(output / "rejects").to_pylist()
    assert {(row["stage"], row["reason"]) for row in rows} <= {("shard:ekman", "not_selected")}
    return {row["key"]: row["detail"] for row in rows}


def tars_of(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob("shards/ekman/*.tar"))}


def accounts_of(output: Path) -> dict:
    return json.loads((output / "dataset.json").read_text())["taxonomies"]["ekman"]["accounts"]


def test_equal_texts_stay_once(copy: Path, lanser):
    done = lanser("shard", "--output", copy, "--taxonomy", "ekman", "--overwrite", "--max-repeats", 1)
    assert done.returncode == 0, done.stderr
    texts = {row["key"]: row["text"] for row in pq.read_table(copy / "transcripts").to_pylist()}
    thanks = [row["key"] for row in labels_of(copy) if texts[row["key"]] in TEXTS[:5]]
    assert len(thanks) == 5
    assert rejects_of(copy) == dict.fromkeys(thanks[1:], "repeats an utterance with a better score; --max-repeats is 1")
    assert f"not_selected {4:>19}  outside the selection" in done.stdout
    assert (accounts_of(copy)["utterances"], accounts_of(copy)["samples"]) == (21, 17)
    assert accounts_of(copy)["rejects"] == {"not_selected": 4}


def test_all_rules_give_what_a_loop_over_the_labels_gives(everything: Path, selected: Path):
    texts = {row["key"]: row["text"] for row in pq.read_table(selected / "transcripts").to_pylist()}
    rows = labels_of(selected)
    thanks = [row for row in rows if texts[row["key"]] in TEXTS[:5]]
    rows = [row for row in rows if row not in thanks[1:]]
    for places in (
        lambda counts, label: max(1, counts[label] * 8 // 10),
        lambda counts, label: 3,
        lambda counts, label: 2 * min(counts.values()),
    ):
        counts, taken, best = Counter(row["label"] for row in rows), Counter(), []
        for row in rows:
            if taken[row["label"]] < places(counts, row["label"]):
                best.append(row)
                taken[row["label"]] += 1
        rows = best
    assert rejects_of(selected).keys() == {row["key"] for row in labels_of(everything)} - {row["key"] for row in rows}
    assert accounts_of(selected)["labels"] == Counter(row["label"] for row in rows)
    assert len({detail for detail in rejects_of(selected).values()}) >= 3
    assert len(tars_of(everything)) == 16 > len(tars_of(selected)) > 3


def test_another_selection_runs_no_model(copy: Path, selected: Path, lanser, no_models, digests):
    options = ("--output", copy, "--taxonomy", "ekman", *ALL_RULES)
    refused = lanser("shard", *options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert (
        "balance was null, is now 2.0; keep_top was null, is now 0.8; max_repeats was null, is now 1" in refused.stderr
    )
    done = lanser("shard", *options, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert accounts_of(copy)["pairs_scored"] == 0
    assert digests(copy) == digests(selected)


def test_relabel_selects_what_a_build_selects(everything: Path, selected: Path, tmp_path: Path, lanser, no_models):
    done = lanser("relabel", "--shards", everything, "--output", tmp_path / "out", "--taxonomy", "ekman", *ALL_RULES)
    assert done.returncode == 0, done.stderr
    assert tars_of(tmp_path / "out") == tars_of(selected)
    assert rejects_of(tmp_path / "out") == rejects_of(selected)
    assert accounts_of(tmp_path / "out")["pairs_scored"] == 0


def test_an_interrupted_selection_continues_with_the_same_bytes(
    selected: Path, tmp_path: Path, lanser, no_models, digests
):
    output = Path(shutil.copytree(selected, tmp_path / "out"))
    for path in sorted(output.glob("shards/ekman/*.tar"))[::2]:
        path.unlink()
    done = lanser("shard", "--output", output, "--taxonomy", "ekman", *ALL_RULES)
    assert done.returncode == 0, done.stderr
    assert digests(output) == digests(selected)


def test_an_output_of_before_the_selection_continues(copy: Path, everything: Path, lanser, no_models, digests):
    content = json.loads((copy / "dataset.json").read_text())
    content["taxonomies"]["ekman"]["shard"] = {"min_score": 0.0, "min_margin": 0.0, "keep_flagged": False}
    (copy / "dataset.json").write_text(json.dumps(content))
    next(copy.glob("shards/ekman/*.tar")).unlink()
    done = lanser("shard", "--output", copy, "--taxonomy", "ekman")
    assert done.returncode == 0, done.stderr
    assert digests(copy) == digests(everything)


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("--max-repeats", "0", "argument --max-repeats: 0 is not a positive number"),
        ("--per-label", "2.5", "argument --per-label: invalid int value: '2.5'"),
        ("--keep-top", "0", "argument --keep-top: 0 is not above 0 and at most 1"),
        ("--keep-top", "1.5", "argument --keep-top: 1.5 is not above 0 and at most 1"),
        ("--balance", "0.9", "argument --balance: 0.9 is not a number of at least 1"),
        ("--balance", "nan", "argument --balance: nan is not a number of at least 1"),
        ("--balance", "inf", "argument --balance: inf is not a number of at least 1"),
    ],
)
def test_a_bad_value_is_refused(tmp_path: Path, lanser, option: str, value: str, line: str):
    done = lanser("shard", "--output", tmp_path, "--taxonomy", "ekman", option, value)
    assert (done.returncode, done.stderr) == (2, f"lanser shard: {line} (see lanser shard --help)\n")
