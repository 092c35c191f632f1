"""docker/: the Flex Template's parameters are the options of `lanser build`, and the image fits the package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import apache_beam
import pytest

from pipelines import build, options

DOCKER = Path(__file__).parents[2] / "docker"
# For every parameter a value that it accepts and one that it refuses.
VALUES = {
    "input": ("gs://corpus/podcasts/*.mp3", "/data/podcasts"),
    "output": ("gs://corpus/out", "out"),
    "taxonomy": ("goemotions", "gs://corpus/mine.yaml"),
    "part": ("3/16", "0/16"),
    "overwrite": ("true", "yes"),
    "verify": ("true", "yes"),
    "device": ("cuda", "gpu"),
    "workers": ("2", "0"),
    "threads": ("4", "-1"),
    "accelerator": ("type:nvidia-l4;count:1;machine_type:g2-standard-4;install-nvidia-driver", "nvidia-l4"),
    "min-ram": ("16GB", "16"),
    "log-format": ("json", "yaml"),
    "verbose": ("false", "1"),
    "num-shards": ("1000", "1.5"),
    "shard-size-mb": ("0.5", "0"),
    "val-fraction": ("0.05", "5"),
    "asr-model": ("large-v3-turbo", ""),
    "language": ("en,de", "en;de"),
    "other-languages": ("flag", "keep"),
    "exact": ("true", "True"),
    "short-windows": ("false", "yes"),
    "beam-size": ("5", "five"),
    "min-duration": ("0.3", "-0.3"),
    "max-duration": ("29.5", "31"),
    "nli-model": ("FacebookAI/roberta-large-mnli", " "),
    "template": ("This person feels {}.", "This person feels happy."),
    "against": ("all", "neutral"),
    "prior": ("corpus", "mean"),
    "prior-strength": ("0.25", "1.5"),
    "neutral-threshold": ("-0.5", "low"),
    "context": ("2", "17"),
    "temperature": ("1.5", "-1"),
    "calibration": ("gs://corpus/calibration.yaml", "calibration.yaml"),
    "labels-from": ("gs://corpus/labels.csv", "labels.csv"),
    "min-score": ("0.7", "1.7"),
    "min-margin": ("1", "2"),
    "keep-flagged": ("false", "no"),
    "agree": ("true", "1"),
    "redact": ("true", "1"),
    "max-repeats": ("3", "0"),
    "keep-top": ("0.25", "0"),
    "per-label": ("5000", "0.5"),
    "balance": ("2.5", "0.5"),
    "speech-model": ("lanser:/models/voice", ""),
    "dry-run": ("true", "yes"),
    "hourly-price": ("0.71", "-1"),
    "asr-rate": ("200", "0"),
    "pair-rate": ("0.5", "0.0"),
}


@pytest.fixture(scope="module")
def parameters() -> dict[str, dict]:
    metadata = json.loads((DOCKER / "flex" / "metadata.json").read_text())
    assert metadata["name"] and metadata["description"]
    return {parameter["name"]: parameter for parameter in metadata["parameters"]}


def test_the_parameters_are_the_options(parameters: dict[str, dict]):
    parser = build.build_parser()
    actions = {action.option_strings[0][2:]: action for action in parser.options()}
    assert parameters.keys() == actions.keys() == VALUES.keys()
    required = {"input", "output", "taxonomy"}
    assert {name for name, parameter in parameters.items() if not parameter["isOptional"]} == required
    assert {name for name, action in actions.items() if action.required} == required
    for parameter in parameters.values():
        assert parameter["label"] and len(parameter["helpText"]) > 20 and parameter["regexes"]


@pytest.mark.parametrize("name", VALUES)
def test_a_parameter_is_checked(parameters: dict[str, dict], name: str):
    accepted, refused = VALUES[name]
    (regex,) = parameters[name]["regexes"]
    assert re.fullmatch(regex, accepted)
    assert not re.fullmatch(regex, refused)


def test_the_parser_accepts_what_the_template_accepts():
    flags = [f"--{name}={accepted}" for name, (accepted, _) in VALUES.items() if name != "part"]
    args, run_options = options.parse(build.build_parser(), flags)
    # An estimate, which is among the flags, is of all parts.
    assert (args.exact, args.keep_flagged, run_options.overwrite, run_options.verbose) == (True, False, True, False)
    assert run_options.hints == {"accelerator": VALUES["accelerator"][0], "min_ram": "16GB"}
    assert args.input == [["gs://corpus/podcasts/*.mp3"]]


def test_the_image_has_the_beam_that_is_pinned():
    assert f"ARG BEAM_VERSION={apache_beam.__version__}\n" in (DOCKER / "Dockerfile").read_text()


def test_docker_is_sent_every_file_that_the_image_copies():
    repository = DOCKER.parent
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for copy in copies for name in copy.split()}
    assert {"pyproject.toml", "setup.py", "lanser_ops"} <= names
    assert not [name for name in names if not (repository / name).exists()]
    assert names <= {line[1:] for line in (repository / ".dockerignore").read_text().splitlines() if line[0] == "!"}
