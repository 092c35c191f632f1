"""A transformers sequence classifier: loaded safely, and run on batches of equal lengths.

Both `nli_scorer` and `classifier_scorer` are built on it; see `lanser_ops.labelling.batches` for why lengths are equal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers.utils.logging import disable_progress_bar

from lanser_ops.labelling.batches import BATCH_TOKENS, Batch, equal_length_batches
from lanser_ops.labelling.fast_encoder import speed_up
from lanser_ops.labelling.model_files import ModelFiles, read_config


@dataclass(frozen=True)
class Layout:
    """How a model's input is assembled from texts: special tokens, first text, special tokens, second text, …

    ``inputs`` names the model's inputs: input_ids, and token_type_ids where the model takes them. ``specials`` has the
    tokens before, between and after the texts, each int64 (inputs, tokens); ``types`` the token type of every text.
    """

    inputs: tuple[str, ...]
    specials: tuple[np.ndarray, ...]
    types: tuple[int, ...]

    @property
    def special_tokens(self) -> int:
        """How many special tokens an input has."""
        return sum(piece.shape[1] for piece in self.specials)

    def block(self, ids: Sequence[int], text: int) -> np.ndarray:
        """int64 (inputs, tokens) of the text in that position, without special tokens."""
        rows = [ids, [self.types[text]] * len(ids)]
        return np.array(rows[: len(self.inputs)], dtype=np.int64).reshape(len(self.inputs), len(ids))


@dataclass(frozen=True)
class SequenceClassifier:
    """A loaded classifier and its tokenizer.

    ``classes`` are the names of the model's classes in index order, ``max_length`` is the longest input in tokens,
    ``batch_tokens`` the size of a batch (see `batch_rows`), and ``parallel_batches`` how many batches are computed at
    the same time.
    """

    files: ModelFiles
    classes: tuple[str, ...]
    tokenizer: transformers.PreTrainedTokenizerBase
    model: transformers.PreTrainedModel
    device: torch.device
    layout: Layout
    max_length: int
    batch_tokens: int
    parallel_batches: int

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens."""
        return _token_ids(self.tokenizer, texts)

    def cut(self, ids: list[int], room: int) -> list[int]:
        """The ``room`` token ids of a text that are kept, at the side at which the tokenizer keeps them."""
        return ids[-room:] if self.tokenizer.truncation_side == "left" else ids[:room]

    def logits(self, lengths: np.ndarray, write: Callable[[np.ndarray, int], None]) -> np.ndarray:
        """Logits of all inputs, float64 (inputs, classes).

        ``lengths`` is int64 (inputs,), in tokens. ``write(row, index)`` fills ``row``, int64 (model inputs, length),
        with the input of that index. Raises InputError for logits that are not finite. Leaves torch's intra-op threads
        at 1.
        """

        def compute(batch: Batch) -> torch.Tensor:
            tokens = np.empty((len(self.layout.inputs), batch.rows, batch.length), dtype=np.int64)
            for row, index in enumerate(batch.indices.tolist()):
                write(tokens[:, row], index)
            tokens[:, len(batch.indices) :] = tokens[:, :1]
            return self._run(tokens)[: len(batch.indices)]

        if not len(lengths):
            return np.empty((0, len(self.classes)))
        batches = list(equal_length_batches(lengths, self.batch_tokens))
        with ThreadPoolExecutor(self.parallel_batches, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            parts = list(pool.map(compute, batches))
        values = torch.cat(parts).cpu().numpy().astype(np.float64)
        if not np.isfinite(values).all():
            raise self.files.error("gives logits that are not finite")
        logits = np.empty_like(values)
        logits[np.concatenate([batch.indices for batch in batches])] = values
        return logits

    @torch.inference_mode()
    def _run(self, tokens: np.ndarray) -> torch.Tensor:
        """float32 logits (rows, classes), left on the device, of int64 ``tokens`` (model inputs, rows, length).

        There is no padding, so the model gets no attention mask.
        """
        tensors = torch.from_numpy(tokens).to(self.device)
        return self.model(**dict(zip(self.layout.inputs, tensors, strict=True))).logits.float()


def load_classifier(files: ModelFiles, device: str, threads: int | None, texts: int) -> SequenceClassifier:
    """The classifier and tokenizer in a directory, for inputs of one text or of a pair (``texts`` is 1 or 2).

    Weights are safetensors, float32 on CPU and bfloat16 on CUDA (whose scores differ from float32 ones in the
    third digit); attention is SDPA where the architecture has it, else eager. On a CPU ``threads`` batches
    (default: one per core) are computed at the same time, each on one thread: a fifth faster than all threads on one
    batch, where every operation waits for the slowest thread, and no sum depends on the number of threads. Raises
    InputError, one line, for a model that cannot be used.
    """
    classes = read_config(files).classes
    disable_progress_bar()  # transformers' bar for loading weights would overwrite the job's own
    torch_device = torch.device(device)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(files.path, trust_remote_code=False)
        model, loading = transformers.AutoModelForSequenceClassification.from_pretrained(
            files.path,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.bfloat16 if torch_device.type == "cuda" else torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # the loaders raise whatever their parsers do
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise files.error(f"cannot be loaded ({lines[0].rstrip('.')})") from None
    if loading["missing_keys"]:
        raise files.error(f"has no weights for {', '.join(sorted(loading['missing_keys'])[:3])}")
    # Without its files transformers makes a tokenizer that knows no word, and does not say so.
    has_vocabulary = any(Path(files.path, name).is_file() for name in tokenizer.vocab_files_names.values())
    if not (tokenizer.is_fast and has_vocabulary):
        raise files.error("has no tokenizer.json, nor the files to make one from")
    model.eval().requires_grad_(False).to(torch_device)
    speed_up(model)
    return SequenceClassifier(
        files=files,
        classes=classes,
        tokenizer=tokenizer,
        model=model,
        device=torch_device,
        layout=_layout(tokenizer, files, texts),
        max_length=_max_length(tokenizer, model),
        batch_tokens=BATCH_TOKENS[torch_device.type],
        parallel_batches=(threads or os.cpu_count() or 1) if torch_device.type == "cpu" else 1,
    )


def _token_ids(tokenizer: transformers.PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text. "[SEP]" or "</s>" in a text is text: it must not end a premise."""
    if not texts:
        return []
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    return tokenizer(list(texts), return_attention_mask=False, return_token_type_ids=False, **options).input_ids


def _layout(tokenizer: transformers.PreTrainedTokenizerBase, files: ModelFiles, texts: int) -> Layout:
    """The layout of an input that the tokenizer itself assembles, however its family places special tokens."""
    samples = ("a", "b")[:texts]
    encoded = tokenizer(*samples)
    inputs = tuple(name for name in ("input_ids", "token_type_ids") if name in encoded)
    types = encoded.get("token_type_ids", [0] * len(encoded["input_ids"]))
    values = np.array([encoded["input_ids"], types][: len(inputs)], dtype=np.int64)
    owners = encoded.sequence_ids(0)
    spans = [(owners.index(text), owners.index(text) + owners.count(text)) for text in range(texts)]
    if [values[0, start:end].tolist() for start, end in spans] != _token_ids(tokenizer, samples):
        raise files.error("has a tokenizer that does not tokenize the texts of an input separately")
    edges = [0, *(edge for span in spans for edge in span), len(owners)]
    specials = tuple(values[:, start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
    return Layout(inputs, specials, tuple(types[start] for start, _ in spans))


def _max_length(tokenizer: transformers.PreTrainedTokenizerBase, model: transformers.PreTrainedModel) -> int:
    """Tokens that the model reads: the tokenizer's limit (often unset) or the positions, whichever is smaller."""
    positions = getattr(model.config, "max_position_embeddings", 512)
    for name, module in model.named_modules():
        # RoBERTa and its relatives count positions from padding_idx + 1, so that 514 positions take 512 tokens.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1
    return min(tokenizer.model_max_length, positions)
