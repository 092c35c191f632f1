import itertools
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import lanser_ops
from lanser_ops.labelling.nli import (
    NliError,
    batch_rows,
    check_nli_config,
    entailment_index,
    load_scorer,
    round_score,
    score,
)

BUNDLED = f"{lanser_ops.__path__[0]}/assets/nli"
TEMPLATE = "This person feels {}."
NLI_CLASSES = {0: "contradiction", 1: "neutral", 2: "entailment"}

OPENERS = ["", "well, ", "I told her that ", "honestly, ", "you know what? ", "he says ", "look, ", "oh no, "]
BODIES = ["we lost the match again", "my sister had her baby", "that smell is revolting", "nobody came", "it works"]
TAILS = [".", " and I cannot stop smiling!", " but it's only Tuesday.", ", so I sat in the dark and cried.", "?"]
SENTENCES = [a + b + c for a, b, c in itertools.product(OPENERS, BODIES, TAILS)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bundled():
    return load_scorer(BUNDLED)


def test_scores_are_those_of_the_zero_shot_pipeline(bundled):
    words = ["angry", "happy"]
    assert len(set(SENTENCES)) == 200
    reference = pipeline("zero-shot-classification", model=BUNDLED, device="cpu", dtype=torch.float32)
    answers = reference(SENTENCES, words, hypothesis_template=TEMPLATE, multi_label=True, batch_size=8)
    expected = [[dict(zip(a["labels"], a["scores"], strict=True))[word] for word in words] for a in answers]
    found = score(bundled, SENTENCES, [TEMPLATE.format(word) for word in words])
    assert found.entailment.dtype == np.float32 and found.entailment.shape == (200, 2)
    assert np.ptp(found.entailment, axis=0).min() > 0.8  # the sentences do tell scores apart
    np.testing.assert_allclose(found.entailment, expected, rtol=0, atol=1e-4)
    assert found.pairs_scored == 400 and not found.truncated.any()


def test_against_all_classes_is_the_classifiers_own_probability():
    hypotheses = [TEMPLATE.format("angry"), TEMPLATE.format("happy")]
    network = AutoModelForSequenceClassification.from_pretrained(BUNDLED, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    expected = []
    for sentence in SENTENCES[:20]:
        for hypothesis in hypotheses:
            with torch.inference_mode():
                expected.append(
                    network(**tokenizer(sentence, hypothesis, return_tensors="pt")).logits.softmax(-1)[0, 2]
                )
    found = score(load_scorer(BUNDLED, against="all"), SENTENCES[:20], hypotheses).entailment
    np.testing.assert_allclose(found.reshape(-1), expected, rtol=0, atol=1e-4)
    assert (found < score(load_scorer(BUNDLED), SENTENCES[:20], hypotheses).entailment).all()


def test_a_score_depends_on_its_pair_alone(bundled):
    hypotheses = [TEMPLATE.format(word) for word in ("afraid", "embarrassed", "sad")]
    together = score(bundled, SENTENCES[:40], hypotheses).entailment
    order = np.random.default_rng(0).permutation(40)
    shuffled = score(bundled, [SENTENCES[i] for i in order], hypotheses[::-1]).entailment
    assert np.array_equal(shuffled, together[order][:, ::-1])
    for i in (0, 7, 31):
        assert np.array_equal(score(bundled, [SENTENCES[i]], hypotheses[1:2]).entailment, together[[i], 1:2])
    for workers in (1, 3):
        again = score(replace(bundled, workers=workers), SENTENCES[:10], hypotheses).entailment
        assert np.array_equal(again, together[:10])


def test_equal_premises_are_scored_once(bundled):
    found = score(bundled, ["go away", "", "go away", "come in"], [TEMPLATE.format("angry")] * 2)
    assert found.pairs_scored == 6
    assert found.entailment.shape == (4, 2)
    assert np.array_equal(found.entailment[0], found.entailment[2])
    assert len(np.unique(found.entailment[:, 0])) == 3  # the empty premise is a premise like any other


def test_no_premises(bundled):
    found = score(bundled, [], ["This person feels happy."])
    assert found.entailment.shape == (0, 1) and found.truncated.shape == (0,) and found.pairs_scored == 0


def test_long_premise_is_cut_as_the_pipeline_cuts_it(bundled):
    long = "the train was late and I was furious " * 80
    # 512 tokens less [CLS] [SEP] [SEP] and the hypothesis' five: 504 of the premise's 640 one-word tokens.
    kept = " ".join(long.split()[:504])
    found = score(bundled, ["short", kept, long], ["This person feels angry."])
    assert found.truncated.tolist() == [False, False, True]
    assert found.entailment[1] == found.entailment[2] != found.entailment[0]
    reference = pipeline("zero-shot-classification", model=BUNDLED, device="cpu", dtype=torch.float32)
    expected = reference(long, ["angry"], hypothesis_template=TEMPLATE, multi_label=True)["scores"]
    np.testing.assert_allclose(found.entailment[2], expected, rtol=0, atol=1e-4)


def test_hypothesis_without_room_for_a_premise(bundled):
    with pytest.raises(NliError, match="'happy happy .* leaves no room .* 512 tokens") as raised:
        score(bundled, ["short"], ["This person feels sad.", "happy " * 509])
    assert "\n" not in str(raised.value)
    assert score(bundled, [""], ["happy " * 508]).entailment.shape == (1, 1)


@pytest.mark.parametrize(
    ("label2id", "expected"),
    [
        ({"contradiction": 0, "neutral": 1, "entailment": 2}, (2, 0)),
        ({"CONTRADICTION": 0, "NEUTRAL": 1, "ENTAILMENT": 2}, (2, 0)),
        ({"Entailment": 0, "Neutral": 1, "Contradiction": 2}, (0, 2)),
        ({"contradicts": 0, "entails": 1, "neutral": 2}, (1, 0)),
        ({"LABEL_contradiction": 1, "LABEL_entailment": 0}, (0, 1)),
        ({"entail": 1, "contradict": 0}, (1, 0)),
        ({"entailment": 0, "not_entailment": 1}, (0, 1)),
        ({"not_entailment": 0, "entailment": 1}, (1, 0)),
        ({"non-entailment": 0, "entailment": 1}, (1, 0)),
        ({"Not Entailment": 0, "ENTAILMENT": 1}, (1, 0)),
    ],
)
def test_entailment_index(label2id, expected):
    assert entailment_index(label2id, "m") == expected


@pytest.mark.parametrize(
    ("label2id", "lacking"),
    [
        ({"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}, "LABEL_0, LABEL_1, LABEL_2: not exactly one is entail"),
        ({"positive": 1, "negative": 0}, "negative, positive: not exactly one is entailment"),
        ({"not_entailment": 0, "neutral": 1}, "not exactly one is entailment"),
        ({"entailment": 0, "Entailment": 1}, "not exactly one is entailment"),
        ({"entailment": 0, "neutral": 1, "other": 2}, "not exactly one is contradiction or not_entailment"),
    ],
)
def test_classes_that_are_not_those_of_nli(label2id, lacking):
    with pytest.raises(NliError) as raised:
        entailment_index(label2id, "org/sentiment")
    message = str(raised.value)
    assert "'org/sentiment'" in message and lacking in message and "FacebookAI/roberta-large-mnli" in message
    assert "\n" not in message


def test_round_score():
    assert round_score(0.123456789) == 0.123457
    assert round_score(0.0001234564999) == 0.000123456
    assert round_score(0.99999951) == 1.0
    assert round_score(1e-40) == round_score(0.0) == 0.0
    probabilities = 10 ** np.random.default_rng(1).uniform(-37, 0, 2000)
    for rounded in map(round_score, probabilities):
        assert round_score(float(np.float32(rounded))) == rounded == json.loads(json.dumps(rounded))


def test_batch_rows_hang_on_the_length_alone():
    assert [batch_rows(length, 256) for length in (1, 16, 17, 20, 64, 512)] == [256, 16, 15, 12, 4, 1]


WORDS = ["we", "won", "lost", "the", "match", "this", "person", "feels", "happy", "sad", "angry", "again", "and"]
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def make_model(directory, family, classes=NLI_CLASSES):
    """A randomly initialised classifier of ``family`` with a word-level tokenizer, saved in ``directory``."""
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

    options = TINY | {"vocab_size": len(words), "id2label": classes, "label2id": {v: k for k, v in classes.items()}}
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
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(directory)
    return str(directory)


@pytest.mark.parametrize(
    ("family", "classes"),
    [
        ("bert", NLI_CLASSES),
        ("roberta", NLI_CLASSES),
        ("xlm-roberta", NLI_CLASSES),
        ("deberta-v2", NLI_CLASSES),
        ("bart", NLI_CLASSES),
        ("bert", {0: "entailment", 1: "not_entailment"}),
    ],
)
def test_families(tmp_path, family, classes):
    """The model sees what the tokenizer makes of each pair, in batches of one length and one number of rows."""
    name = make_model(tmp_path, family, classes)
    scorer = load_scorer(name)
    assert scorer.max_length == (22 if "roberta" in family else 24)
    hypotheses = ["this person feels happy", "this person feels sad and angry"]
    premises = ["we won", "", "we lost the match", "we lost " * 20, "we won again and again and again"]
    seen, shapes = Counter(), set()

    def watch(module, args, kwargs):
        assert set(kwargs) <= {"input_ids", "token_type_ids"}
        rows, length = kwargs["input_ids"].shape
        shapes.add((rows, length))
        types = kwargs.get("token_type_ids", torch.zeros(rows, length, dtype=int))
        seen.update((tuple(ids), tuple(t)) for ids, t in zip(kwargs["input_ids"].tolist(), types.tolist(), strict=True))

    handle = scorer.model.register_forward_pre_hook(watch, with_kwargs=True)
    found = score(scorer, premises, hypotheses)
    handle.remove()

    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(name).eval()
    expected, pairs = [], set()
    for premise, hypothesis in itertools.product(premises, hypotheses):
        limits = {"truncation": "only_first", "max_length": scorer.max_length}
        inputs = tokenizer(premise, hypothesis, return_tensors="pt", **limits)
        ids = inputs["input_ids"][0].tolist()
        types = inputs["token_type_ids"][0].tolist() if "token_type_ids" in inputs else [0] * len(ids)
        pairs.add((tuple(ids), tuple(types)))
        logits = model(**inputs).logits[0].detach()
        both = [classes_index for classes_index, c in classes.items() if c != "neutral"]
        place = [classes[i] for i in both].index("entailment")
        expected.append(torch.softmax(logits[both], 0)[place].item())
    assert set(seen) == pairs
    assert all(rows == batch_rows(length, scorer.batch_tokens) for rows, length in shapes)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found.entailment.ravel(), expected, rtol=0, atol=2e-6)
    assert found.truncated.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize(("family", "end"), [("bert", 2), ("bart", 2)])
def test_special_tokens_in_a_transcript_are_text(tmp_path, family, end):
    scorer = load_scorer(make_model(tmp_path, family))
    batches = []
    scorer.model.register_forward_pre_hook(lambda m, a, kw: batches.append(kw["input_ids"]), with_kwargs=True)
    score(scorer, ["we [SEP] won </s>"], ["this person feels sad"])
    # [CLS] p [SEP] h [SEP] or <s> p </s></s> h </s>, and none from the transcript
    assert set((batches[0] == end).sum(dim=1).tolist()) == {2 if family == "bert" else 3}


def assert_refused(call, name, *parts):
    with pytest.raises(NliError) as raised:
        call(name)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 600
    for part in (repr(name), *parts, "such as FacebookAI/roberta-large-mnli"):
        assert part in message


def test_check_accepts_what_can_be_loaded():
    assert check_nli_config(BUNDLED) == (2, 0)


def test_unusable_models_are_refused_before_weights_are_read(tmp_path, monkeypatch):
    assert_refused(check_nli_config, str(tmp_path / "none"), "no such directory")
    assert_refused(check_nli_config, "bundeld", "no such directory, nor is it a hub id")
    assert_refused(check_nli_config, str(tmp_path), "has no config.json")

    sentiment = make_model(tmp_path / "sentiment", "bert", {0: "negative", 1: "positive"})
    assert_refused(check_nli_config, sentiment, "negative, positive", "entailment")

    pickled = make_model(tmp_path / "pickled", "bert")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    assert_refused(check_nli_config, pickled, "has no safetensors weights", "pytorch_model.bin")
    assert_refused(load_scorer, pickled, "has no safetensors weights")

    broken = make_model(tmp_path / "broken", "bert")
    (tmp_path / "broken" / "config.json").write_text("{")
    assert_refused(check_nli_config, broken, "config.json")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert_refused(check_nli_config, "no-such-org/no-such-model", "no such directory, and from the hub")


def test_remote_code_is_not_run(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "strange", "auto_map": {"AutoConfig": "code.Strange"}})
    )
    (tmp_path / "code.py").write_text("raise SystemExit('ran')")
    assert_refused(check_nli_config, str(tmp_path), "config.json")


def test_models_that_lack_a_part(tmp_path):
    from safetensors.torch import load_file, save_file

    headless = make_model(tmp_path / "headless", "bert")
    file = tmp_path / "headless" / "model.safetensors"
    weights = {name: value for name, value in load_file(file).items() if not name.startswith("classifier")}
    save_file(weights, file, metadata={"format": "pt"})
    assert_refused(load_scorer, headless, "has no weights for classifier.bias, classifier.weight")

    mute = make_model(tmp_path / "mute", "bert")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "mute" / file).unlink()
    assert_refused(load_scorer, mute, "has no tokenizer.json")

    wild = make_model(tmp_path / "wild", "bert")
    file = tmp_path / "wild" / "model.safetensors"
    save_file({k: v * float("inf") for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    assert_refused(lambda name: score(load_scorer(name), ["we won"], ["this person feels sad"]), wild, "not finite")


def test_a_command_starts_without_the_models_code():
    """Two seconds that --help, and every worker before its first unit, would wait."""
    names = ["transformers", "transformers.modeling_utils"]
    program = f"import sys, pipelines.build; print([name in sys.modules for name in {names}])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60) == "[True, False]\n"
