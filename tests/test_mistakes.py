"""Mistakes at the command line: each is answered at once, in one line that says how to mend it.

What makes an answer quick is that nothing heavy is imported before it; ``python -m benchmarks.startup`` measures it.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

# What takes a second or more to import, and pyarrow, which takes a fifth of one.
HEAVY = {"torch", "apache_beam", "transformers", "ctranslate2", "pandas", "accelerate", "scipy", "pyarrow"}
FILES = {
    "list.csv": "file,text\na.wav,hello\n",
    "bad.yaml": "name: bad\nlabels:\n  - name: joy\n    hypothesys: happy\n  - fear\n",
    "options.yaml": "input: [audio]\ntaxonmy: ekman\n",
    "labelled.csv": "text,label\nGo away!,angr\n",
    "corpus.csv": "path,label\na.wav,angr\n",
}
BUILD = "build --input . --output out --taxonomy ekman"
# A command line and a part of the answer, which is one line with exit status 2. The files are FILES.
MISTAKES = (
    # commands
    ("bild", "there is no command 'bild'; did you mean build?"),
    ("fine-tune --data corpus.csv", "there is no command 'fine-tune'; did you mean finetune?"),
    ("help biuld", "there is no command 'biuld'; did you mean build?"),
    ("config bild", "'bild' is not one of build, transcribe"),
    ("completion bsh", "'bsh' is not one of bash, zsh, tcsh; did you mean bash?"),
    # options
    ("build --output out --taxonomy ekman", "the following arguments are required: --input"),
    ("build --input . --output out --taxonomi ekman", "unknown option --taxonomi; did you mean --taxonomy?"),
    (f"{BUILD} --devise cuda", "unknown option --devise; did you mean --device?"),
    (f"{BUILD} --device gpu", "'gpu' is not one of auto, cpu, cuda"),
    (f"{BUILD} --output ''", "argument --output: the value is empty; give one, or leave it out"),
    ("predict '' --checkpoint run", "argument AUDIO: the value is empty; give one, or leave it out"),
    (f"{BUILD} --workers 0", "argument --workers: 0 is not a positive number"),
    (f"{BUILD} --val-fraction 5", "argument --val-fraction: 5 is not between 0 and 1"),
    (f"{BUILD} --prior-strength 40", "argument --prior-strength: 40 is not between 0 and 1"),
    (f"{BUILD} --max-duration 60", "--max-duration 60: must lie between --min-duration and 30 s"),
    (f"{BUILD} --agree", "--agree: there is nothing to agree with; give --speech-model"),
    (f"{BUILD} --template 'I am happy.'", "--template 'I am happy.' has no {}; put one {} where the emotion goes"),
    (f"{BUILD} --neutral-threshold 1", "--neutral-threshold 1: ekman has no 'neutral: absence'; leave it out"),
    (f"{BUILD} --language en,xx", "--language xx: the recogniser knows no such language (en, de, fr, …, or auto)"),
    (f"{BUILD} --config options.yaml", "options.yaml:2: there is no option taxonmy; did you mean taxonomy?"),
    (f"{BUILD} --config option.yaml", "--config option.yaml: cannot be read (No such file or directory)"),
    # Beam's options
    (f"{BUILD} --num_workers 2", "is an option of Beam's and has no effect without --runner; use --workers"),
    (f"{BUILD} --dry_run", "--dry_run is an option of Beam's and has no effect without --runner"),
    (f"{BUILD} --runner DirctRunner", "--runner DirctRunner: Beam has no such runner; did you mean DirectRunner?"),
    ("label --output out --taxonomy ekman --dry-run", "unknown option --dry-run (see lanser label --help)"),
    (f"{BUILD} --regoin europe-west4", "unknown option --regoin; did you mean --region?"),
    (f"{BUILD} --temp_location", "--temp_location is an option of Beam's and needs a value"),
    # taxonomies
    ("build --input . --output out --taxonomy ekmann", "unknown taxonomy 'ekmann'"),
    ("taxonomies goemotion", "or give the path of a YAML file; did you mean goemotions?"),
    ("label --output out --taxonomy bad.yaml", "bad.yaml:4: label 1 has the unknown key 'hypothesys'"),
    ("label --output out --taxonomy gone.yaml", "gone.yaml: "),
    # models
    (f"{BUILD} --asr-model large-v4", "--asr-model large-v4: no such directory, and no model of that name"),
    (f"{BUILD} --asr-model transfomers:a/b", "write ./NAME for a path with a colon; did you mean transformers?"),
    (f"{BUILD} --nli-model bundeld", "model bundeld: no such directory; did you mean bundled?"),
    (f"{BUILD} --nli-model ./model", "--nli-model ./model: no such directory"),
    ("pretrain --shards . --output run --backbone resnet19", "--backbone resnet19: none of resnet50"),
    ("finetune --data corpus.csv --output run --backbone whispr", "did you mean whisper?"),
    ("finetune --data corpus.csv --output run", "give either --checkpoint RUN or --backbone NAME"),
    ("finetune --data corpus.csv --output run --checkpoint .", ".: holds no model; give the output of lanser pretrain"),
    ("predict a.wav --checkpoint gone", "gone: no such folder; give the output of lanser pretrain or finetune"),
    ("export-model gone --output exported --format onx", "'onx' is not one of onnx, hub; did you mean onnx?"),
    # files, folders, corpora and labels
    ("pretrain --shards gone --output run", "gone: no shards (.tar); give the output of lanser build"),
    ("pretrain --shards . --output run --map goemotion", "did you mean goemotions?"),
    ("finetune --data ravdes --output run --backbone whisper", "--data ravdes: no such CSV, and no corpus of that"),
    ("probe --data ravdess --backbone whisper", "--data ravdess: needs --root; give the folder of the corpus"),
    ("finetune --data corpus.csv --labels anger joy --output run --backbone whisper",
     "corpus.csv, line 2: unknown label 'angr'; --labels has anger, joy; did you mean anger?"),
    ("predict a.wav --checkpoint run --output out.txt", "--output out.txt: use a name that ends in .csv or .jsonl"),
)  # fmt: skip
# The same, of commands whose answer needs the files that they read, and so pyarrow.
MISTAKEN_INPUT = (
    ("build --input gone --output out --taxonomy ekman", "gone: no such file or folder, and no file matches it"),
    ("build --input empty --output out --taxonomy ekman", "empty: no audio in this folder (looked for aac,"),
    ("build --input list.csv --output out --taxonomy ekman", "a manifest needs a column 'path' (it has: file, text)"),
    ("transcribe --input empty --output list.csv/out", "list.csv/out: cannot be written to (Not a directory)"),
    ("label --output empty --taxonomy ekman", "empty: no transcripts there; run lanser transcribe or lanser build"),
    ("relabel --shards empty --output out --taxonomy ekman", "empty: no such tar, and no folder with shards"),
    ("inspect empty", "empty: neither an output directory of lanser nor a shard"),
    ("report empty", "empty: no finished run there"),
    ("export-shards empty --to hf --output out", "empty: no finished shards there"),
    ("export-shards empty --to lhots --output out", "'lhots' is not one of hf, lhotse, nemo, energon, wids, csv; did"),
    ("sample empty", "empty: no such tar, and no folder with shards"),
    ("try --taxonomy ekman", "no text to label; give some, in quotes, or --file with one per line"),
    ("agreement --csv labelled.csv --taxonomy ekman", "row 1: 'angr' is not a label of ekman"),
)  # fmt: skip
PROGRAM = """
import sys
from lanser_ops import cli
status = cli.main(sys.argv[1:])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
raise SystemExit(status)
"""


def write_files(folder: Path) -> None:
    """What the command lines of the tables name, to be run from ``folder``."""
    (folder / "empty").mkdir()
    for name, content in FILES.items():
        (folder / name).write_text(content, encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    write_files(folder)
    return folder


@pytest.mark.parametrize(("command", "part"), MISTAKES + MISTAKEN_INPUT)
def test_a_mistake_is_answered_at_once_in_one_line(place: Path, command: str, part: str):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *shlex.split(command)], capture_output=True, text=True, cwd=place, timeout=100
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("lanser") and part in line
    allowed = {"pyarrow"} if (command, part) in MISTAKEN_INPUT else set()
    assert set(done.stdout.split()) & HEAVY <= allowed


def test_a_mistake_leaves_nothing_behind(place: Path):
    assert {path.name for path in place.iterdir()} <= {*FILES, "empty"}
    assert not any((place / "empty").glob("*"))
