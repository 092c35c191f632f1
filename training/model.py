"""Networks that map speech to emotion probabilities, and the directory that a trained one is saved in.

Any process that has this package loads a saved model in one call:

    from training.model import load_model
    model = load_model("RUN/model")
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    PretrainedConfig,
    PreTrainedModel,
    ResNetConfig,
)
from transformers.utils import logging as transformers_logging

from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.common.errors import InputError, first_line
from training.backbones import AUDIO_ENCODERS, RESNETS
from training.encoders import encode_waves, inside, resnet_maps
from training.features import LOG_MEL, Augment, LogMel, check_features, gain, spec_augment

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
# Shorter clips are followed by silence up to this length: an audio encoder gives nothing for less than one frame.
MIN_S = 0.1
# Not in every published checkpoint, and used in training alone.
OPTIONAL_WEIGHTS = {"masked_spec_embed"}
# Of a weights file that is missing, of another network, or corrupt.
WEIGHT_ERRORS = (OSError, RuntimeError, SafetensorError)


@dataclass(frozen=True)
class ModelSpec:
    """Everything that builds a model before its weights are loaded.

    ``encoder`` is the transformers configuration; ``normalise`` says whether an audio encoder expects every
    waveform at zero mean and unit variance; ``taxonomy`` names the origin of ``labels``.
    """

    backbone: str
    encoder: dict[str, Any]
    normalise: bool
    taxonomy: str
    labels: tuple[str, ...]


class EmotionModel(nn.Module):
    """A ResNet over log-mel, or a transformers audio encoder over the waveform; then the mean over time, then linear.

    In evaluation mode a clip's output depends on the clip alone, whatever is beside it in the batch.
    """

    def __init__(self, spec: ModelSpec, encoder: PreTrainedModel | None = None):
        super().__init__()
        self.spec = spec
        self.encoder: Any  # not Module, whose attributes are Tensor or Module to a type checker
        config = AutoConfig.for_model(**spec.encoder)
        self.is_resnet = config.model_type == "resnet"
        self.encoder = AutoModel.from_config(config) if encoder is None else encoder
        if self.is_resnet:
            self.features = LogMel()
            # Convolutions are faster in this layout: 1.4 times per step of resnet10-half on a CPU core.
            self.encoder.to(memory_format=torch.channels_last)
        else:
            # The papers of these encoders fine-tune them with the convolutions frozen.
            self.encoder.feature_extractor._freeze_parameters()
        self.width = config.hidden_sizes[-1] if self.is_resnet else config.hidden_size
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(self.width, len(spec.labels))

    def embed(
        self, waves: Tensor, lengths: Tensor, draws: Tensor | None = None, augment: Augment | None = None
    ) -> Tensor:
        """The mean over time of the encoder's output, float (batch, width).

        ``waves`` is float (batch, samples) at 16 kHz, zero beyond ``lengths``, int (batch,). With ``augment`` the clips
        are changed according to ``draws`` (batch, draw_size): see training.features.
        """
        if augment is not None:
            if draws is None:
                raise ValueError("augmentation needs draws")
            waves = gain(waves, draws, augment)
        shortest = round(MIN_S * SAMPLE_RATE)
        waves = nn.functional.pad(waves, (0, max(0, shortest - waves.shape[1])))
        lengths = lengths.clamp(min=shortest)
        if not self.is_resnet:
            return masked_mean(*encode_waves(self.encoder, self._normalised(waves, lengths), lengths))
        features, frames = self.features(waves, lengths)
        if augment is not None and draws is not None:
            features = spec_augment(features, frames, draws, augment)
        maps, steps = resnet_maps(self.encoder, features[:, None], frames)
        return masked_mean(maps.mean(dim=2).transpose(1, 2), steps)

    def _normalised(self, waves: Tensor, lengths: Tensor) -> Tensor:
        """``waves`` at zero mean and unit variance, zero beyond ``lengths``, where the encoder expects them so."""
        if not self.spec.normalise:
            return waves
        mean = (waves.sum(dim=1) / lengths)[:, None]
        centred = (waves - mean) * inside(lengths, waves.shape[1])
        return centred / torch.sqrt(centred.square().sum(dim=1) / lengths + 1e-7)[:, None]

    def forward(
        self, waves: Tensor, lengths: Tensor, draws: Tensor | None = None, augment: Augment | None = None
    ) -> Tensor:
        """Logits, float (batch, labels); the arguments are those of `embed`."""
        return self.head(self.dropout(self.embed(waves, lengths, draws, augment)))


def masked_mean(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the first ``lengths`` (batch,) steps of ``hidden`` (batch, time, width): (batch, width)."""
    return (hidden * inside(lengths, hidden.shape[1])[:, :, None]).sum(dim=1) / lengths[:, None]


