"""The runners that need more than Beam: what is said where that is missing."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability import prism_runner

from lanser_ops.common.errors import InputError
from pipelines.beam_options import is_direct, parse_beam_flags, runs_elsewhere
from pipelines.runners import runner_of

ADVICE = "; get apache_beam-v2.77.0-prism-….zip from https://github.com/apache/beam/releases, and give its path to "


def no_network(url: str) -> None:
    raise urllib.error.URLError("Name or service not known")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([], "Unable to fetch remote prism binary at https://github.com/apache/beam/releases/download/v2.77.0/"),
        (["--prism_location", "/nowhere/prism"], 'Unable to parse binary URL "/nowhere/prism"'),
    ],
)
def test_prism_without_its_binary_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: list[str], reason: str
):
    monkeypatch.setattr(prism_runner, "urlopen", no_network)  # where there is one, Beam would download the binary
    monkeypatch.setattr(prism_runner.PrismJobServer, "BIN_CACHE", str(tmp_path))
    monkeypatch.setattr(prism_runner, "beam_version", "2.77.0")
    monkeypatch.setattr("apache_beam.__version__", "2.77.0")
    options = parse_beam_flags(["--runner", "PrismRunner", *flags])
    with pytest.raises(InputError) as error:
        runner_of(options, units=1, workers=1, verbose=False)
    message = str(error.value)
    assert message.startswith(
        f"--runner PrismRunner: its binary was not found and could not be downloaded ({reason}"
    ), message
    assert message.endswith(f"{ADVICE}--prism_location") and "\n" not in message


def test_a_binary_that_is_at_hand_is_used(tmp_path: Path):
    binary = tmp_path / "prism"
    binary.write_text("#!/bin/sh\n")
    options = parse_beam_flags(["--runner", "PrismRunner", "--prism_location", str(binary)])
    assert runner_of(options, units=1, workers=1, verbose=False) is None  # the choice is Beam's
    assert binary.stat().st_mode & 0o100  # which Beam has made it


@pytest.mark.parametrize(
    ("names", "is_local", "is_remote"),
    [
        (["", "DirectRunner", "direct", "directrunner"], True, False),
        (["DataflowRunner", "dataflow", "apache_beam.runners.dataflow.dataflow_runner.DataflowRunner"], False, True),
        (["PrismRunner", "prism", "DaskRunner"], False, False),
    ],
)
def test_a_runner_is_known_by_every_name_that_beam_takes(names: list[str], is_local: bool, is_remote: bool):
    for name in names:
        options = PipelineOptions(["--runner", name] if name else [])
        assert (is_direct(options), runs_elsewhere(options)) == (is_local, is_remote), name
