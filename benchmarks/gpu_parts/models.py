"""The models of the benchmark, in a folder: none is downloaded.

`TINY` are the weights of the bundled Whisper tiny.en for transformers. `TURBO` and `ROBERTA` have the shapes of Whisper
large-v3-turbo and of roberta-large with random weights, and the vocabularies of the bundled models. The decoder of
`TURBO` says TEXT whatever it hears, in windows of any length, with timestamps and without: the embedding of each
position is that of the token to come, many times as large as what the layers add. So every recogniser decodes as many
tokens, and none has a reason to decode anything again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from ctranslate2.converters.transformers import WhisperLoader
from tokenizers import Tokenizer
from transformers import (
    GenerationConfig,
    RobertaConfig,
    RobertaForSequenceClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from benchmarks.gpu_parts.settings import Row, Settings, Shape, run_part
from lanser_ops.backends import BUNDLED
from lanser_ops.common.bundled import bundled_whisper
from lanser_ops.labelling import nli
from training.ctranslate2_weights import read_weights
from training.whisper import load_whisper

TINY, TURBO, ROBERTA = "tiny.en", "turbo-shape", "roberta-shape"
FOR_CTRANSLATE2, FOR_TRANSFORMERS = "ctranslate2", "transformers"
# 16 tokens of tiny.en, and no more words than can be said in two seconds.
TEXT = " Notwithstanding Wolverhampton's unforeseen misunderstandings, schoolteachers procrastinated."
# The factors of the dictated tokens and of what the layers add, and the logit of the dictated token.
DICTATED, DECODER_GAIN, LOGIT = 50.0, 0.02, 25.0
# Of Whisper's English vocabulary.
END, END_TOKEN, START_TOKEN, NO_TIMESTAMPS_TOKEN = "<|endoftext|>", 50256, 50257, 50362
TOKENS = {
    "bos_token_id": END_TOKEN,
    "eos_token_id": END_TOKEN,
    "pad_token_id": END_TOKEN,
    "decoder_start_token_id": START_TOKEN,
}


def measure(settings: Settings) -> Iterator[Row]:
    """The seconds that the models take to make; they lie in ``settings.folder``."""
    bundled, folder = bundled_whisper("the benchmark"), Path(settings.folder)
    start = time.perf_counter()
    tiny = from_ctranslate2(bundled)
    save_for_transformers(tiny, bundled, folder / FOR_TRANSFORMERS / TINY)
    yield _row(TINY, "the bundled weights, converted for transformers", tiny, start)

    start = time.perf_counter()
    turbo = dictated(settings.sizes.asr_shape, bundled, settings.device)
    save_for_transformers(turbo, bundled, folder / FOR_TRANSFORMERS / TURBO)
    save_for_ctranslate2(turbo, bundled, folder / FOR_CTRANSLATE2 / TURBO)
    yield _row(TURBO, f"random; every clip is {len(text_tokens(bundled))} tokens of text, then ends", turbo, start)

    start = time.perf_counter()
    roberta = classifier(settings.sizes.nli_shape, Path(nli.resolve(BUNDLED).path), folder / ROBERTA, settings.device)
    yield _row(ROBERTA, "random", roberta, start)


def _row(name: str, weights: str, model: torch.nn.Module, start: float) -> Row:
    parameters = sum(weight.numel() for weight in model.parameters()) / 1e6
    seconds = round(time.perf_counter() - start, 1)
    return {"table": "Models", "model": name, "weights": weights, "million": round(parameters, 1), "made in s": seconds}


def from_ctranslate2(path: Path) -> WhisperForConditionalGeneration:
    """The model in a CTranslate2 directory, for transformers, in float32."""
    encoder = load_whisper(f"whisper:{path}")
    weights = read_weights(path / "model.bin", "WhisperSpec", "decoder/")
    layers = encoder.config.encoder_layers
    vocabulary, width = weights["embeddings/weight"].shape
    config = whisper_config(
        Shape(layers, width, encoder.config.encoder_attention_heads, encoder.config.encoder_ffn_dim, layers,
              encoder.config.num_mel_bins), vocabulary
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.model.encoder = encoder
    model.model.decoder.load_state_dict(
        {
            name: torch.from_numpy(np.array(value))
            for name, value in _decoder_as_in_transformers(weights, layers).items()
        }
    )
    model.tie_weights()
    return model.eval()


def _decoder_as_in_transformers(weights: dict[str, np.ndarray], layers: int) -> dict[str, np.ndarray]:
    named = {
        "embed_tokens.weight": weights["embeddings/weight"],
        "embed_positions.weight": weights["position_encodings/encodings"],
    }

    def add(name: str, source: str, weight: str = "weight", bias: str = "bias") -> None:
        named[f"{name}.weight"], named[f"{name}.bias"] = weights[f"{source}/{weight}"], weights[f"{source}/{bias}"]

    def add_projections(name: str, source: str, letters: str) -> None:
        """Projections of one input, a single matrix in CTranslate2; that of the keys has no bias in Whisper."""
        for kind in ("weight", "bias"):
            for letter, piece in zip(letters, np.split(weights[f"{source}/{kind}"], len(letters)), strict=True):
                if (letter, kind) != ("k", "bias"):
                    named[f"{name}.{letter}_proj.{kind}"] = piece

    add("layer_norm", "layer_norm", "gamma", "beta")
    for number in range(layers):
        source, name = f"layer_{number}", f"layers.{number}"
        add(f"{name}.self_attn_layer_norm", f"{source}/self_attention/layer_norm", "gamma", "beta")
        add_projections(f"{name}.self_attn", f"{source}/self_attention/linear_0", "qkv")
        add(f"{name}.self_attn.out_proj", f"{source}/self_attention/linear_1")
        add(f"{name}.encoder_attn_layer_norm", f"{source}/attention/layer_norm", "gamma", "beta")
        add(f"{name}.encoder_attn.q_proj", f"{source}/attention/linear_0")
        add_projections(f"{name}.encoder_attn", f"{source}/attention/linear_1", "kv")
        add(f"{name}.encoder_attn.out_proj", f"{source}/attention/linear_2")
        add(f"{name}.final_layer_norm", f"{source}/ffn/layer_norm", "gamma", "beta")
        add(f"{name}.fc1", f"{source}/ffn/linear_0")
        add(f"{name}.fc2", f"{source}/ffn/linear_1")
    return named


def whisper_config(shape: Shape, vocabulary: int) -> WhisperConfig:
    """English Whisper of that shape."""
    return WhisperConfig(
        vocab_size=vocabulary,
        num_mel_bins=shape.mels,
        d_model=shape.width,
        encoder_layers=shape.layers,
        encoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.inner,
        decoder_layers=shape.decoder_layers,
        decoder_attention_heads=shape.heads,
        decoder_ffn_dim=shape.inner,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        **TOKENS,
    )


def text_tokens(bundled: Path) -> list[int]:
    """The tokens of TEXT in the bundled model's vocabulary."""
    return Tokenizer.from_file(str(bundled / "tokenizer.json")).encode(TEXT, add_special_tokens=False).ids


