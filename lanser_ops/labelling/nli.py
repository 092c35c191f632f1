"""P(entailment) of a hypothesis, given a transcript as premise, from an NLI sequence classifier.

The probability is that of the transformers ``zero-shot-classification`` pipeline with ``multi_label=True``
(Yin et al. 2019, arXiv:1909.00161): softmax over the logits of entailment and contradiction alone, the
neutral logit left out. Weighed against all classes instead, a hypothesis of which the premise says nothing
scores low. A classifier with two classes (entailment, not_entailment) gives the same both ways.

A pair's score must not depend, to the last bit, on the pairs that share its batch. Padding, and matrix
products whose shape follows the data, both break that. So a batch holds pairs of one exact length in tokens
(no padding exists), its number of rows is a function of that length alone, and a short last batch is filled
up with repeats. Bits are equal on one kind of machine; another CPU or library version may round otherwise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
import transformers  # names are looked up in use: to import them here takes every command two seconds
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import has_file
from transformers.utils.logging import disable_progress_bar

from lanser_ops import models
from lanser_ops.backends import BUNDLED
from lanser_ops.common.device import resolve_device
from lanser_ops.common.errors import InputError
from lanser_ops.labelling.base import Scores, round_score
from lanser_ops.labelling.fast_encoder import speed_up
from schemas.specs import LabelSpec, ModelRef
from schemas.taxonomy import DEFAULT_TEMPLATE, Taxonomy

ADVICE = "take a model fine-tuned on NLI with safetensors weights, such as FacebookAI/roberta-large-mnli"

# What entailment is weighed against.
CONTRADICTION, ALL = AGAINST = ("contradiction", "all")

# Tokens in a batch. CPU: the fewest at which matrix products run at full rate, since a unit of some hundred
# pairs has many lengths, and the last batch of each is filled up. A GPU needs more rows to be busy.
BATCH_TOKENS = {"cpu": 256, "cuda": 4096}


BUNDLED_ID = "lanser MiniLM-L6 NLI"
PRODUCTION = "FacebookAI/roberta-large-mnli"


class NliError(InputError):
    """An NLI model or hypothesis that cannot be used: one line that names it, the reason and the remedy."""


@dataclass(frozen=True)
class PairLayout:
    """How a model's input is put together: ``prefix`` premise ``middle`` hypothesis ``suffix``.

    ``inputs`` names the model's inputs: input_ids, and token_type_ids where the model wants them. The three
    pieces are int64 (inputs, tokens); ``premise_type`` and ``hypothesis_type`` are the halves' token types.
    """

    inputs: tuple[str, ...]
    prefix: np.ndarray
    premise_type: int
    middle: np.ndarray
    hypothesis_type: int
    suffix: np.ndarray


@dataclass(frozen=True)
class Scorer:
    """A loaded classifier. ``entailment`` is a class index, ``others`` those it is weighed against, ``max_length``
    counts the tokens of a whole pair, ``batch_tokens`` those of a batch (see ``batch_rows``), ``workers`` the
    batches that are computed side by side."""

    tokenizer: transformers.PreTrainedTokenizerBase
    model: transformers.PreTrainedModel
    device: torch.device
    entailment: int
    others: tuple[int, ...]
    layout: PairLayout
    max_length: int
    batch_tokens: int
    workers: int = 1

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        """See `score`."""
        return score(self, premises, hypotheses)


def resolve(name: str) -> ModelRef:
    """The sequence classifier of that name; whether it can tell entailment is checked by `scoring`."""
    if name == BUNDLED:
        return _bundled()
    advice = "a transformers model directory is needed"
    ref = models.find_model(name, "--nli-model", models.download_snapshot, "config.json", advice)
    bundled = _bundled()
    return replace(ref, id=bundled.id) if ref.sha256 == bundled.sha256 else ref


@lru_cache
def _bundled() -> ModelRef:
    path = str(files("lanser_ops").joinpath("assets", "nli"))
    return ModelRef(BUNDLED_ID, models.content_hash(path), path)


def scoring(
    model: ModelRef, taxonomy: Taxonomy, templates: Sequence[str], against: str | None
) -> tuple[tuple[str, ...], str]:
    """The given templates, or the taxonomy's, or the default one. Raises NliError for a model without NLI's classes."""
    check_nli_config(model.path)
    return tuple(templates) or (taxonomy.template or DEFAULT_TEMPLATE,), against or CONTRADICTION


def load(spec: LabelSpec, device: str, threads: int | None) -> Scorer:
    """The classifier of ``spec``; see `load_scorer`."""
    disable_progress_bar()  # a bar for loading weights would write over the job's own
    return load_scorer(spec.nli_model.path, resolve_device(device), threads, spec.against)


def has_gpu() -> bool:
    """Whether torch sees a GPU on this machine."""
    return resolve_device("auto") == "cuda"


def entailment_index(label2id: Mapping[str, int], model_name: str) -> tuple[int, int]:
    """Class indices of entailment and of its opposite (contradiction, or not_entailment), found by name.

    Names are compared without case and punctuation and may begin with ``LABEL_``; one that begins with
    ``not``, ``non`` or ``no`` is never entailment. Raises NliError where the names do not tell.
    """
    classes = ", ".join(sorted(label2id, key=lambda name: label2id[name]))
    names = [(re.sub(r"^label(?=\W|_)|[^a-z]", "", name.lower()), int(index)) for name, index in label2id.items()]
    entailment = [index for name, index in names if name.startswith("entail")]
    opposite = [index for name, index in names if name.startswith("contradict")]
    opposite = opposite or [index for name, index in names if re.match("no[nt]?entail", name)]
    if len(entailment) == len(opposite) == 1:
        return entailment[0], opposite[0]
    lacking = "contradiction or not_entailment" if len(entailment) == 1 else "entailment"
    raise NliError(f"NLI model {model_name!r} has the classes {classes}: not exactly one is {lacking}; {ADVICE}")


def check_nli_config(model_dir_or_id: str) -> tuple[int, int]:
    """Class indices of entailment and its opposite, from the configuration alone: no weights are read.

    Raises NliError for what ``load_scorer`` would refuse: no such directory or hub id, no readable
    config.json, no safetensors weights (a pickle can run code), classes that are not those of NLI.
    """
    return entailment_index(_load_config(model_dir_or_id).label2id, model_dir_or_id)


def load_scorer(
    model_dir_or_id: str, device: str = "cpu", threads: int | None = None, against: str = CONTRADICTION
) -> Scorer:
    """The classifier and tokenizer of a local directory or hub id, ready to score; ``against`` is one of AGAINST.

    Weights are safetensors, float32 on CPU and bfloat16 on CUDA (whose scores differ from float32 ones in the
    third digit); attention is SDPA where the architecture has it, else eager. On a CPU ``threads`` batches
    (default: one a core) are computed side by side, each on one thread: a fifth faster than all threads on one
    batch, where every operation waits for the slowest, and no sum depends on the number of threads. Raises
    NliError, one line, for a model that cannot be used.
    """
    config = _load_config(model_dir_or_id)
    entailment, contradiction = entailment_index(config.label2id, model_dir_or_id)
    place = torch.device(device)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir_or_id, trust_remote_code=False)
        model, loading = transformers.AutoModelForSequenceClassification.from_pretrained(
            model_dir_or_id,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.bfloat16 if place.type == "cuda" else torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # the loaders raise whatever their parsers do
        raise NliError(f"cannot load NLI model {model_dir_or_id!r}: {_first_line(error)}; {ADVICE}") from None
    if loading["missing_keys"]:
        lacking = ", ".join(sorted(loading["missing_keys"])[:3])
        raise NliError(f"NLI model {model_dir_or_id!r} has no weights for {lacking}; {ADVICE}")
    # Without its files transformers makes a tokenizer that knows no word, and says nothing.
    has_vocabulary = any(has_file(model_dir_or_id, name) for name in tokenizer.vocab_files_names.values())
    if not (tokenizer.is_fast and has_vocabulary):
        raise NliError(f"NLI model {model_dir_or_id!r} has no tokenizer.json or what one is made from; {ADVICE}")

    model.eval().requires_grad_(False).to(place)
    speed_up(model)
    return Scorer(
        tokenizer=tokenizer,
        model=model,
        device=place,
        entailment=entailment,
        others=tuple(sorted(set(config.label2id.values()) - {entailment})) if against == ALL else (contradiction,),
        layout=_pair_layout(tokenizer, model_dir_or_id),
        max_length=_max_length(tokenizer, model),
        batch_tokens=BATCH_TOKENS[place.type],
        workers=(threads or os.cpu_count() or 1) if place.type == "cpu" else 1,
    )


def score(scorer: Scorer, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
    """P(entailment) of every hypothesis given every premise.

    A premise may be empty. One that is too long for the model is cut, as in the pipeline; a hypothesis never
    is. Raises NliError for a hypothesis that leaves no room for a premise, and for logits that are not finite.
    Leaves torch's intra-op threads at 1.
    """
    layout, max_length = scorer.layout, scorer.max_length
    unique = {premise: index for index, premise in enumerate(dict.fromkeys(premises))}
    premise_ids = _token_ids(scorer.tokenizer, list(unique))
    hypothesis_ids = _token_ids(scorer.tokenizer, hypotheses)

    special_tokens = sum(piece.shape[1] for piece in (layout.prefix, layout.middle, layout.suffix))
    room = np.array([max_length - special_tokens - len(ids) for ids in hypothesis_ids], np.int64)
    if (room < 1).any():
        raise NliError(
            f"hypothesis {hypotheses[int(room.argmin())][:60]!r} leaves no room for a transcript in the "
            f"{max_length} tokens that the NLI model reads; shorten the template or the label's words"
        )
    premise_lengths = np.array([len(ids) for ids in premise_ids], np.int64)
    lengths = max_length - np.maximum(room[None, :] - premise_lengths[:, None], 0)

    premise_blocks = [_premise_block(layout, ids) for ids in premise_ids]
    hypothesis_blocks = [
        np.hstack([_block(layout, ids, layout.hypothesis_type), layout.suffix]) for ids in hypothesis_ids
    ]
    cut_left = scorer.tokenizer.truncation_side == "left"

    def compute(pairs: np.ndarray, rows: int, length: int) -> torch.Tensor:
        batch = np.empty((len(layout.inputs), rows, length), dtype=np.int64)
        for row, (premise, hypothesis) in enumerate(zip(*np.divmod(pairs, len(hypotheses)), strict=True)):
            head, tail = premise_blocks[premise], hypothesis_blocks[hypothesis]
            if head.shape[1] + tail.shape[1] > length:
                ids, keep = premise_ids[premise], room[hypothesis]
                head = _premise_block(layout, ids[-keep:] if cut_left else ids[:keep])
            batch[:, row, : head.shape[1]] = head
            batch[:, row, head.shape[1] :] = tail
        batch[:, len(pairs) :] = batch[:, :1]
        return _logits(scorer, batch)[: len(pairs)]

    batches = list(_batches(lengths.ravel(), scorer.batch_tokens))
    with ThreadPoolExecutor(scorer.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        parts = list(pool.map(compute, *zip(*batches, strict=True))) if batches else []

    entailment = np.empty(lengths.size, dtype=np.float32)
    if parts:
        logits = torch.cat(parts).cpu().numpy().astype(np.float64)
        if not np.isfinite(logits).all():
            raise NliError(f"NLI model {scorer.model.name_or_path!r} gives logits that are not finite; {ADVICE}")
        log_odds = logits[:, 0] - np.logaddexp.reduce(logits[:, 1:], axis=1)
        with np.errstate(over="ignore"):  # exp(-log_odds) past float64 is a probability of 0
            probabilities = 1 / (1 + np.exp(-log_odds))
        order = np.concatenate([pairs for pairs, _, _ in batches])
        entailment[order] = [round_score(value) for value in probabilities.tolist()]

    rows = np.array([unique[premise] for premise in premises], dtype=np.int64)
    truncated = (premise_lengths[:, None] > room[None, :]).any(axis=1)
    return Scores(entailment.reshape(lengths.shape)[rows], truncated[rows], lengths.size)


def batch_rows(length: int, batch_tokens: int) -> int:
    """Rows of a batch whose pairs are ``length`` tokens long: a function of the length alone."""
    return max(1, batch_tokens // length)


def _batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """(pair indices, rows, length) of one batch after the other, shortest pairs first."""
    order = np.argsort(lengths, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if len(group):
            length = int(lengths[group[0]])
            rows = batch_rows(length, batch_tokens)
            for start in range(0, len(group), rows):
                yield group[start : start + rows], rows, length


@torch.inference_mode()
def _logits(scorer: Scorer, batch: np.ndarray) -> torch.Tensor:
    """float32 (rows, 1 + others): the logit of entailment and those it is weighed against, left on the device.

    ``batch`` is int64 (inputs, rows, length). There is no padding, so the model gets no attention mask.
    """
    tensors = torch.from_numpy(batch).to(scorer.device)
    logits = scorer.model(**dict(zip(scorer.layout.inputs, tensors, strict=True))).logits.float()
    return logits[:, [scorer.entailment, *scorer.others]]


def _token_ids(tokenizer: transformers.PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text. "[SEP]" or "</s>" in a text is text: it must not end a premise."""
    if not texts:
        return []
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    return tokenizer(list(texts), return_attention_mask=False, return_token_type_ids=False, **options).input_ids


