"""What goes to Beam: read from its source without importing it, and as Beam itself has it."""

from __future__ import annotations

import argparse

import pytest
from apache_beam.options.pipeline_options import StandardOptions

from lanser_ops import beam_compat
from lanser_ops.common.errors import InputError
from pipelines import build
from pipelines.beam_flags import beam_options, check_flags, runners
from pipelines.beam_options import parse_beam_flags


def test_the_options_and_runners_are_those_of_beam():
    parser = argparse.ArgumentParser(add_help=False)
    beam_compat.known_flags(parser)
    known = {name for action in parser._actions for name in action.option_strings if name.startswith("--")}
    assert known <= beam_options().keys()
    switches = {name for action in parser._actions if action.nargs == 0 for name in action.option_strings}
    with_value = {name for action in parser._actions if action.nargs is None for name in action.option_strings}
    taking = {name for name, option in beam_options().items() if option.takes_value}
    assert with_value <= taking and not switches & taking
    assert list(runners()) == [*StandardOptions.KNOWN_RUNNER_NAMES, "DaskRunner"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--runner", "DataflowRunner", "--num_workers", "3", "--region=europe-west4", "--dry_run=True"],
        ["--runner", "direct", "--direct_num_workers", "2", "--direct_running_mode", "multi_processing"],
        ["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"],
        ["--runner", "DaskRunner", "--dask_client_address", "tcp://head:8786", "--dask_npartitions=8"],
        ["--runner", "PrismRunner", "--prism_location", "/opt/prism"],
        ["--no_auth", "--s3_endpoint_url", "http://localhost:9000"],
        ["--experiments", "a", "--experiments", "b", "--streaming"],
    ],
)
def test_options_for_beam_pass(flags):
    check_flags(build.build_parser(), flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--machine_type", "n2"], "--machine_type is an option of Beam's and has no effect without --runner; give "
         "--runner, or leave it out"),
        (["--max_num_workers=2"], "--max_num_workers is an option of Beam's and has no effect without --runner; use "
         "--workers"),
        (["--dask_client_address", "tcp://head:8786"], "--dask_client_address is an option of Beam's and has no effect "
         "without --runner; give --runner, or leave it out"),
        (["--runner"], "--runner is an option of Beam's and needs a value"),
        (["--runner", "Dataflw"], "--runner Dataflw: Beam has no such runner"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)  # fmt: skip
def test_what_beam_would_ignore_is_refused(flags, message):
    with pytest.raises(InputError) as error:
        check_flags(build.build_parser(), flags)
    assert str(error.value).startswith(message)


def test_a_value_that_beam_refuses_is_an_input_error():
    with pytest.raises(InputError, match="argument --direct_num_workers: invalid int value: 'two'"):
        parse_beam_flags(["--direct_num_workers", "two"])
