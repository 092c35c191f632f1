"""Tiny randomly initialised classifiers, written to disk like real models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

NLI_CLASSES = ("contradiction", "neutral", "entailment")
WORDS = ["we", "won", "lost", "the", "match", "this", "person", "feels", "happy", "sad", "angry", "again", "and"]
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _write_tokenizer(directory: Path, family: str) -> int:
    """A word-level tokenizer with the family's special tokens; returns the size of its vocabulary."""
    if family in ("roberta", "xlm-roberta", "bart"):
        bos, pad, eos = "<s>", "<pad>", "</s>"
        template = processors.RobertaProcessing((eos, 2), (bos, 0), add_prefix_space=False)
    else:
        bos, pad, eos = "[CLS]", "[PAD]", "[SEP]"
        pair = f"{bos}:0 $A:0 {eos}:0 $B:1 {eos}:1"
        template = processors.TemplateProcessing(pair.split(" $B")[0], pair, [(bos, 0), (eos, 2)])
    # Special tokens are written with signs that the pre-tokenizer splits off, so each sign is a word here.
    words = [bos, pad, eos, "<unk>", *WORDS, *"[]<>/", "SEP", "s"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer.post_processor = template
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (family in ("bert", "deberta-v2"))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        cls_token=bos,
        eos_token=eos,
        sep_token=eos,
        pad_token=pad,
        unk_token="<unk>",
        model_input_names=inputs,
    ).save_pretrained(directory)
    return len(words)


def _write_model(directory: Path, family: str = "bert", classes: tuple[str, ...] = NLI_CLASSES) -> str:
    vocabulary = _write_tokenizer(directory, family)
    options = TINY | {"vocab_size": vocabulary, "id2label": dict(enumerate(classes))}
    options |= {"label2id": {name: index for index, name in enumerate(classes)}}
    options |= {"pad_token_id": 1, "initializer_range": 0.5, "max_position_embeddings": 24}
    if family == "deberta-v2":
        options["initializer_range"] = 0.2
        options |= {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 2}
    if family == "bart":
        options |= {"d_model": 32, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
        options |= {f"{side}_{key}": value for side in ("encoder", "decoder")
                    for key, value in {"layers": 1, "ffn_dim": 64, "attention_heads": 4}.items()}  # fmt: skip
        options["init_std"] = 0.5
    torch.manual_seed(5)
    config = transformers.AutoConfig.for_model(family, **options)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="session")
def write_model() -> Callable[..., str]:
    """Write a random classifier of a family with these classes and its tokenizer to a directory; returns its path."""
    return _write_model
