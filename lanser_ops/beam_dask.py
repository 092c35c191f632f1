"""Beam's runner for Dask, and what a job of lanser needs that it lacks as of Beam 2.77.

Beam's own (`apache_beam.runners.dask`) translates a pipeline to a Dask bag, a step to a function of its partitions. It
hands a side input to a step as a bag that is computed again wherever it is read, with all the steps before it; drops
what a step emits at the end of a bundle, which is where Beam's batches come from; sets a step up for every bundle, and
so would load the models for every unit; shuffles each group through as many partitions as there are; and has no
metrics. What replaces it here is in `_ParDo`, `_GroupByKey` and `_Result`; the rest is Beam's.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import apache_beam as beam
import dask
import distributed
from apache_beam.metrics import monitoring_infos
from apache_beam.metrics.execution import MetricsContainer
from apache_beam.metrics.metric import MetricResults
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform
from apache_beam.portability.api import metrics_pb2
from apache_beam.runners.common import DoFnContext, DoFnInvoker, DoFnSignature, _OutputHandler
from apache_beam.runners.dask import dask_runner as beams
from apache_beam.runners.dask import overrides
from apache_beam.runners.dask import transform_evaluator as evaluator
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiMetrics
from apache_beam.runners.worker import statesampler
from apache_beam.transforms.sideinputs import SideInputMap
from apache_beam.transforms.window import WindowFn
from apache_beam.utils.counters import CounterFactory
from dask.bag import Bag
from distributed.protocol import pickle

from lanser_ops.common.errors import InputError, first_line

# Beyond this number units share partitions. A unit is some ten tasks, and the scheduler spends up to a millisecond on
# each (Best Practices of docs.dask.org).
MAX_PARTITIONS = 4096
# The steps that a worker process has set up, by job, thread and name: a thread runs one bundle at a time.
_steps: dict[tuple[str, int, str], beam.DoFn] = {}


def check_cluster(options: PipelineOptions) -> None:
    """Raise InputError where the cluster that ``options`` name cannot be reached: a client would wait for its file."""
    dask_options = options.view_as(beams.DaskOptions)
    file, address = dask_options.scheduler_file, dask_options.address
    if file and not os.path.exists(file):
        raise InputError(f"--dask_scheduler_file {file}: no such file; start dask scheduler --scheduler-file {file}")
    if address:
        seconds = {"timeout": dask_options.timeout} if dask_options.timeout else {}
        try:
            distributed.Client(address, **seconds).close()
        except (OSError, ValueError) as error:
            raise InputError(
                f"--dask_client_address {address}: no scheduler there ({first_line(error)}); start dask scheduler"
            ) from None


class DaskRunner(beams.DaskRunner):
    """Beam's runner for Dask, for a pipeline that starts with ``units`` elements."""

    def __init__(self, units: int):
        super().__init__()
        self._units = units

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> _Result:
        dask_options = options.view_as(beams.DaskOptions)
        if not (dask_options.npartitions or dask_options.partition_size):
            dask_options.npartitions = min(self._units, MAX_PARTITIONS)
        job = uuid.uuid4().hex
        with _translations(job):
            result = super().run_pipeline(pipeline, options)
        return _Result(result.client, result.futures, job)


@contextlib.contextmanager
def _translations(job: str) -> Iterator[None]:
    """Let Beam's runner translate with `_ParDo` and `_GroupByKey` during the block."""
    translations: dict[Any, Any] = evaluator.TRANSLATIONS
    before = dict(translations)
    translations |= {beam.ParDo: partial(_ParDo, job), overrides._GroupByKeyOnly: _GroupByKey}
    try:
        yield
    finally:
        translations |= before


@dataclass(frozen=True)
class _Step:
    """A DoFn with its arguments, as a worker gets it; ``views`` are (class, options) of its side inputs."""

    job: str
    name: str
    fn: beam.DoFn
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    window_fn: WindowFn
    views: tuple[tuple[Any, dict[str, Any]], ...]


@dataclass(frozen=True)
class _ParDo:
    """A step as a function of partitions, each of them a bundle; the fields after ``job`` are those of Beam's own."""

    job: str
    applied: AppliedPTransform
    bag_kwargs: dict[str, Any]

    def apply(self, input_bag: Bag, side_inputs: list[SideInputMap] | None) -> Bag:
        (main_input,) = cast(Iterable[beam.PCollection], self.applied.main_inputs.values())
        transform = cast(beam.ParDo, self.applied.transform)
        step = _Step(
            self.job,
            self.applied.full_label,
            transform.fn,
            tuple(transform.args),
            transform.kwargs,
            main_input.windowing.windowfn,
            tuple((type(view), view._view_options()) for view in self.applied.side_inputs),
        )
        # Each becomes one value, which Dask computes before the step; optimized apart, its bag would be computed twice.
        bags = [side_input._iterable.bag for side_input in side_inputs or ()]
        values = [dask.delayed(_joined)(bag.to_delayed(optimize_graph=False)) for bag in bags]
        return input_bag.map_partitions(_run_bundle, step, *values)