def _block(layout: PairLayout, ids: Sequence[int], token_type: int) -> np.ndarray:
    """int64 (inputs, tokens) of one half without special tokens."""
    rows = [ids, [token_type] * len(ids)]
    return np.array(rows[: len(layout.inputs)], dtype=np.int64).reshape(len(layout.inputs), len(ids))


def _premise_block(layout: PairLayout, ids: Sequence[int]) -> np.ndarray:
    return np.hstack([layout.prefix, _block(layout, ids, layout.premise_type), layout.middle])


def _pair_layout(tokenizer: transformers.PreTrainedTokenizerBase, model_name: str) -> PairLayout:
    """The layout of a pair that the tokenizer itself assembles, whatever its family does with special tokens."""
    halves = "a", "b"
    pair = tokenizer(*halves)
    inputs = tuple(name for name in ("input_ids", "token_type_ids") if name in pair)
    types = pair.get("token_type_ids", [0] * len(pair["input_ids"]))
    values = np.array([pair["input_ids"], types][: len(inputs)], dtype=np.int64)
    owner = pair.sequence_ids(0)
    start, split = owner.index(0), owner.index(1)
    end, stop = start + owner.count(0), split + owner.count(1)
    if [values[0, start:end].tolist(), values[0, split:stop].tolist()] != _token_ids(tokenizer, halves):
        raise NliError(f"the tokenizer of {model_name!r} does not join pairs from separate halves; {ADVICE}")
    return PairLayout(
        inputs=inputs,
        prefix=values[:, :start],
        premise_type=types[start],
        middle=values[:, end:split],
        hypothesis_type=types[split],
        suffix=values[:, stop:],
    )


