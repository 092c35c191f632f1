"""``lanser agreement``, with the bundled labeller."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from lanser_ops.commands import agreement

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


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    rows = [f'"{text}",{label}' for label, texts in TEXTS.items() for text in texts]
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return path


CHOSEN = "  <- these options"


def figures(printed: str) -> dict[tuple[str, str, str], list[str]]:
    """Figures by (template, prior, strength)."""
    lines = [line.removesuffix(CHOSEN) for line in printed.split("\nmargin,")[0].splitlines()]
    rows = [line.rsplit(maxsplit=5) for line in lines if line.endswith("%")]
    return {(template, prior, strength): rest for template, prior, strength, *rest in rows}


def test_agreement_of_clear_cases_is_complete(capsys, labelled):
    argv = ["--csv", str(labelled), "--taxonomy", "ekman", "--prior", "none", "--threads", "1"]
    assert agreement.main(argv) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("6 texts; 0 with no label or several were skipped\n")
    template = "This person feels {}."
    priors = [("none", "0"), ("corpus", "0.25"), ("corpus", "0.5"), ("corpus", "0.75"), ("corpus", "1")]
    assert list(figures(printed)) == [(template, *prior) for prior in [*priors, ("null", "0.5"), ("null", "1")]]
    assert figures(printed)[template, "none", "0"] == ["100.0%", "100.0%", "100.0%"]
    matrix = printed.split("prior none, strength 0: rows are people's labels")[1].splitlines()
    assert matrix[1].split() == ["anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"]
    assert matrix[2].split() == ["anger", "2", ".", ".", ".", ".", ".", "."]
    assert matrix[5].split() == ["joy", ".", ".", ".", "2", ".", ".", "."]


def test_agreement_shows_what_a_margin_selects(capsys, tmp_path):
    # The words of fear without the emotion: fear leads by less than a hundredth, in the zero-shot pipeline's score.
    rows = ["text,label", "I am afraid the shop is closed.,neutral", "This is so sad.,sadness"]
    (tmp_path / "texts.csv").write_text("\n".join(rows), encoding="utf-8")
    scoring = ["--against", "contradiction", "--prior-strength", "0"]
    assert (
        agreement.main(["--csv", str(tmp_path / "texts.csv"), "--taxonomy", "ekman", "--threads", "1", *scoring]) == 0
    )
    table = capsys.readouterr().out.split("margin, with these options")[1].split("\n\n")[0].splitlines()
    assert [line.split() for line in table[1:]] == [
        ["at", "least", "0", "100.0%", "50.0%", "50.0%", "50.0%"],
        ["at", "least", "0.005", "100.0%", "50.0%", "50.0%", "50.0%"],
        ["at", "least", "0.01", "50.0%", "100.0%", "100.0%", "100.0%"],
        ["at", "least", "0.02", "50.0%", "100.0%", "100.0%", "100.0%"],
        ["at", "least", "0.05", "50.0%", "100.0%", "100.0%", "100.0%"],
        ["at", "least", "0.1", "50.0%", "100.0%", "100.0%", "100.0%"],
    ]


def test_agreement_has_a_row_for_every_template_and_their_mean(capsys, labelled):
    alone, printed = {}, ""
    templates = ["This person feels {}.", "It is {} outside."]
    for given in ([templates[0]], [templates[1]], templates):
        options = [word for template in given for word in ("--template", template)]
        assert agreement.main(["--csv", str(labelled), "--taxonomy", "ekman", "--threads", "1", *options]) == 0
        printed = capsys.readouterr().out
        alone |= figures(printed) if len(given) == 1 else {}
    together = figures(printed)
    assert {key: together[key] for key in alone} == alone
    assert alone[templates[0], "none", "0"] != alone[templates[1], "none", "0"]
    marked = [line.split() for line in printed.splitlines() if line.endswith(CHOSEN)]
    assert [words[-8:-6] for words in marked] == [["corpus", "0.4"]] * 3
    assert len(alone) == 2 * 8 and {template for template, *_ in together.keys() - alone.keys()} == {"mean of them"}


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
    outputs = []
    for argv in (["--csv", labelled], ["--csv", tsv, "--map", names], ["--csv", packed, "--map", names]):
        assert agreement.main([*map(str, argv), "--taxonomy", "ekman", "--threads", "1"]) == 0
        outputs.append(capsys.readouterr().out)
    assert figures(outputs[0]) == figures(outputs[1]) == figures(outputs[2])
    assert outputs[2].startswith("6 texts; 2 with no label or several were skipped\n")


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
        ("a.txt", "hm", "is not a .csv, .tsv or .jsonl file (optionally with .gz)"),
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


def test_agreement_of_any_strength_and_of_an_absence(capsys, labelled, tmp_path):
    taxonomy = tmp_path / "four.yaml"
    taxonomy.write_text("name: four\nversion: 2\nneutral: absence\nlabels: [joy, anger, sadness, neutral]\n")
    argv = ["--csv", str(labelled), "--taxonomy", str(taxonomy), "--prior-strength", "0.6", "--threads", "1"]
    assert agreement.main([*argv, "--neutral-threshold", "3"]) == 0
    printed = capsys.readouterr().out
    assert len(figures(printed)) == 8 and "corpus       0.6" in printed
    matrix = printed.split("prior corpus, strength 0.6: rows are people's labels")[1].splitlines()
    assert [line.split()[1:] for line in matrix[2:]] == [[".", ".", ".", "2"]] * 3 + [["."] * 4]


DIALOGUE = [
    {"text": "My dog died this morning.", "label": "", "dialogue": 1, "turn": 1},
    {"text": "I don't know what to say.", "label": "sadness", "dialogue": 1, "turn": 2},
    {"text": "I am so happy for you!", "label": "joy", "dialogue": 2, "turn": 1},
]


def test_agreement_in_context(capsys, tmp_path):
    """A row without a label counts as context alone; the order is that of the turns, or of the rows without any."""
    argv = ["--taxonomy", "ekman", "--prior", "none", "--threads", "1", "--csv", str(tmp_path / "texts.jsonl")]
    outputs = []
    for rows in (DIALOGUE[::-1], [{**row, "turn": None} for row in DIALOGUE]):
        (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert agreement.main([*argv, "--context", "1"]) == 0
        outputs.append(capsys.readouterr().out)
        assert outputs[-1].startswith("2 texts; 1 with no label or several were skipped\n")
        assert figures(outputs[-1])["This person feels {}.", "none", "0"] == ["100.0%", "100.0%", "100.0%"]
    assert agreement.main(argv) == 0
    assert figures(capsys.readouterr().out)["This person feels {}.", "none", "0"][0] == "50.0%"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("text,label\nhm,joy\n", "--context 1: {path} has no column dialogue, which says what belongs together"),
        (
            "text,label,dialogue,turn\nhm,joy,x,1\nhm,joy,x,\n",
            "--csv {path}: row 2 has a dialogue but no turn, which other rows have",
        ),
        (
            "text,label,dialogue,turn\nhm,joy,x,first\n",
            "--csv {path}: row 1: its turn is 'first'; a whole number is needed",
        ),
    ],
)
def test_agreement_refuses_context_without_dialogues(capsys, tmp_path, rows, message):
    path = tmp_path / "texts.csv"
    path.write_text(rows)
    line = fails(capsys, agreement.main, "--csv", path, "--taxonomy", "ekman", "--context", "1")
    assert line == "lanser agreement: " + message.format(path=path)
