"""``lanser try`` and ``lanser agreement``, with the bundled labeller."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from lanser_ops.commands import agreement, try_texts

TEXTS = {
    "joy": ["I am so happy for you!", "What a wonderful day, I love it."],
    "anger": ["I hate you, leave me alone!", "How dare you, this makes me furious."],
    "sadness": ["I miss her so much, I cannot stop crying.", "My dog died and I feel so lonely."],
}


def fails(capsys: pytest.CaptureFixture, main, *argv: str | Path) -> str:
    assert main([str(arg) for arg in argv]) == 2
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1 and not out
    return err.strip()


def first_labels(printed: str) -> list[str]:
    """The label in the row under each table's head."""
    lines = printed.splitlines()
    return [lines[place + 1].split()[0] for place, line in enumerate(lines) if line.startswith("label ")]


def test_try_shows_the_best_label_first(capsys, tmp_path):
    (tmp_path / "texts.txt").write_text("I miss my friends.\n\nI am so happy for you!\n", encoding="utf-8")
    argv = ["I hate you, go away [now]!", "--file", str(tmp_path / "texts.txt"), "--taxonomy", "ekman"]
    assert try_texts.main([*argv, "--threads", "1"]) == 0
    shown = capsys.readouterr().out
    assert "I hate you, go away [now]!" in shown and "This person feels {}." in shown
    assert first_labels(shown) == ["anger", "sadness", "joy"]
    assert len([line for line in shown.splitlines() if line.startswith("neutral")]) == 3