def _max_length(tokenizer: transformers.PreTrainedTokenizerBase, model: transformers.PreTrainedModel) -> int:
    """Tokens that the model reads: the tokenizer's limit (often unset) or the positions, whichever is fewer."""
    positions = getattr(model.config, "max_position_embeddings", 512)
    for name, module in model.named_modules():
        # RoBERTa and its kin count positions from padding_idx + 1, so that 514 positions take 512 tokens.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1
    return min(tokenizer.model_max_length, positions)


def _load_config(model_dir_or_id: str) -> transformers.PreTrainedConfig:
    """The configuration, where safetensors weights lie beside it. Raises NliError otherwise."""
    directory = Path(model_dir_or_id)
    is_dir = directory.is_dir()
    if not is_dir and not re.fullmatch(r"[\w.-]+/[\w.-]+", model_dir_or_id):
        raise NliError(f"NLI model {model_dir_or_id!r}: no such directory, nor is it a hub id; {ADVICE}")
    if is_dir and not (directory / "config.json").is_file():
        raise NliError(f"NLI model {model_dir_or_id!r}: the directory has no config.json; {ADVICE}")
    try:
        config = transformers.AutoConfig.from_pretrained(model_dir_or_id, trust_remote_code=False)
        safe = any(has_file(model_dir_or_id, name) for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))
    except Exception as error:  # the loaders raise whatever their parsers and the network do
        where = "its config.json" if is_dir else "no such directory, and from the hub"
        raise NliError(f"NLI model {model_dir_or_id!r}: {where}: {_first_line(error)}; {ADVICE}") from None
    if not safe:
        reason = "has no safetensors weights, and a pickle (pytorch_model.bin), which can run code, is never loaded"
        raise NliError(f"NLI model {model_dir_or_id!r} {reason}; {ADVICE}")
    return config


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
