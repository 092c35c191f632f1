"""``lanser try``, with the bundled labeller."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanser_ops.commands import try_texts


def fails(capsys: pytest.CaptureFixture, main, *argv: str | Path) -> str:
    assert main([str(arg) for arg in argv]) == 2
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1 and not out
    return err.strip()


def first_labels(printed: str) -> list[str]:
    """The label in the row under each table's head."""
    lines = printed.splitlines()
    return [lines[row + 1].split()[0] for row, line in enumerate(lines) if line.startswith("label ")]


def test_try_shows_the_best_label_first(capsys, tmp_path):
    (tmp_path / "texts.txt").write_text("I miss my friends.\n\nI am so happy for you!\n", encoding="utf-8")
    argv = ["I hate you, go away [now]!", "--file", str(tmp_path / "texts.txt"), "--taxonomy", "ekman"]
    assert try_texts.main([*argv, "--prior-strength", "0", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "I hate you, go away [now]!" in printed and "This person feels {}." in printed
    assert first_labels(printed) == ["anger", "sadness", "joy"]
    assert len([line for line in printed.splitlines() if line.startswith("neutral")]) == 3
    rows = [line.split() for line in printed.splitlines() if line.startswith(("anger ", "disgust "))][:2]
    marked = [row for row in rows if len(row) > 2]
    assert [row[0] for row in marked] == ["anger"] and marked[0][2:6] == ["<-", "the", "label,", "margin"]
    assert 0 < float(marked[0][6]) < float(marked[0][1])


def test_try_with_a_prior_and_several_templates(capsys):
    argv = ["I miss my friends.", "--taxonomy", "ekman", "--prior", "null", "--threads", "1"]
    assert try_texts.main([*argv, "--template", "This person feels {}.", "--template", "I am {}."]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("  ")[0] == "label" and "corrected" in lines[1] and "I am {}." in lines[1]
    rows = [[float(number) for number in line.split()[1:5]] for line in lines[2:]]
    assert len(rows) == 7 and all(len(row) == 4 for row in rows)
    assert sum(row[0] for row in rows) == pytest.approx(1, abs=1e-3)
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    assert all(row[1] == pytest.approx((row[2] + row[3]) / 2, abs=2e-4) for row in rows)


def test_try_subtracts_a_share_of_the_mean_over_the_texts_and_everyday_sentences(capsys):
    texts, strengths = ["Where are the keys?", "I lost them."], ([], ["--prior-strength", "0.4"], ["--prior", "none"])
    outputs = []
    for strength in strengths:
        assert try_texts.main([*texts, "--taxonomy", "ekman", "--threads", "1", *strength]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]
    corrected = dict(line.split()[:2] for line in outputs[0].splitlines()[2:9])
    assert sum(map(float, corrected.values())) == pytest.approx(1, abs=1e-3)
    assert len(try_texts.reference_sentences()) == 60


def test_try_reads_its_texts_as_a_dialogue(capsys):
    argv = ["My dog died this morning.", "I don't know what to say.", "--taxonomy", "ekman", "--prior", "none"]
    outputs = []
    for context in ("0", "1"):
        assert try_texts.main([*argv, "--threads", "1", "--context", context]) == 0
        outputs.append(capsys.readouterr().out)
    assert [first_labels(output)[1] for output in outputs] == ["surprise", "sadness"]
    first_tables = [output.split("I don't know")[0] for output in outputs]
    assert first_tables[0] == first_tables[1]


def test_try_with_a_temperature(capsys):
    scores = {}
    for temperature in ("0.5", "1", "2"):
        argv = ["I miss my friends.", "--taxonomy", "ekman", "--temperature", temperature, "--threads", "1"]
        assert try_texts.main(argv) == 0
        label, corrected, *_ = capsys.readouterr().out.splitlines()[2].split()
        scores[temperature] = label, float(corrected)
    assert {label for label, _ in scores.values()} == {"sadness"}
    assert scores["0.5"][1] > scores["1"][1] > scores["2"][1] > 1 / 7


def test_try_refuses_in_one_line(capsys, tmp_path):
    assert fails(capsys, try_texts.main, "--taxonomy", "ekman").startswith("lanser try: no text to label")
    line = fails(capsys, try_texts.main, "--taxonomy", "ekman", "--file", tmp_path / "none.txt")
    assert "--file" in line and "none.txt" in line
    line = fails(capsys, try_texts.main, "hm", "--taxonomy", "ekman", "--against", "softmax")
    assert line == "lanser try: --against softmax: an NLI model weighs entailment against contradiction or all"
    line = fails(capsys, try_texts.main, "hm", "--taxonomy", "ekman", "--threads", "0")
    assert line == "lanser try: argument --threads: 0 is not a positive number (see lanser try --help)"
    line = fails(capsys, try_texts.main, "hm", "--taxonomy", "ekman", "--prior-strength", "1.5")
    assert line == "lanser try: argument --prior-strength: 1.5 is not between 0 and 1 (see lanser try --help)"
    line = fails(capsys, try_texts.main, "hm", "--taxonomy", "ekman", "--neutral-threshold", "1")
    assert line == "lanser try: --neutral-threshold 1: ekman has no 'neutral: absence'; leave it out"
    three = tmp_path / "three.yaml"
    three.write_text("name: three\nversion: 2\nneutral: absence\nlabels: [joy, anger, neutral]\n")
    line = fails(capsys, try_texts.main, "hm", "--taxonomy", three, "--prior", "none")
    assert line == (
        "lanser try: --neutral-threshold 0: without a prior no log score is above 0, so every utterance would be "
        "neutral; give a threshold below 0, such as -1, or a prior"
    )
