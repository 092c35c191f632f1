from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
import torch

from lanser_ops.common.errors import InputError
from training.dataset import Layout, ShardReader, assign, batches_per_reader, check_layout, make_loader
from training.features import Augment
from training.mixture import join
from training.shards import find_shards, read_index


def read(folder, epoch=0, start=0, processes=False, augment=None, epochs=1, **layout):
    """The batches of ``epochs`` epochs, a list for every rank."""
    index = read_index(find_shards([str(folder)], "train"))
    world = layout.pop("world", 1)
    targets = torch.eye(3)[torch.from_numpy(index.label_index)]
    samples = join([index], [(targets, torch.ones(len(index.keys)))])
    ranks = []
    for rank in range(world):
        values = {"seed": 1, "batch_size": 4, "crop_s": 0.5, "workers": 1, "buffer": 6} | layout
        spread = Layout(**values, rank=rank, world=world)
        reader = ShardReader(samples, spread, augment or Augment(), range(epoch, epoch + epochs), start)
        ranks.append(list(make_loader(reader, processes, pin=False)))
    return ranks


def keys(batches):
    return [batch.keys for batch in batches]


def numbers(ranks):
    return sorted(int(key, 16) for batches in ranks for batch in batches for key in batch.keys)


def test_index_holds_what_the_json_says(shards):
    index = read_index(find_shards([str(shards)], "train"))
    assert index.counts == (7, 5, 6, 7, 3)
    assert (index.taxonomy, index.labels) == ("tiny", ("anger", "joy", "sadness"))
    assert index.keys[:2] == ("0" * 16, "0" * 15 + "1") and len(index.keys) == 28
    assert index.label_index[:4].tolist() == [0, 1, 2, 0]
    assert np.allclose(index.entailment[1], [0.11, 0.8, 0.13])
    assert np.allclose(index.margin[:6], [0.1, 0.2, 0.3, 0.4, 0.5, 0.1])


def test_globs_folders_and_splits(shards):
    assert len(find_shards([str(shards.parent)], "train")) == 5
    assert len(find_shards([str(shards / "*.tar")], "train")) == 5
    assert len(find_shards([str(shards / "train-0000[01]*.tar"), str(shards)], "train")) == 5
    assert [path[-22:] for path in find_shards([str(shards)], "val")] == ["val-00000-of-00001.tar"]


@pytest.mark.parametrize(("world", "workers"), [(1, 1), (2, 1), (1, 2), (2, 2), (5, 1)])
def test_each_sample_once_and_equal_steps(shards, world, workers):
    ranks = read(shards, world=world, workers=workers, processes=workers > 1)
    assert numbers(ranks) == list(range(28))
    assert len({len(batches) for batches in ranks}) == 1
    assert max(len(batch.keys) for batches in ranks for batch in batches) <= 4


def test_order_is_a_function_of_seed_and_epoch(shards):
    [first], [again] = read(shards), read(shards)
    assert keys(first) == keys(again)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.waves, b.waves) and torch.equal(a.draws, b.draws)
    for other in (read(shards, epoch=1), read(shards, seed=2)):
        assert keys(other[0]) != keys(first)
        assert numbers(other) == list(range(28))


@pytest.mark.parametrize(("workers", "start"), [(1, 0), (1, 3), (2, 1), (2, 4)])
def test_an_epoch_can_be_entered_anywhere(shards, workers, start):
    [whole] = read(shards, workers=workers, processes=workers > 1)
    [rest] = read(shards, workers=workers, processes=workers > 1, start=start)
    assert keys(rest) == keys(whole)[start:]
    assert all(torch.equal(a.waves, b.waves) for a, b in zip(rest, whole[start:], strict=True))


@pytest.mark.parametrize(("workers", "start"), [(1, 0), (1, 3), (2, 1), (2, 4)])
def test_one_epoch_follows_another(shards, workers, start):
    """With two workers too, and wherever the first epoch starts, the workers keep the order of their turns."""
    first, second = (read(shards, epoch, workers=workers, processes=workers > 1)[0] for epoch in (3, 4))
    [both] = read(shards, 3, start, workers=workers, processes=workers > 1, epochs=2)
    assert keys(both) == keys(first)[start:] + keys(second)


def test_one_process_that_accumulates_sees_what_two_processes_see(shards):
    first, second = read(shards, world=2)
    [alone] = read(shards, workers=2, processes=True)
    assert keys(alone) == [batch for pair in zip(keys(first), keys(second), strict=True) for batch in pair]


