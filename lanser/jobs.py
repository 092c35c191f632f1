"""Jobs over a corpus, in this process or wherever Beam runs them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from os import PathLike
from types import ModuleType
from typing import Any

from lanser.arguments import Values, arguments

Places = str | PathLike[str] | Sequence[str | PathLike[str]]


def build(input: Places, output: str | PathLike[str], taxonomy: str | PathLike[str], **options: Values) -> dict:
    """Audio to weak-label shards, as ``lanser build`` does it; a job that was stopped continues.

    Args:
        input: folders, globs, manifests or tars, local or on an object store.
        output: the output directory; docs/formats.md describes its files.
        taxonomy: the name of a shipped taxonomy, or a YAML file.
        options: those of ``lanser build --help`` with underscores for hyphens, such as ``nli_model="…"``,
            ``keep_flagged=True`` or ``template=["…", "…"]``. Options of Beam's are passed on as they are named
            (``runner="DataflowRunner"`` is ``--runner``).

    Returns:
        What dataset.json holds: the options, the models with their hashes, and the statistics.

    Raises:
        InputError: an option, a file or a model that cannot be used, or an output made with other options.

    Examples:
        >>> import lanser
        >>> dataset = lanser.build("examples/audio/awb", "out", "ekman", num_shards=1, threads=1)
        >>> dataset["taxonomies"]["ekman"]["accounts"]["utterances"]
        5
    """
    from pipelines import build as command

    return _run(command, {"input": input, "output": output, "taxonomy": taxonomy, **options})


def relabel(shards: Places, output: str | PathLike[str], taxonomy: str | PathLike[str], **options: Values) -> dict:
    """Shards to shards for another taxonomy, as ``lanser relabel`` does it: nothing is recognised or decoded again.

    The arguments, the result and the errors are those of `build`; ``shards`` are output directories, folders of shards
    or the tars themselves.

    Examples:
        >>> import lanser
        >>> dataset = lanser.build("examples/audio/awb", "out", "ekman", num_shards=1, threads=1)
        >>> dataset = lanser.relabel("out", "relabelled", "cremad6")
        >>> sorted(dataset["taxonomies"])
        ['cremad6']
    """
    from pipelines import relabel as command

    return _run(command, {"shards": shards, "output": output, "taxonomy": taxonomy, **options})


def _run(command: ModuleType, options: dict[str, Any]) -> dict:
    from lanser_ops import storage
    from lanser_ops.output.dataset import read_dataset
    from lanser_ops.output.directory import OutputDir

    argv = arguments(command.build_parser(), options)
    # What a command prints is in the result; progress and warnings go to stderr.
    with contextlib.redirect_stdout(io.StringIO()):
        command.run(argv)
    return read_dataset(OutputDir(storage.absolute(str(options["output"]))))
