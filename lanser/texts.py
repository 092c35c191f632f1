"""Weak labels of texts, without audio and without an output directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from lanser.arguments import Values, arguments


@dataclass(frozen=True)
class TextLabel:
    """The weak label of ``text``: see `schemas.records.WeakLabel`. ``entailment`` has the scores of all labels."""

    text: str
    label: str
    score: float
    margin: float
    entailment: dict[str, float]


def label_texts(texts: Sequence[str], taxonomy: str | PathLike[str] = "ekman", **options: Values) -> list[TextLabel]:
    """The weak labels of ``texts``, in their order, as ``lanser try`` chooses them.

    The model is loaded once per call: give many texts at once.

    Args:
        texts: utterances; with ``context=K`` they are a dialogue in this order.
        taxonomy: the name of a shipped taxonomy, or a YAML file.
        options: those of ``lanser try --help`` with underscores for hyphens, such as ``nli_model``, ``template`` or
            ``prior_strength``. The corpus prior is that of ``texts`` and of everyday sentences.

    Raises:
        InputError: a taxonomy, template or model that cannot be used, or ``texts`` that are none.

    Examples:
        >>> import lanser
        >>> [result.label for result in lanser.label_texts(["I am so happy for you!", "I am so angry with you!"])]
        ['joy', 'anger']
    """
    from lanser_ops.commands import try_texts
    from lanser_ops.common.errors import InputError
    from lanser_ops.common.label_scores import average, margins

    if isinstance(texts, str):  # a sequence too, of its letters
        raise InputError("texts is a single string; give a list of strings")
    parser = try_texts.build_parser()
    args = parser.parse_args(arguments(parser, {"taxonomy": taxonomy, **options}))
    if not texts:
        return []
    spec, text_scores = try_texts.score(args, texts)
    ranked = text_scores.ranked(spec)
    entailment, leads, best = average(text_scores.by_template), margins(ranked), ranked.argmax(axis=1)
    names = spec.taxonomy.label_names
    return [
        TextLabel(
            text=text,
            label=names[best[row]],
            score=float(ranked[row, best[row]]),
            margin=float(leads[row]),
            entailment=dict(zip(names, entailment[row].tolist(), strict=True)),
        )
        for row, text in enumerate(texts)
    ]
