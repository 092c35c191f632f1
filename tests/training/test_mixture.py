"""Mixtures: how often samples are read, and the epochs that come of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from lanser_ops.common.errors import InputError
from training.dataset import Layout, ShardReader, make_loader
from training.features import Augment
from training.mixture import copies, join, passes
from training.shards import find_shards, read_index


@pytest.fixture(scope="module")
def corpora(make_shards, tmp_path_factory):
    """Indices of 12 samples in three shards, numbers 0 to 11, and of 4 in two, numbers 100 to 103."""
    folder = tmp_path_factory.mktemp("mixture")
    make_shards(folder / "large", [5, 4, 3])
    make_shards(folder / "small", [3, 1], first=100)
    return [read_index(find_shards([str(folder / name)], "train")) for name in ("large", "small")]


def mixed(corpora, shares):
    targets = [(torch.eye(3)[torch.from_numpy(index.label_index)], torch.ones(len(index.keys))) for index in corpora]
    return join(corpora, targets, shares)


def test_a_corpus_has_its_share_of_every_epoch(corpora):
    samples = mixed(corpora, (0.25, 0.75))
    for epoch in range(4):
        counts = copies(samples, seed=1, epoch=epoch)
        assert counts[:12].sum() == 4 and counts[:12].max() == 1
        assert counts[12:].tolist() == [3, 3, 3, 3]
    # In three epochs, every sample of the large corpus has its turn.
    assert sum(copies(samples, 1, epoch) for epoch in range(3))[:12].tolist() == [1] * 12
    assert not np.array_equal(copies(samples, 1, 0), copies(samples, 2, 0))


def test_shards_without_shares_are_read_once(corpora):
    samples = mixed(corpora, None)
    assert copies(samples, 0, 3).tolist() == [1] * 16
    assert [(each.shard, each.number, each.samples) for each in passes(samples, 0, 3)] == [
        (0, 0, 5), (1, 0, 4), (2, 0, 3), (3, 0, 3), (4, 0, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("workers", [1, 2])
def test_an_epoch_of_a_mixture(corpora, workers):
    samples = mixed(corpora, (0.25, 0.75))
    layout = Layout(seed=1, batch_size=4, crop_s=0.5, workers=workers, buffer=6)

    def batches(start=0, epochs=1):
        reader = ShardReader(samples, layout, Augment(), range(2, 2 + epochs), start)
        return list(make_loader(reader, processes=workers > 1, pin=False))

    whole = batches()
    expected = dict(zip(samples.keys, copies(samples, 1, 2).tolist(), strict=True))
    keys = Counter(key for batch in whole for key in batch.keys)
    assert keys == {key: count for key, count in expected.items() if count}
    # Copies of a sample are cut and changed differently.
    draws = {key: set() for key in keys}
    for batch in whole:
        for key, row in zip(batch.keys, batch.draws.tolist(), strict=True):
            draws[key].add(tuple(row))
    assert all(len(draws[key]) == count for key, count in keys.items())
    assert [batch.keys for batch in batches(start=2)] == [batch.keys for batch in whole[2:]]
    assert [batch.keys for batch in batches(epochs=2)][: len(whole)] == [batch.keys for batch in whole]


def test_corpora_that_do_not_go_together(corpora, make_shards, tmp_path):
    make_shards(tmp_path, [2], labels=["x", "y"], taxonomy="other", first=200)
    other = read_index(find_shards([str(tmp_path)], "train"))
    with pytest.raises(
        InputError, match="train-00000-of-00001.tar: labels x, y of other, but .* anger, joy, sadness of"
    ):
        join([corpora[0], other], [(torch.zeros(12, 3), torch.ones(12)), (torch.zeros(2, 2), torch.ones(2))])
    with pytest.raises(InputError, match="sample 0000000000000000 is in the shards more than once"):
        mixed([corpora[0], corpora[0]], (0.5, 0.5))
