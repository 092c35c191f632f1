"""The runner of a job, where it is not simply the one that Beam's --runner names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apache_beam as beam

from lanser_ops import beam_compat
from lanser_ops.common.errors import InputError, first_line
from pipelines.beam_flags import RUNNER
from pipelines.beam_options import is_dask, is_direct, is_prism

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

PRISM_RELEASES = "https://github.com/apache/beam/releases"


def runner_of(options: PipelineOptions, units: int, workers: int, verbose: bool) -> beam_compat.PipelineRunner | None:
    """The runner for a job of so many units; None where the choice is Beam's.

    ``workers`` are processes of the direct runner. Raises InputError where Dask has no cluster or Prism no binary.
    """
    if is_direct(options):
        return beam_compat.direct_runner(options, workers, verbose)
    if is_dask(options):
        from lanser_ops import beam_dask

        beam_dask.check_cluster(options)
        return beam_dask.DaskRunner(units)
    if is_prism(options):
        try:
            beam_compat.find_prism(options)
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(
                f"{RUNNER} PrismRunner: its binary was not found and could not be downloaded "
                f"({first_line(error).split('. ')[0]}); get apache_beam-v{beam.__version__}-prism-….zip from "
                f"{PRISM_RELEASES}, and give its path to --prism_location"
            ) from None
    return None
