"""The options that go to Beam, and what they say about where a job runs."""

from __future__ import annotations

import argparse
import importlib.util
from typing import NoReturn

from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
)

from lanser_ops import beam_compat, stores
from lanser_ops.common.errors import InputError
from pipelines.beam_flags import DASK_RUNNER, RUNNER


class _BeamParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def parse_beam_flags(flags: list[str]) -> PipelineOptions:
    """``flags`` as Beam's options, which this process's object stores get too: models and input are read before there
    is a pipeline.

    Their names have passed `pipelines.beam_flags.check_flags`. Raises InputError for a value that Beam refuses: Beam
    itself would print its usage.
    """
    options = PipelineOptions(flags)
    if is_dask(options):
        if not importlib.util.find_spec("distributed"):
            raise InputError(f"{RUNNER} {DASK_RUNNER}: Dask is not installed; pip install 'lanser[dask]'")
        from lanser_ops import beam_dask  # noqa: F401  # has options of its own
    parser = _BeamParser(add_help=False, allow_abbrev=False)
    beam_compat.known_flags(parser)
    parser.parse_known_args(flags)
    stores.set_options(options)
    # On Dataflow Beam would pickle __main__ too; everything that a worker needs lies in the package.
    options.view_as(SetupOptions).save_main_session = False
    return options


def direct_workers(options: PipelineOptions) -> int:
    """Worker processes that Beam's own options ask of the direct runner."""
    return options.view_as(DirectOptions).direct_num_workers or 1


def is_direct(options: PipelineOptions) -> bool:
    return _runner_class(options) in ("runner", "directrunner")


def is_dask(options: PipelineOptions) -> bool:
    return _runner_class(options) == DASK_RUNNER.lower()


def is_prism(options: PipelineOptions) -> bool:
    return _runner_class(options) == "prismrunner"


def _runner_class(options: PipelineOptions) -> str:
    """The runner's class in lower case, of whichever form the name has that Beam takes; "runner" if none is given."""
    name = (options.view_as(StandardOptions).runner or "").rpartition(".")[2].lower()
    return name if name.endswith("runner") else f"{name}runner"


def runs_elsewhere(options: PipelineOptions) -> bool:
    """Whether the workers are machines that see nothing of this one's disks."""
    return "dataflow" in _runner_class(options)


def is_described_only(options: PipelineOptions) -> bool:
    """Whether Dataflow's job is written down (a template, a dry run) and somebody else is to start it."""
    return bool(options.view_as(GoogleCloudOptions).template_location or options.view_as(TestOptions).dry_run)
