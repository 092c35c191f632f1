"""``lanser evaluate``: a trained model on a corpus that it was not trained on, with the emotions that both share.

The model is taken as it is: one that was fine-tuned on another corpus (cross-corpus), or one that has seen weak labels
alone (zero-shot).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lanser_ops.common.command import guarded, output_folder
from lanser_ops.common.device import DEVICES, resolve_device
from lanser_ops.common.errors import InputError, naming
from lanser_ops.common.label_map import MAX_BYTES, parse_map
from lanser_ops.common.parser import Parser
from training.compare import TITLES, percent
from training.corpora.read import add_corpus_options, load, read_corpus
from training.corpora.utterance import TEST, clip_names
from training.label_names import match_labels
from training.model_files import model_folder

EVALUATION = "evaluation.json"
IMAGES = (".png", ".svg")


def build_parser() -> Parser:
    parser = Parser(
        "evaluate",
        "Evaluate a model on another corpus, as it is.",
        example="lanser evaluate --checkpoint run --data ravdess --root RAVDESS",
    )
    parser.add_argument("--checkpoint", required=True, metavar="RUN", help="the output of lanser pretrain or finetune")
    add_corpus_options(parser, has_folds=False)
    parser.add_argument(
        "--map", metavar="FILE.yaml", help="the model's labels to other names first, such as 'grief: sadness'"
    )
    parser.add_argument(
        "--output", type=output_folder, metavar="DIR", help=f"folder for {EVALUATION} and the predictions"
    )
    parser.add_argument("--image", type=Path, metavar="FILE", help="draw the confusion matrix; .png or .svg")
    parser.add_argument(
        "--cache", type=output_folder, metavar="DIR", help="keep the features here, for all models of one encoder"
    )
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    return parser


def run(argv: Sequence[str]) -> None:
    """Parse ``argv``, evaluate, print figures and confusion matrix; raises InputError for what the user has to fix."""
    args = build_parser().parse_args(argv)
    if args.image and args.image.suffix.lower() not in IMAGES:
        raise InputError(f"--image {args.image}: use a name that ends in {' or '.join(IMAGES)}")
    model_folder(args.checkpoint)
    renamed = _read_map(args.map)
    corpus = read_corpus(args.data, args.root, args.labels)
    # Not for --help or a mistyped option: torch and transformers take seconds to import.
    import torch

    from schemas.metrics import confusion
    from training.classifier import probabilities
    from training.confusion import draw_confusion, text_confusion
    from training.level import measure_sound
    from training.model import load_model
    from training.predictions import PREDICTIONS, Prediction, predict_label, write_predictions
    from training.statistics import intervals

    device = torch.device(resolve_device(args.device))
    model = load_model(args.checkpoint)
    match = match_labels(model.spec.labels, corpus.labels, renamed)
    # Of a corpus with splits only the test rows are tested on, so that the figures compare with published ones.
    has_splits = any(utterance.split for utterance in corpus.utterances)
    tested = [
        row for row, utterance in enumerate(corpus.utterances)
        if utterance.label in match.labels and (not has_splits or utterance.split == TEST)
    ]  # fmt: skip
    if not tested:
        raise InputError(f"--data {args.data}: no row of the test split has a label of the model; give test rows")
    clips, skipped = load(corpus, tested)
    # The gain is that of the corpus, whose level may differ from that of the training.
    model.spec = replace(model.spec, gain_db=measure_sound(clips.values()).gain_db)
    by_class = probabilities(model, list(clips.values()), device, args.cache)
    shared = torch.stack([by_class[:, list(columns)].sum(dim=1) for columns in match.columns], dim=1)
    # No class may have any probability left that the corpus knows nothing of.
    shared = shared / shared.sum(dim=1, keepdim=True).clamp(min=torch.finfo(shared.dtype).tiny)
    names = clip_names(corpus)
    predictions = []
    for row, values in zip(clips, shared.tolist(), strict=True):
        utterance = corpus.utterances[row]
        label, by_label = predict_label(values, match.labels)
        predictions.append(Prediction(1.0, 0, 0, names[row], utterance.group, utterance.label, label, by_label))
    index = {label: number for number, label in enumerate(match.labels)}
    counts = confusion(
        [index[row.gold] for row in predictions], [index[row.predicted] for row in predictions], len(index)
    )
    figures = intervals(predictions)
    print(f"{len(predictions)} clips, {len(index)} shared labels (chance UA {1 / len(index):.1%})")
    left_out = [label for label in corpus.labels if label not in index]
    if left_out:
        print(f"left out, since the model has no such label: {', '.join(left_out)}")
    print("  ".join(f"{TITLES[name]} {percent(figure)} %" for name, figure in figures.items()) + ", 95 % intervals\n")
    print(text_confusion(counts, match.labels))
    if skipped:
        print(f"{len(skipped)} of {len(tested)} clips could not be decoded", file=sys.stderr)
    written = []
    if args.output:
        with naming(str(args.output)):
            args.output.mkdir(parents=True, exist_ok=True)
            report = {
                "checkpoint": args.checkpoint, "data": args.data, "labels": match.labels, "left_out": left_out,
                "clips": len(predictions), "skipped": skipped, "confusion": counts.tolist(),
                "figures": {name: asdict(figure) for name, figure in figures.items()},
            }  # fmt: skip
            (args.output / EVALUATION).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            write_predictions(args.output / PREDICTIONS, predictions)
        written += [args.output / EVALUATION, args.output / PREDICTIONS]
    if args.image:
        draw_confusion(counts, match.labels, args.image)
        written.append(args.image)
    if written:
        print(f"\nwrote {', '.join(map(str, written))}")


def _read_map(path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"--map {path}: cannot be read ({error.strerror})") from None
    return parse_map(content, f"--map {path}")


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "evaluate", interrupted="interrupted; nothing was saved", extra="train")


if __name__ == "__main__":
    raise SystemExit(main())