def test_crops_are_padded_and_targets_belong_to_their_keys(shards):
    [batches] = read(shards, crop_s=0.9)
    for batch in batches:
        assert batch.waves.shape == (len(batch.keys), 14400)
        assert batch.lengths.tolist() == [9600] * len(batch.keys)
        assert batch.waves[:, 9600:].abs().max() == 0 and batch.waves[:, :9600].abs().max() > 0.1
        assert batch.targets.argmax(1).tolist() == [int(key, 16) % 3 for key in batch.keys]


def test_clips_in_pieces_have_all_their_samples_in_another_order(shards):
    [whole], [pieces], [again] = read(shards, crop_s=0.6), *(read(shards, crop_s=0.6, pieces_s=0.1) for _ in range(2))
    [next_epoch] = read(shards, epoch=1, crop_s=0.6, pieces_s=0.1)
    assert keys(pieces) == keys(whole)
    plain, shuffled, repeated, later = (
        {key: wave for batch in batches for key, wave in zip(batch.keys, batch.waves, strict=True)}
        for batches in (whole, pieces, again, next_epoch)
    )
    for key, wave in plain.items():
        assert torch.equal(wave.sort().values, shuffled[key].sort().values)
        assert torch.equal(shuffled[key], repeated[key])
        by_piece = {piece.numpy().tobytes() for piece in wave.split(1600)}
        assert {piece.numpy().tobytes() for piece in shuffled[key].split(1600)} == by_piece
    assert sum(torch.equal(wave, shuffled[key]) for key, wave in plain.items()) < 3
    assert sum(torch.equal(wave, later[key]) for key, wave in shuffled.items()) < 3


def test_shards_are_dealt_by_samples():
    dealt = assign([10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], 2, seed=0, epoch=0)
    assert sorted(shard for shards in dealt for shard in shards) == list(range(11))
    loads = [sum(10 if shard == 0 else 1 for shard in shards) for shards in dealt]
    assert max(loads) <= 14
    layout = Layout(seed=0, batch_size=5, crop_s=1, workers=2, buffer=1)
    assert batches_per_reader([10, 1, 1], layout, 0) in (2, 3)


def test_audio_that_does_not_decode_weighs_nothing_and_is_listed(tmp_path, make_shards):
    make_shards(tmp_path, [6], broken={2})
    [batches] = read(tmp_path, batch_size=8)
    [batch] = batches
    assert sum(batch.weights.tolist()) == 5
    assert batch.weights[batch.keys.index(f"{2:016x}")] == 0
    assert len(batch.undecodable) == 1 and batch.undecodable[0].startswith(f"{2:016x}: ")


def test_a_reader_with_fewer_samples_than_steps_makes_silent_batches(tmp_path, make_shards):
    make_shards(tmp_path, [8, 1])
    ranks = read(tmp_path, batch_size=2, world=2)
    assert [len(batches) for batches in ranks] == [4, 4]
    empty = [batch for batches in ranks for batch in batches if not batch.keys]
    assert len(empty) == 3 and all(batch.weights.tolist() == [0] for batch in empty)
    assert all(batch.draws.shape == (1, 10) for batch in empty)


def test_fewer_shards_than_readers(shards):
    index = read_index(find_shards([str(shards)], "train"))
    layout = Layout(seed=0, batch_size=4, crop_s=1, workers=3, buffer=1, world=2)
    with pytest.raises(InputError, match="5 shards for 6 readers .2 processes of 3 loader workers.: use --workers 2"):
        check_layout(index, layout)


def test_mixed_taxonomies(tmp_path, make_shards):
    make_shards(tmp_path / "a", [2])
    make_shards(tmp_path / "b", [2], labels=["x", "y"], taxonomy="other", first=50)
    with pytest.raises(InputError, match="taxonomy other with 2 labels, but .* has tiny with 3; give the"):
        read_index(find_shards([str(tmp_path)], "train"))


def test_a_sample_that_comes_twice(tmp_path, make_shards):
    make_shards(tmp_path / "a", [2])
    make_shards(tmp_path / "b", [1], first=1)
    with pytest.raises(InputError, match="sample 0000000000000001 is in the shards more than once"):
        read_index(find_shards([str(tmp_path)], "train"))


def test_bad_shards(tmp_path, make_shards):
    with pytest.raises(InputError, match="no shards"):
        find_shards([str(tmp_path)], "train")
    make_shards(tmp_path / "cut", [3])
    [cut] = (tmp_path / "cut").iterdir()
    cut.write_bytes(cut.read_bytes()[:9000])
    with pytest.raises(InputError, match="not a complete tar"):
        read_index([str(cut)])
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        for name, content in {"a.flac": b"", "a.json": b'{"labels": ["x", "y"], "taxonomy": "t"}'}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(InputError, match="a.json: not a weak label"):
        read_index([str(tmp_path / "train-0.tar")])
