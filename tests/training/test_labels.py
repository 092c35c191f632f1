"""Groups of labels, thresholds and the selection: what the labeller would do with the same options."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lanser_ops.common.errors import InputError
from schemas.specs import ShardSpec
from schemas.taxonomy import load_taxonomy
from training.labels import grouped, selected
from training.losses import TargetSpec, chosen, label_prior, make_targets
from training.shards import find_shards, read_index

GROUPS = """name: emotional
version: 2
group: ekman
aggregate: max
labels:
  - {name: pleasant, members: [joy, surprise]}
  - {name: unpleasant, members: [anger, disgust, fear, sadness]}
  - {name: neutral, members: [neutral]}
"""


@pytest.fixture(scope="module")
def regrouped(built, lanser, tmp_path_factory):
    """The taxonomy of GROUPS, and the JSON by key of the shards of ``built`` that are relabelled for it."""
    folder = tmp_path_factory.mktemp("groups")
    (folder / "groups.yaml").write_text(GROUPS)
    relabelled = lanser(
        "relabel", "--shards", built, "--taxonomy", folder / "groups.yaml", "--output", folder / "out", "--threads", 1
    )
    assert relabelled.returncode == 0, relabelled.stderr
    samples = {}
    for path in find_shards([str(folder / "out")], "train"):
        with tarfile.open(path) as tar:
            texts = [tar.extractfile(member).read() for member in tar if member.name.endswith(".json")]
        samples |= {sample["key"]: sample for sample in map(json.loads, texts)}
    return load_taxonomy(str(folder / "groups.yaml")), samples


@pytest.fixture
def index(built):
    return read_index(find_shards([str(built)], "train"))


def test_groups_have_the_scores_that_relabel_gives(regrouped, index):
    taxonomy, samples = regrouped
    groups = grouped(index, taxonomy)
    assert (groups.taxonomy, groups.labels) == ("emotional", ("pleasant", "unpleasant", "neutral"))
    assert sorted(groups.keys) == sorted(samples) and len(samples) >= 6
    entailment = np.array([samples[key]["entailment"] for key in groups.keys], np.float32)
    assert np.array_equal(groups.entailment, entailment)  # both are rounded to six digits


def test_groups_are_labelled_with_the_prior_of_the_training_shards(regrouped, index):
    groups = grouped(index, regrouped[0])
    spec = TargetSpec()
    prior = label_prior(groups, spec)
    assert prior is not None and len(prior) == 3
    targets, _ = make_targets(groups, spec, prior, seed=0)
    choice = chosen(groups, spec, prior)
    assert targets.argmax(1).tolist() == choice.label_index.tolist()
    lead = np.log(np.maximum(groups.entailment, 1e-6)) - np.array(prior)
    assert choice.label_index.tolist() == lead.argmax(axis=1).tolist()
    with pytest.raises(InputError, match="--prior null, which groups cannot repeat: add --prior-strength for the corp"):
        label_prior(replace(groups, scoring=replace(groups.scoring, prior="null")), spec)


def test_a_taxonomy_without_scores(index):
    with pytest.raises(InputError, match="^--map goemotions: the shards of ekman hold no scores for 'admiration'"):
        grouped(index, load_taxonomy("goemotions"))
    with pytest.raises(InputError, match="^--map ekman: the shards of ekman hold only means over several templates"):
        grouped(replace(index, by_hypothesis=None), load_taxonomy("ekman"))


@pytest.fixture
def tones(shards):
    """28 samples of three labels, n % 3, all of score 0.8 and with a margin of 0.1 + 0.1 * (n % 5)."""
    return read_index(find_shards([str(shards)], "train"))


def numbers(index):
    return [int(key, 16) for key in index.keys]


def test_a_threshold_leaves_out_what_lies_below(tones):
    subset = selected(tones, ShardSpec(min_margin=0.5))
    assert numbers(subset) == [4, 9, 14, 19, 24]
    assert subset.counts == (1, 1, 1, 2) and len(subset.shards) == 4
    assert subset.by_hypothesis.shape == (1, 5, 3) and np.allclose(subset.margin, 0.5)
    assert numbers(selected(tones, ShardSpec(min_score=0.8))) == list(range(28))
    with pytest.raises(InputError, match="leave none of 28 samples: the best score is 0.8, the largest margin 0.5"):
        selected(tones, ShardSpec(min_score=0.9))


def test_a_balance_is_capped_by_the_rarest_label(tones):
    rare = replace(tones, label_index=np.where(np.arange(28) < 4, 0, 1), score=np.linspace(0.1, 0.9, 28, dtype="f4"))
    subset = selected(rare, ShardSpec(balance=2.0))
    assert Counter(subset.label_index.tolist()) == {0: 4, 1: 8}
    assert numbers(subset) == [*range(4), *range(20, 28)]
    assert subset.counts == (4, 5, 3) and [shard[-18:-13] for shard in subset.shards] == ["00000", "00003", "00004"]


def test_equal_words_count_once(tones):
    words = np.where(np.arange(28) % 2, 7, tones.words).astype(np.uint64)
    subset = selected(replace(tones, words=words), ShardSpec(max_repeats=1))
    assert numbers(subset) == [0, 1, *range(2, 28, 2)]
