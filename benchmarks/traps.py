"""Sentences with the word of an emotion, once without the emotion and once with it: how many are labelled right.

    python benchmarks/traps.py
    python benchmarks/traps.py --nli-model FacebookAI/roberta-large-mnli --wrong

`traps.tsv` has 60 pairs, such as "I'm afraid so." (neutral) and "I'm afraid of him." (fear). A pair counts if both are
right. The labels are Ekman's; as in ``lanser try``, everyday sentences stand for the corpus of the corpus prior, so the
mixture of the pairs does not matter. ``--wrong`` lists what the defaults get wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lanser_ops.backends import BUNDLED
from lanser_ops.commands.agreement import read_labelled
from lanser_ops.commands.try_texts import reference_sentences
from lanser_ops.labelling.options import add_label_options, label_spec
from lanser_ops.labelling.texts import score_texts
from schemas.taxonomy import NEUTRAL

TRAPS = Path(__file__).with_name("traps.tsv")
CHOICES = ("", "--prior-strength 0", "--against contradiction", "--against contradiction --prior-strength 0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nli-model", default=BUNDLED, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--wrong", action="store_true", help="list the sentences that the defaults label wrong")
    args = parser.parse_args()
    options = argparse.ArgumentParser()
    add_label_options(options)
    print("| options | pairs | neutral halves | emotional halves | sentences |\n|---|---|---|---|---|")
    mistakes: list[str] = []
    for choice in CHOICES:
        spec = label_spec(options.parse_args(["--taxonomy", "ekman", "--nli-model", args.nli_model, *choice.split()]))
        labelled = read_labelled(str(TRAPS), {}, spec.taxonomy, spec.context)
        texts, truth = labelled.texts, labelled.truth
        scored = score_texts(texts, args.nli_model, spec, "cpu", args.threads, labelled.previous, reference_sentences())
        predicted = scored.ranked(spec).argmax(axis=1)
        right = predicted == np.array(truth)
        names = [label.name for label in spec.taxonomy.labels]
        neutral = np.array(truth) == names.index(NEUTRAL)
        shares = [right.reshape(-1, 2).all(axis=1), right[neutral], right[~neutral], right]
        print(f"| {f'`{choice}`' if choice else 'the defaults'} | {' | '.join(f'{s.mean():.0%}' for s in shares)} |")
        if not choice:
            mistakes = [
                f"{names[label]} instead of {names[human]}: {text}"
                for text, human, label in zip(texts, truth, predicted.tolist(), strict=True)
                if label != human
            ]
    if args.wrong:
        print("", *mistakes, sep="\n")


if __name__ == "__main__":
    main()
