"""Options that do nothing beside others: accepted, with a warning of one line each."""

from __future__ import annotations

import pytest

from lanser_ops.labelling.options import label_spec
from pipelines import build, options

GIVEN = ["--input", "a", "--output", "b", "--taxonomy", "ekman"]


@pytest.mark.parametrize(
    ("argv", "warnings"),
    [
        (["--num-shards", "3"], []),
        (["--num-shards", "3", "--shard-size-mb", "64"],
         ["--shard-size-mb does nothing with --num-shards, which decides"]),
        (["--other-languages", "flag"], ["--other-languages flag does nothing with --language auto, which admits all"]),
        (["--other-languages", "flag", "--language", "en"], []),
        (["--prior", "null", "--prior-strength", "0"], ["--prior null does nothing with --prior-strength 0"]),
        (["--prior", "none", "--prior-strength", "0.2"], ["--prior-strength 0.2 does nothing with --prior none"]),
        (["--prior-strength", "0"], []),
        (["--accelerator", "--min-ram", "8GB"],
         ["--accelerator does nothing without --runner, which names a service",
          "--min-ram does nothing without --runner, which names a service"]),
        (["--accelerator", "--runner", "DataflowRunner"], []),
    ],
)  # fmt: skip
def test_an_option_without_effect_is_named(capsys, argv, warnings):
    args, _ = options.parse(build.build_parser(), [*GIVEN, *argv])
    options.plan_options(args)
    options.transcribe_spec(args)
    label_spec(args)
    assert capsys.readouterr().err.splitlines() == [f"warning: {line}" for line in warnings]