def _vocabulary(bundled: Path) -> list[str]:
    return [line.decode() for line in (bundled / "vocabulary.txt").read_bytes().splitlines()]


def dictated(shape: Shape, bundled: Path, device: str) -> WhisperForConditionalGeneration:
    """Whisper of that shape with random weights, whose positions dictate TEXT; float16 on CUDA, else float32."""
    vocabulary = len(_vocabulary(bundled))
    torch.manual_seed(0)
    with torch.device(device):
        model = WhisperForConditionalGeneration(whisper_config(shape, vocabulary))
    model.requires_grad_(False)
    decoder = model.model.decoder
    for layer in decoder.layers:
        for linear in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
            linear.weight *= DECODER_GAIN
    decoder.embed_tokens.weight[END_TOKEN].normal_(std=model.config.init_std)  # zero, as that of padding
    tokens = text_tokens(bundled)
    places = decoder.embed_positions.weight
    places[:] = DICTATED * decoder.embed_tokens.weight[END_TOKEN]
    # What follows the first token is a timestamp, or the token that says there are none; then comes the text.
    places[: len(tokens) + 1] = DICTATED * decoder.embed_tokens.weight[[tokens[0], *tokens]]
    decoder.layer_norm.weight[:] = LOGIT / (shape.width * model.config.init_std)
    return model.eval().to(torch.float16 if device == "cuda" else torch.float32)


def save_for_transformers(model: WhisperForConditionalGeneration, bundled: Path, folder: Path) -> None:
    """Model, tokenizer and feature extractor, for transformers' pipeline."""
    settings = json.loads((bundled / "config.json").read_bytes())
    model.generation_config = GenerationConfig(
        no_timestamps_token_id=NO_TIMESTAMPS_TOKEN,
        is_multilingual=False,
        max_length=model.config.max_target_positions,
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"],
        **TOKENS,
    )
    model.save_pretrained(folder)
    shutil.copyfile(bundled / "tokenizer.json", folder / "tokenizer.json")
    WhisperTokenizer.from_pretrained(folder, pad_token=END, eos_token=END, bos_token=END).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(folder)


def save_for_ctranslate2(model: WhisperForConditionalGeneration, bundled: Path, folder: Path) -> None:
    """A faster-whisper directory, in float16."""
    loader = WhisperLoader()
    spec = loader.get_model_spec(model.cpu())
    spec.register_vocabulary(_vocabulary(bundled))
    settings = json.loads((bundled / "config.json").read_bytes())
    for name in ("suppress_ids", "suppress_ids_begin", "lang_ids"):
        setattr(spec.config, name, settings[name])
    heads = range(model.config.decoder_attention_heads)
    spec.config.alignment_heads = [[model.config.decoder_layers - 1, head] for head in heads]
    spec.validate()
    spec.optimize(quantization="float16")
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    shutil.copyfile(bundled / "tokenizer.json", folder / "tokenizer.json")
    features = {"feature_size": model.config.num_mel_bins}
    (folder / "preprocessor_config.json").write_text(json.dumps(features))


def classifier(shape: Shape, bundled: Path, folder: Path, device: str) -> RobertaForSequenceClassification:
    """A RoBERTa of that shape with random weights, in bfloat16, with the bundled labeller's tokenizer and classes."""
    settings = json.loads((bundled / "config.json").read_bytes())
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=settings["vocab_size"],
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=514,
        type_vocab_size=2,
        pad_token_id=settings["pad_token_id"],
        id2label={int(number): name for number, name in settings["id2label"].items()},
        label2id=settings["label2id"],
    )
    with torch.device(device):
        model = RobertaForSequenceClassification(config)
    shutil.copytree(bundled, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"), dirs_exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    return model


if __name__ == "__main__":
    run_part("models", measure)
