"""docker/: the Flex Template's parameters are the options of `lanser build`, and the image fits the package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import apache_beam
import pytest

from pipelines import build, options

DOCKER = Path(__file__).parents[2] / "docker"
# Of every parameter a value that it takes and one that it refuses.
VALUES = {
    "input": ("gs://corpus/podcasts/*.mp3", "/data/podcasts"),
    "output": ("gs://corpus/out", "out"),
    "taxonomy": ("goemotions", "gs://corpus/mine.yaml"),
    "overwrite": ("true", "yes"),
    "device": ("cuda", "gpu"),
    "workers": ("2", "0"),
    "threads": ("4", "-1"),
    "accelerator": ("type:nvidia-l4;count:1;machine_type:g2-standard-4;install-nvidia-driver", "nvidia-l4"),
    "min-ram": ("16GB", "16"),
    "verbose": ("false", "1"),
    "num-shards": ("1000", "1.5"),
    "shard-size-mb": ("0.5", "0"),
    "val-fraction": ("0.05", "5"),
    "asr-model": ("large-v3-turbo", ""),
    "language": ("en,de", "en;de"),
    "other-languages": ("flag", "keep"),
    "exact": ("true", "True"),
    "beam-size": ("5", "five"),
    "min-duration": ("0.3", "-0.3"),
    "max-duration": ("29.5", "31"),
    "nli-model": ("FacebookAI/roberta-large-mnli", " "),
    "template": ("This person feels {}.", "This person feels happy."),
    "against": ("all", "neutral"),
    "prior": ("corpus", "mean"),
    "min-score": ("0.7", "1.7"),
    "min-margin": ("1", "2"),
    "keep-flagged": ("false", "no"),
}


@pytest.fixture(scope="module")
def parameters() -> dict[str, dict]:
    metadata = json.loads((DOCKER / "flex" / "metadata.json").read_text())
    assert metadata["name"] and metadata["description"]
    return {one["name"]: one for one in metadata["parameters"]}


def test_the_parameters_are_the_options(parameters: dict[str, dict]):
    actions = {one.option_strings[0][2:]: one for one in build.parser()._actions if "--help" not in one.option_strings}
    assert parameters.keys() == actions.keys() == VALUES.keys()
    assert {name for name, one in parameters.items() if not one["isOptional"]} == {"input", "output", "taxonomy"}
    assert {name for name, one in actions.items() if one.required} == {"input", "output", "taxonomy"}
    for one in parameters.values():
        assert one["label"] and len(one["helpText"]) > 20 and one["regexes"]


@pytest.mark.parametrize("name", VALUES)
def test_a_parameter_is_checked(parameters: dict[str, dict], name: str):
    taken, refused = VALUES[name]
    (regex,) = parameters[name]["regexes"]
    assert re.fullmatch(regex, taken)
    assert not re.fullmatch(regex, refused)


def test_the_parser_takes_what_the_template_takes():
    args, run = options.parse(build.parser(), [f"--{name}={taken}" for name, (taken, _) in VALUES.items()])
    assert (args.exact, args.keep_flagged, run.overwrite, run.verbose) == (True, False, True, False)
    assert run.hints == {"accelerator": VALUES["accelerator"][0], "min_ram": "16GB"}
    assert args.input == [["gs://corpus/podcasts/*.mp3"]]


def test_the_image_has_the_beam_that_is_pinned():
    assert f"ARG BEAM_VERSION={apache_beam.__version__}\n" in (DOCKER / "Dockerfile").read_text()
