"""What `beam_dask` adds to Beam's runner for Dask, on a cluster of two threads of this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import distributed
import pytest
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import GlobalWindows

from lanser_ops import beam_dask
from lanser_ops.common.errors import InputError


class AtTheEnd(beam.DoFn):
    """Gives the squares of its elements when the bundle ends, and leaves a line for every call of interest."""

    def __init__(self, log: Path):
        self._log = log

    def setup(self) -> None:
        self._say("setup")

    def start_bundle(self) -> None:
        self._elements: list[int] = []

    def process(self, element: int) -> None:
        self._say(str(element))
        Metrics.counter("lanser", "elements").inc()
        Metrics.distribution("lanser", "sizes").update(element)
        self._elements.append(element)

    def finish_bundle(self) -> Iterator:
        for element in self._elements:
            yield GlobalWindows.windowed_value_at_end_of_window(element * element)

    def teardown(self) -> None:
        self._say("teardown")

    def _say(self, line: str) -> None:
        with self._log.open("a") as stream:
            stream.write(f"{line}\n")


@pytest.fixture(scope="module")
def flags() -> Iterator[list[str]]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield ["--runner", "DaskRunner", "--dask_client_address", cluster.scheduler_address]


def test_a_step_with_side_inputs_of_the_same_elements_runs_once(flags: list[str], tmp_path: Path):
    options = PipelineOptions(flags)
    with beam.Pipeline(runner=beam_dask.DaskRunner(5), options=options) as pipeline:
        numbers = pipeline | beam.Create(range(5), reshuffle=False) | beam.Reshuffle()
        squares = numbers | beam.ParDo(AtTheEnd(tmp_path / "log"))
        total = beam.pvalue.AsSingleton(squares | "All" >> beam.combiners.ToList() | "Total" >> beam.Map(sum))
        odd = beam.pvalue.AsMultiMap(
            squares | "Odd" >> beam.FlatMap(lambda square: [(square, "odd"), (square, "!")] if square % 2 else [])
        )
        _ = (
            squares
            | "Rest" >> beam.Map(lambda square, total: (square, total - square), total)
            | "Names" >> beam.Map(lambda pair, odd: (*pair, *odd[pair[0]]), odd)
            | "Gather" >> beam.combiners.ToList()
            | "Write" >> beam.Map(lambda rows, path: path.write_text(repr(sorted(rows))), tmp_path / "rows")
        )
    assert (tmp_path / "rows").read_text() == repr(
        [(0, 30), (1, 29, "odd", "!"), (4, 26), (9, 21, "odd", "!"), (16, 14)]
    )
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(line for line in lines if line.isdigit()) == ["0", "1", "2", "3", "4"]
    assert 1 <= lines.count("setup") == lines.count("teardown") <= 2
    metrics = pipeline.result.metrics().query()
    (elements,), (sizes,) = metrics["counters"], metrics["distributions"]
    assert (elements.key.metric.name, elements.result) == ("elements", 5)
    assert (sizes.result.count, sizes.result.sum, sizes.result.min, sizes.result.max) == (5, 10, 0, 4)


def test_an_error_of_a_step_is_raised_as_it_is(flags: list[str]):
    def refuse(_: int) -> None:
        raise InputError("the disk is full")

    with (
        pytest.raises(InputError, match="the disk is full"),
        beam.Pipeline(runner=beam_dask.DaskRunner(2), options=PipelineOptions(flags)) as pipeline,
    ):
        _ = pipeline | beam.Create([1, 2]) | beam.Map(refuse)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--dask_client_address", "tcp://127.0.0.1:9", "no scheduler there (Timed out"),
        ("--dask_scheduler_file", "nowhere/scheduler.json", "no such file; start dask scheduler --scheduler-file "),
    ],
)
def test_a_cluster_that_is_not_there_is_refused(option: str, value: str, message: str):
    options = PipelineOptions([option, value, "--dask_connection_timeout", "1"])
    with pytest.raises(InputError) as error:
        beam_dask.check_cluster(options)
    assert str(error.value).startswith(f"{option} {value}: {message}") and "\n" not in str(error.value)
