"""A folder that can be uploaded to the Hugging Face hub: weights, configuration and a model card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.common.errors import InputError
from schemas.metrics import FIGURES
from training.features import LOG_MEL
from training.finetune import RESULTS
from training.frozen import MAX_S
from training.model import EmotionModel, save_model
from training.pretrain import OPTIONS

CARD, PREPROCESSOR = "README.md", "preprocessor_config.json"
TASK = "audio-classification"
METRICS = {"ua": "unweighted accuracy", "wa": "accuracy", "macro_f1": "macro F1"}

TEXT = """\
---
{metadata}
---

# {name}

Recognises an emotion in a clip of speech: {labels}.

## Use

    from lanser_ops.audio.decode import read_all
    from training.classifier import probabilities
    from training.model import load_model

    model = load_model("{name}")                                # this folder
    wave = read_all(open("clip.wav", "rb"))                     # 16 kHz mono, float32
    print(model.spec.labels, probabilities(model, [wave])[0])

Needs the package `lanser` with its extra `train`. Of a clip longer than {max_s:g} s the middle is used.

## Training

{training}

## Evaluation

{evaluation}

## Limits

- The labels are what raters or a text model named, not what a speaker felt; acted speech exaggerates.
- Accuracy on other languages, microphones and ways of speaking is not known unless it is stated above, and is usually
  far lower than on the corpus of the training.
- Not for decisions about people. Emotion recognition in workplaces and schools is prohibited in the European Union
  (Regulation (EU) 2024/1689, article 5).

## Licence

{licence}
"""


def export_hub(model: EmotionModel, run: Path, folder: Path, licence: str | None) -> None:
    """Write ``model``, its preprocessor settings and a model card to ``folder``, which `load_model` reads.

    ``run`` is the run that the model is of; its records tell the card of training data and figures. ``licence`` is an
    identifier of the hub. Raises InputError for records that cannot be read, and for a folder with a README of others.
    """
    if (folder / CARD).exists() and not (folder / PREPROCESSOR).exists():
        raise InputError(f"--output {folder}: has a {CARD} that lanser did not write; choose another folder")
    results, options = (_record(run / name) for name in (RESULTS, OPTIONS))
    save_model(model, folder)
    settings = {"sampling_rate": SAMPLE_RATE, "channels": 1, "max_seconds": MAX_S, "log_mel": asdict(LOG_MEL)}
    (folder / PREPROCESSOR).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    name = folder.resolve().name
    metadata = ModelCardData(
        license=licence or "other",
        license_name=None if licence else "not-stated",
        library_name="lanser",
        pipeline_tag=TASK,
        tags=["speech-emotion-recognition", model.spec.backbone, *model.spec.labels],
        model_name=name,
        eval_results=_eval_results(results) or None,
        metrics=list(METRICS.values()) if results else None,
    )
    text = TEXT.format(
        metadata=metadata.to_yaml(),
        name=name,
        labels=", ".join(model.spec.labels),
        max_s=MAX_S,
        training=_training(model, results, options),
        evaluation=_evaluation(results),
        licence=f"`{licence}`"
        if licence
        else "Not stated: before you publish, state one that the training data allow.",
    )
    (folder / CARD).write_text(text, encoding="utf-8")


def _record(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore or remove it") from None


def _eval_results(results: dict[str, Any]) -> list[EvalResult]:
    if not results:
        return []
    data = Path(results["options"]["data"]).stem
    row = _best_supplied(results)
    return [
        EvalResult(TASK, data, data, title, row[f"{name}_mean"], task_name="speech emotion recognition")
        for name, title in METRICS.items()
    ]


def _best_supplied(results: dict[str, Any]) -> dict[str, Any]:
    """The row of the summary with the most labels: the exported model is trained on all of them."""
    return max(results["summary"], key=lambda row: row["fraction"])


def _training(model: EmotionModel, results: dict[str, Any], options: dict[str, Any]) -> str:
    lines = [f"- Network: `{model.spec.backbone}`"]
    if results:
        used = results["options"]
        start = f"`{used['checkpoint']}`" if used.get("checkpoint") else "random or published weights"
        lines += [
            f"- Labelled speech: `{Path(used['data']).stem}`, {results['clips']} clips",
            f"- From: {start}{', the network unchanged under a new classifier' if used.get('frozen') else ''}",
        ]
    elif options:
        lines += [
            f"- Weak labels of the taxonomy `{options['taxonomy']}`, from transcripts by textual entailment; no human "
            "labels",
            f"- SHA-256 of the shards' keys and labels: `{options['shards_sha256']}`",
        ]
    else:
        lines.append("- Training data: not recorded beside the checkpoint")
    return "\n".join(lines)


def _evaluation(results: dict[str, Any]) -> str:
    if not results:
        return "Not evaluated on human labels. `lanser evaluate` does it."
    row = _best_supplied(results)
    lines = ["| figure | mean | standard deviation over seeds |", "|---|---|---|"]
    lines += [f"| {METRICS[name]} | {row[f'{name}_mean']:.3f} | {row[f'{name}_std']:.3f} |" for name in FIGURES]
    low, high = row.get("ua_interval") or (None, None)
    if low is not None:
        lines += ["", f"95 % interval of unweighted accuracy, over speakers and seeds: {low:.3f} to {high:.3f}."]
    folds = len({run["fold"] for run in results["runs"]})
    lines += [
        "",
        f"Cross-validation: {folds} folds, {row['seeds']} seeds; each fold tests a model on speakers that it was not "
        "trained on. The model here was trained on all speakers afterwards.",
    ]
    return "\n".join(lines)