def test_try_with_a_prior_and_several_templates(capsys):
    argv = ["I miss my friends.", "--taxonomy", "ekman", "--prior", "null", "--threads", "1"]
    assert try_texts.main([*argv, "--template", "This person feels {}.", "--template", "I am {}."]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("  ")[0] == "label" and "corrected" in lines[1] and "I am {}." in lines[1]
    rows = [[float(number) for number in line.split()[1:]] for line in lines[2:]]
    assert len(rows) == 7 and all(len(row) == 4 for row in rows)
    assert sum(row[0] for row in rows) == pytest.approx(1, abs=1e-3)
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    assert all(row[1] == pytest.approx((row[2] + row[3]) / 2, abs=2e-4) for row in rows)


def test_try_refuses_in_one_line(capsys, tmp_path):
    assert fails(capsys, try_texts.main, "--taxonomy", "ekman").startswith("lanser try: no text to label")
    line = fails(capsys, try_texts.main, "--taxonomy", "ekman", "--file", tmp_path / "none.txt")
    assert "--file" in line and "none.txt" in line
    assert "corpus" in fails(capsys, try_texts.main, "hm", "--taxonomy", "ekman", "--prior", "corpus")
    line = fails(capsys, try_texts.main, "hm", "--taxonomy", "ekman", "--threads", "0")
    assert line == "lanser try: argument --threads: 0 is not a positive number (see lanser try --help)"


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    rows = [f'"{text}",{label}' for label, texts in TEXTS.items() for text in texts]
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return path


def figures(printed: str) -> dict[tuple[str, str], list[str]]:
    """Figures by (template, prior)."""
    rows = [line.rsplit(maxsplit=4) for line in printed.split("\nmargin,")[0].splitlines() if line.endswith("%")]
    return {(template, prior): rest for template, prior, *rest in rows}


def test_agreement_of_clear_cases_is_whole(capsys, labelled):
    assert agreement.main(["--csv", str(labelled), "--taxonomy", "ekman", "--threads", "1"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("6 texts; 0 with no or several labels were passed over\n")
    template = "This person feels {}."
    assert list(figures(shown)) == [(template, "none"), (template, "corpus"), (template, "null")]
    assert figures(shown)[template, "none"] == ["100.0%", "100.0%", "100.0%"]
    matrix = shown.split("prior none")[1].split("prior corpus")[0].splitlines()
    assert matrix[1].split() == ["0", "1", "2", "3", "4", "5", "6"]
    assert matrix[2].split() == ["0", "anger", "2", ".", ".", ".", ".", ".", "."]
    assert matrix[5].split() == ["3", "joy", ".", ".", ".", "2", ".", ".", "."]


def test_agreement_shows_what_a_margin_keeps(capsys, tmp_path):
    # The words of fear without the emotion: fear leads by less than a hundredth.
    rows = ["text,label", '"I\'m afraid so, Mr King.",neutral', "This is so sad.,sadness"]
    (tmp_path / "texts.csv").write_text("\n".join(rows), encoding="utf-8")
    assert agreement.main(["--csv", str(tmp_path / "texts.csv"), "--taxonomy", "ekman", "--threads", "1"]) == 0
    table = capsys.readouterr().out.split("margin, without prior")[1].split("\n\n")[0].splitlines()
    assert [line.split() for line in table[1:]] == [
        ["at", "least", "0", "100.0%", "50.0%", "50.0%", "50.0%"],
        ["at", "least", "0.005", "100.0%", "50.0%", "50.0%", "50.0%"],
        ["at", "least", "0.01", "50.0%", "100.0%", "100.0%", "100.0%"],
        ["at", "least", "0.02", "50.0%", "100.0%", "100.0%", "100.0%"],
    ]


def test_agreement_has_a_row_for_every_template_and_their_mean(capsys, labelled):
    alone, shown = {}, ""
    templates = ["This person feels {}.", "Nothing is {} here."]
    for given in ([templates[0]], [templates[1]], templates):
        options = [word for template in given for word in ("--template", template)]
        assert agreement.main(["--csv", str(labelled), "--taxonomy", "ekman", "--threads", "1", *options]) == 0
        shown = capsys.readouterr().out
        alone |= figures(shown) if len(given) == 1 else {}
    together = figures(shown)
    assert {key: together[key] for key in alone} == alone
    assert alone[templates[0], "none"] != alone[templates[1], "none"]
    assert sorted(together.keys() - alone.keys()) == [("mean of them", prior) for prior in ("corpus", "none", "null")]


def test_agreement_reads_other_formats_and_renames(capsys, labelled, tmp_path):
    names = tmp_path / "names.yaml"
    names.write_text("happiness: joy\nrage: anger\n", encoding="utf-8")
    renamed = {"joy": "happiness", "anger": "rage"}
    rows = [(text, renamed.get(label, label)) for label, texts in TEXTS.items() for text in texts]
    tsv, packed = tmp_path / "texts.tsv", tmp_path / "texts.jsonl.gz"
    tsv.write_text("\n".join(["label\ttext", *(f"{label}\t{text}" for text, label in rows)]), encoding="utf-8")
    lines = [{"text": text, "labels": [label]} for text, label in rows]
    lines += [{"text": "both", "labels": ["rage", "sadness"]}, {"text": "none", "labels": []}]
    packed.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    shown = []
    for argv in (["--csv", labelled], ["--csv", tsv, "--map", names], ["--csv", packed, "--map", names]):
        assert agreement.main([*map(str, argv), "--taxonomy", "ekman", "--threads", "1"]) == 0
        shown.append(capsys.readouterr().out)
    assert figures(shown[0]) == figures(shown[1]) == figures(shown[2])
    assert shown[2].startswith("6 texts; 2 with no or several labels were passed over\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\nhm,boredom\n", "row 1: 'boredom' is not a label of ekman (anger, disgust, fear,"),
        ("a.csv", "words,label\nhm,joy\n", "row 1: has no text; the columns text and label are needed"),
        ("a.csv", "text\nhm\n", "row 1: has no label; the columns text and label are needed"),
        ("a.csv", "text,label\n", "no row with a text and one label"),
        ("a.jsonl", '{"text": "hm", "label": "joy"}\n{"text"\n', "cannot be read as jsonl"),
        ("a.jsonl", "[1]\n", "row 1: has no label"),
        ("a.jsonl", '{"text": 3, "label": "joy"}\n', "row 1: has no text"),
        ("a.csv.gz", "text,label\nhm,joy\n", "cannot be read as csv"),
        ("a.txt", "hm", "is no .csv, .tsv or .jsonl (perhaps with .gz)"),
    ],
)
def test_agreement_refuses_in_one_line(capsys, tmp_path, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8")
    line = fails(capsys, agreement.main, "--csv", tmp_path / name, "--taxonomy", "ekman")
    assert line.startswith(f"lanser agreement: --csv {tmp_path / name}: ") and message in line


@pytest.mark.parametrize("content", ["- joy\n", "joy: 3\n", "a: &x [*x]\n", "!!python/object:os.system x\n", "\x00"])
def test_agreement_refuses_a_bad_map(capsys, labelled, tmp_path, content):
    (tmp_path / "names.yaml").write_text(content, encoding="utf-8")
    argv = ["--csv", labelled, "--taxonomy", "ekman", "--map", tmp_path / "names.yaml"]
    assert f"--map {tmp_path / 'names.yaml'}: " in fails(capsys, agreement.main, *argv)
