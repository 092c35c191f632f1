"""What pre-training optimises: the labels, prosody beside them, or one of two controls that need no labels.

- ``labels``: cross-entropy against the weak labels; optionally also the regression of prosody (auxiliary targets).
- ``prosody``: the regression of prosody alone, a pretext task.
- ``masked``: the reconstruction of hidden input from what is left, a self-supervised loss. Spans of the log-mel
  spectrogram are hidden, and their frames predicted from the encoder's output (as Liu et al. 2020, Mockingjay,
  arXiv:1910.12638); with a frozen encoder, whose input cannot be hidden from it, half of the channels of its features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lanser_ops.common.errors import InputError
from training.encoders import inside
from training.features import LOG_MEL, Augment
from training.losses import cross_entropy
from training.model import EmotionModel
from training.qualities import MASKED, PROSODY, ObjectiveSpec

# The share of the input that is hidden, and the frames of 10 ms in a hidden span: a step of the ResNets.
HIDDEN_SHARE = 0.5
SPAN = 32


class PretrainNetwork(nn.Module):
    """A model and the layers beside it that an objective needs, which are not part of the result.

    With ``from_summaries`` the input is not waveforms but what `training.pooling.Pooling.summarise` made of them.

    Raises InputError for a backbone without a spectrogram whose frames could be hidden.
    """

    def __init__(self, model: EmotionModel, spec: ObjectiveSpec, from_summaries: bool = False):
        super().__init__()
        self.model, self.objective, self.from_summaries = model, spec, from_summaries
        self.heads = nn.ModuleDict()
        if spec.qualities:
            self.heads["regression"] = nn.Linear(model.width, len(spec.qualities))
        self.masks: _Masks | None = None
        if spec.objective == MASKED and from_summaries:
            self.heads["decoder"] = nn.Linear(model.width, model.pooling.centre.shape[1])
        elif spec.objective == MASKED:
            if not (model.is_resnet or model.is_whisper):
                raise InputError(
                    f"--objective masked: {model.spec.backbone} reads waveforms; use a ResNet or Whisper, or --frozen"
                )
            bands, stride, width = _input_shape(model)
            self.heads["decoder"] = nn.Linear(width, stride * bands)
            self.masks = _Masks(stride)
            model.features.register_forward_hook(self.masks.hide)

    def forward(
        self, inputs: Tensor, lengths: Tensor, draws: Tensor | None, augment: Augment | None, targets: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The loss of each clip, float (batch,), and the logits, (batch, labels), None if labels are not learned.

        ``inputs`` are waveforms, with the other arguments of `EmotionModel.encode`, or summaries and their segments.
        ``targets`` are those of a `training.mixture.SampleSet`: a distribution over the labels, then the qualities,
        standardised, NaN where there is no voice to measure.
        """
        if self.objective.objective == MASKED:
            return self._masked(inputs, lengths, draws, augment), None
        if self.from_summaries:
            embedded = self.model.pooling(inputs, lengths)
        else:
            embedded = self.model.embed(inputs, lengths, draws, augment)
        labels = len(self.model.spec.labels)
        if self.objective.objective == PROSODY:
            return self._regression(embedded, targets[:, labels:]), None
        logits = self.model.head(self.model.dropout(embedded))
        losses = cross_entropy(logits, targets[:, :labels])
        if self.objective.auxiliary:
            losses = losses + self.objective.auxiliary_weight * self._regression(embedded, targets[:, labels:])
        return losses, logits

    def _regression(self, embedded: Tensor, qualities: Tensor) -> Tensor:
        """The mean squared error over the qualities that could be measured, float (batch,)."""
        measured = ~torch.isnan(qualities)
        errors = torch.where(measured, self.heads["regression"](embedded).float() - qualities, 0.0)
        return errors.square().sum(dim=1) / measured.sum(dim=1).clamp(min=1)

    def _masked(self, inputs: Tensor, lengths: Tensor, draws: Tensor | None, augment: Augment | None) -> Tensor:
        """The mean squared error over what is hidden of each clip, float (batch,)."""
        if self.masks is None:
            return self._masked_channels(inputs, lengths)
        states, _ = self.model.encode(inputs, lengths, draws, augment)
        predicted = self.heads["decoder"](states[-1]).float()
        return self.masks.errors(predicted)

    def _masked_channels(self, summary: Tensor, segments: Tensor) -> Tensor:
        pooling = self.model.pooling
        hidden = torch.rand(len(summary), 1, 1, summary.shape[3], device=summary.device) < HIDDEN_SHARE
        embedded = pooling(torch.where(hidden, pooling.centre, summary), segments)
        # What is hidden, averaged over segments and layers.
        active = inside(segments, summary.shape[1])[:, :, None, None]
        standardised = (summary - pooling.centre) / pooling.scale * active
        target = standardised.sum(dim=1).mean(dim=1) / segments[:, None]
        errors = (self.heads["decoder"](embedded).float() - target).square() * hidden[:, 0, 0]
        return errors.sum(dim=1) / hidden[:, 0, 0].sum(dim=1).clamp(min=1)


def _input_shape(model: EmotionModel) -> tuple[int, int, int]:
    """The bands of a model's log-mel, the frames for each step of its encoder's output, and the channels of a step."""
    config = model.encoder.config
    if model.is_whisper:
        return config.num_mel_bins, 2, config.d_model
    return LOG_MEL.n_mels, SPAN, config.hidden_sizes[-1]


class _Masks:
    """Hides spans of a model's features on their way into the encoder, and compares predictions with what they were.

    ``stride`` counts the frames for each step of the encoder.
    """

    def __init__(self, stride: int):
        self.stride = stride
        self.features = self.hidden = torch.zeros(0)

    def hide(self, _: nn.Module, arguments: Any, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A forward hook: features, float (batch, bands, time), with HIDDEN_SHARE of a clip's spans at the floor."""
        features, frames, floors = output
        spans = -(-features.shape[2] // SPAN)
        scores = torch.rand(len(features), spans, device=features.device)
        scores = scores.masked_fill(~inside(-(-frames // SPAN), spans), 2.0)
        hidden = (scores < HIDDEN_SHARE) | (scores == scores.amin(dim=1, keepdim=True))  # at least one span
        self.features = features
        self.hidden = hidden.repeat_interleave(SPAN, dim=1)[:, : features.shape[2]] & inside(frames, features.shape[2])
        return torch.where(self.hidden[:, None], floors.reshape(-1, 1, 1), features), frames, floors

    def errors(self, predicted: Tensor) -> Tensor:
        """The mean squared error over the hidden frames, float (batch,), of (batch, steps, stride * bands)."""
        batch, steps, size = predicted.shape
        frames = predicted.reshape(batch, steps * self.stride, size // self.stride).transpose(1, 2)
        time = min(frames.shape[2], self.features.shape[2])
        errors = (frames[:, :, :time] - self.features[:, :, :time]).square().mean(dim=1) * self.hidden[:, :time]
        return errors.sum(dim=1) / self.hidden[:, :time].sum(dim=1).clamp(min=1)