def new_model(backbone: str, taxonomy: str, labels: tuple[str, ...]) -> EmotionModel:
    """A model with a new head: a randomly initialised ResNet by name, or a pretrained audio encoder.

    ``backbone`` is a key of RESNETS, a directory or a hub id. Weights are read from safetensors alone, and no
    code of the model's repository is run. Raises InputError for anything else.
    """
    if backbone in RESNETS:
        config = ResNetConfig(num_channels=1, **RESNETS[backbone])
        return EmotionModel(ModelSpec(backbone, _plain(config), False, taxonomy, labels))
    encoder, normalise, sampling_rate = _load_encoder(backbone)
    if sampling_rate != SAMPLE_RATE:
        raise InputError(
            f"{backbone}: expects {sampling_rate} Hz, the shards have {SAMPLE_RATE} Hz; use another encoder"
        )
    return EmotionModel(ModelSpec(backbone, _plain(encoder.config), normalise, taxonomy, labels), encoder)


def _load_encoder(backbone: str) -> tuple[PreTrainedModel, bool, int]:
    """A pretrained encoder, whether it expects normalised waveforms, and at which rate in Hz."""
    try:
        transformers_logging.disable_progress_bar()
        config = AutoConfig.from_pretrained(backbone, trust_remote_code=False)
        if config.model_type not in AUDIO_ENCODERS:
            raise InputError(f"{backbone}: a {config.model_type} model; use one of {', '.join(AUDIO_ENCODERS)}")
        # Layers that are dropped at random have no gradients, and processes that average gradients need them all.
        config.layerdrop = 0.0
        # An adapter belongs to another task's head, and its convolutions would read the padding.
        config.add_adapter = False
        encoder, report = AutoModel.from_pretrained(
            backbone, config=config, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
        extractor = AutoFeatureExtractor.from_pretrained(backbone, trust_remote_code=False)
    except InputError:
        raise
    except (ValueError, *WEIGHT_ERRORS) as error:
        raise InputError(
            f"{backbone}: neither one of {', '.join(RESNETS)} nor an audio encoder in safetensors: {first_line(error)}"
        ) from None
    missing = sorted(set(report["missing_keys"]) - OPTIONAL_WEIGHTS)
    if missing:
        raise InputError(f"{backbone}: lacks {len(missing)} weights, {missing[0]} first; use a complete checkpoint")
    return encoder, extractor.do_normalize, extractor.sampling_rate


def _plain(config: PretrainedConfig) -> dict[str, Any]:
    values = json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in values.items() if name not in ("_name_or_path", "transformers_version")}


def save_model(model: EmotionModel, folder: Path) -> None:
    """Write WEIGHTS and CONFIG to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"format": FORMAT, "features": asdict(LOG_MEL), **asdict(model.spec)}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)


def load_model(folder: str | Path) -> EmotionModel:
    """The model in ``folder``, or in ``folder/model``: a run, a checkpoint or an export. In evaluation mode.

    Raises InputError for a folder that holds no model, one that is corrupt, or one of another feature set.
    """
    place = Path(folder)
    place = place / "model" if (place / "model" / CONFIG).is_file() else place
    try:
        config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        if config.pop("format") != FORMAT:
            raise InputError(f"{place}: a model of another version of lanser; train it again")
        check_features(config.pop("features"), str(place))
        model = EmotionModel(ModelSpec(**{**config, "labels": tuple(config["labels"])}))
    except InputError:
        raise
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{folder}: no model ({error}); give the output of lanser pretrain or finetune") from None
    try:
        model.load_state_dict(load_file(place / WEIGHTS))
    except WEIGHT_ERRORS as error:
        raise InputError(
            f"{place / WEIGHTS}: the weights cannot be read ({first_line(error)}); copy or train the model again"
        ) from None
    return model.eval()


def with_new_head(model: EmotionModel, taxonomy: str, labels: tuple[str, ...]) -> EmotionModel:
    """``model``'s encoder under a new, untrained head for ``labels``."""
    spec = ModelSpec(model.spec.backbone, model.spec.encoder, model.spec.normalise, taxonomy, labels)
    return EmotionModel(spec, model.encoder)