@dataclass(frozen=True)
class _GroupByKey:
    """Groups on one worker: those of a job are lists of small things, for the whole corpus, under one key."""

    applied: AppliedPTransform
    bag_kwargs: dict[str, Any]

    def apply(self, input_bag: Bag, side_inputs: None) -> Bag:
        return input_bag.repartition(npartitions=1).map_partitions(_grouped)


def _joined(partitions: list[list[Any]]) -> list[Any]:
    return [element for partition in partitions for element in partition]


def _grouped(elements: Iterable[tuple[Any, Any]]) -> list[tuple[Any, list[Any]]]:
    groups = defaultdict(list)
    for key, element in elements:
        groups[key].append(evaluator.defenestrate(element))
    return list(groups.items())


def _run_bundle(elements: Iterable[Any], step: _Step, *side_inputs: list[Any]) -> list[Any]:
    """Run ``step`` on the elements of a partition; its metrics go to the client as an event."""
    fn = _set_up(step)
    receivers = evaluator.OneReceiver()
    invoker = DoFnInvoker.create_invoker(
        DoFnSignature(fn),
        _OutputHandler(
            window_fn=step.window_fn,
            main_receivers=receivers[None],
            tagged_receivers=receivers,
            per_element_output_counter=None,
            output_batch_converter=None,
            process_yields_batches=False,
            process_batch_yields_elements=False,
        ),
        context=DoFnContext(step.name, state=None),
        side_inputs=[
            SideInputMap(view, options, [_windowed(element, step) for element in side_input])
            for (view, options), side_input in zip(step.views, side_inputs, strict=True)
        ],
        input_args=step.args,
        input_kwargs=step.kwargs,
        user_state_context=None,
        bundle_finalizer_param=beam.DoFn.BundleFinalizerParam(),
    )
    with _measured(step):
        invoker.invoke_start_bundle()
        for element in elements:
            invoker.invoke_process(_windowed(element, step))
        invoker.invoke_finish_bundle()
    return [windowed.value for windowed in receivers.values]


def _set_up(step: _Step) -> beam.DoFn:
    key = (step.job, threading.get_ident(), step.name)
    if key not in _steps:
        # A DoFn of its own, as a worker in another process gets it: threads of one may be handed the same object.
        fn = pickle.loads(pickle.dumps(step.fn))
        fn.setup()
        _steps[key] = fn
    return _steps[key]


def _windowed(element: Any, step: _Step) -> Any:
    return evaluator.get_windowed_value(element, step.window_fn)


@contextlib.contextmanager
def _measured(step: _Step) -> Iterator[None]:
    """Collect what the block counts, and send it to whoever reads the events of the job."""
    container = MetricsContainer(step.name)
    sampler = statesampler.StateSampler("", CounterFactory())
    sampler.start()
    try:
        with sampler.scoped_state(step.name, "process", metrics_container=container):
            yield
    finally:
        sampler.stop()
    infos = container.to_runner_api_monitoring_infos(step.name).values()
    if infos:
        distributed.get_worker().log_event(step.job, [info.SerializeToString() for info in infos])


def _tear_down(job: str) -> None:
    """Forget the steps of a job, and with them its models."""
    for key in [key for key in _steps if key[0] == job]:
        _steps.pop(key).teardown()


class _Result(beams.DaskRunnerResult):
    """A job on a cluster: `metrics` are those of its bundles, also of bundles that were run twice."""

    def __init__(self, client: distributed.Client, futures: list[distributed.Future], job: str):
        super().__init__(client, futures)
        self._job = job
        self._infos: list[metrics_pb2.MonitoringInfo] = []

    def wait_until_finish(self, duration: int | None = None) -> str:
        try:
            return super().wait_until_finish(duration)
        finally:
            with contextlib.suppress(Exception):  # of a cluster that is gone, the job's own error is what counts
                events = self.client.get_events(self._job)
                payloads = [payload for _, event in events for payload in event]
                self._infos = [metrics_pb2.MonitoringInfo.FromString(payload) for payload in payloads]
                self.client.run(_tear_down, self._job, on_error="ignore")
            self.client.close()

    def metrics(self) -> MetricResults:
        return FnApiMetrics({"": list(monitoring_infos.consolidate(self._infos))})
