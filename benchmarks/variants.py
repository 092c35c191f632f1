"""The choices of options that `benchmarks.labels` measures, table by table."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass, replace

from lanser_ops.labelling.options import add_label_options, label_spec
from pipelines.options import add_shard_options, shard_spec
from schemas.specs import LabelSpec, ShardSpec

TAXONOMY = "ekman"
PAIRS = "--taxonomy benchmarks/taxonomies/ekman-pairs.yaml"
WORDS = "--taxonomy benchmarks/taxonomies/ekman-words.yaml"
ABSENCE = "--taxonomy benchmarks/taxonomies/ekman-absence.yaml"
GROUPS = "--taxonomy examples/ekman-groups.yaml"


@dataclass(frozen=True)
class Variant:
    """``options`` as `lanser build` takes them; ``aggregate`` in the place of the taxonomy's."""

    options: str = ""
    aggregate: str = ""

    @property
    def name(self) -> str:
        """What a row is called."""
        aggregate = f"`aggregate: {self.aggregate}`" if self.aggregate else ""
        options = f"`{self.options}`" if self.options else ""
        return ", ".join(part for part in (options, aggregate) if part) or "the defaults"

    def specs(self, model: str) -> tuple[LabelSpec, ShardSpec]:
        parser = argparse.ArgumentParser()
        add_label_options(parser)
        add_shard_options(parser)
        args = parser.parse_args(["--taxonomy", TAXONOMY, "--nli-model", model, *shlex.split(self.options)])
        spec = label_spec(args)
        taxonomy = replace(spec.taxonomy, aggregate=self.aggregate or spec.taxonomy.aggregate)
        return replace(spec, taxonomy=taxonomy), shard_spec(args)


STRENGTHS = [
    Variant(f"--against {against} --prior-strength {strength}")
    for against in ("all", "contradiction")
    for strength in (0, 0.25, 0.3, 0.4, 0.5, 1)
]
NULL_PRIORS = [
    Variant(f"--against {against} --prior null --prior-strength {strength}")
    for against in ("all", "contradiction")
    for strength in (0.25, 0.4, 0.5, 1)
]
SEVERAL = [Variant(options, how) for options in (PAIRS, WORDS) for how in ("max", "mean", "odds")]
GROUPED = [
    Variant(f"{GROUPS} --prior-strength {strength}", how) for how in ("max", "mean", "odds") for strength in (0, 0.4)
]
SELECTIONS = [
    Variant(options)
    for options in (
        "--min-margin 0.2",
        "--max-repeats 1",
        "--keep-top 0.5",
        "--keep-top 0.25",
        "--per-label 200",
        "--balance 3",
        "--max-repeats 1 --keep-top 0.5 --balance 3",
        "--prior-strength 0 --min-margin 0.2",
        "--prior-strength 0 --keep-top 0.5",
    )
]

DIALOGUE_TABLES = {
    "Against and strength of the corpus prior": STRENGTHS,
    "Prior from the empty text": NULL_PRIORS,
    "Neutral as absence": [
        Variant(f"{ABSENCE} --prior-strength {strength} --neutral-threshold {threshold}")
        for strength, thresholds in ((0, (-1, -0.5, -0.25)), (0.4, (-0.5, 0, 0.5)), (1, (1, 1.5, 2)))
        for threshold in thresholds
    ],
    "Selection": SELECTIONS,
    "Several hypotheses for a label": SEVERAL,
    "28 labels in groups": GROUPED,
    "Context": [
        Variant(f"--context {context} --prior-strength {strength}") for context in (1, 2) for strength in (0.25, 0.4)
    ],
}
COMMENT_TABLES = {
    "Against and strength of the corpus prior": STRENGTHS,
    "Several hypotheses for a label": SEVERAL[:3],
    "28 labels in groups": GROUPED,
    "Selection": SELECTIONS[:3],
}
