from __future__ import annotations

import pytest
import torch

from lanser_ops.common.errors import InputError
from training.pooling import Pooling, layers_of

# Two clips of 3 and 1 steps, one channel; what follows them must not count.
STATES = [torch.tensor([[[1.0], [2.0], [6.0]], [[5.0], [9.0], [9.0]]])]
STEPS = torch.tensor([3, 1])


def test_mean_and_deviation_are_over_the_steps_of_a_clip():
    mean, segments = Pooling(1, 1, "mean", 0).summarise(STATES, STEPS)
    assert (mean.flatten().tolist(), segments.tolist()) == ([3.0, 5.0], [1, 1])
    both, _ = Pooling(1, 1, "meanstd", 0).summarise(STATES, STEPS)
    # Of 1, 2 and 6: the root of 14 / 3; of a single step: the root of EPSILON.
    assert both[0].flatten().tolist() == pytest.approx([3.0, 2.160248], abs=1e-4)
    assert both[1].flatten().tolist() == pytest.approx([5.0, 0.003162], abs=1e-4)


def test_attention_weighs_the_segments_of_a_clip():
    pooling = Pooling(1, 1, "attention", 0)
    states = [torch.tensor([[[1.0]] * 5 + [[3.0]] * 3 + [[9.0]] * 4])]
    summary, segments = pooling.summarise(states, torch.tensor([8]))
    assert (summary.flatten().tolist(), segments.tolist()) == ([1.0, 3.0, 0.0], [2])
    pooling.attention.weight.data.zero_()
    assert pooling(summary, segments).tolist() == [[2.0]]
    pooling.attention.weight.data.fill_(1.0)  # weights 1 and e² of 1 and 3, whatever the bias
    assert pooling(summary, segments).item() == pytest.approx((1 + 3 * 7.389056) / 8.389056)


def test_layers_are_weighed_after_each_is_standardised():
    pooling = Pooling(2, 1, "mean", 0)
    summary = torch.tensor([1.0, 10.0, 3.0, 50.0]).view(2, 1, 2, 1)  # means 2 and 30, deviations 1 and 20
    pooling.standardise(summary, torch.tensor([1, 1]))
    pooling.layer_logits.data = torch.log(torch.tensor([1.0, 3.0]))
    third = torch.tensor([4.0, 30.0]).view(1, 1, 2, 1)
    assert pooling(third, torch.tensor([1])).item() == pytest.approx(0.25 * 2, abs=1e-4)


def test_the_layers_of_an_option():
    assert layers_of("last", 5, "whisper") == (4,)
    assert layers_of("middle", 5, "whisper") == (2,)
    assert layers_of("weighted", 3, "whisper") == (0, 1, 2)
    assert layers_of(0, 5, "whisper") == (0,)
    with pytest.raises(InputError, match="--layers 9: a/b has the layers 0"):
        layers_of(9, 5, "a/b")
