"""Networks that map speech to emotion probabilities, and the directory that a trained one is saved in.

Any process that has this package loads a saved model in one call:

    from training.model import load_model
    model = load_model("RUN/model")
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
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
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils import logging as transformers_logging

from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.common.errors import InputError, first_line
from training.backbones import AUDIO_ENCODERS, LAST, RESNETS, WHISPER, Layers, PoolingSpec, is_whisper
from training.blocks import open_blocks
from training.encoders import encode_waves, inside, resnet_maps
from training.features import LOG_MEL, Augment, LogMel, check_features, gain, spec_augment
from training.level import Sound, filtered, low_pass
from training.model_files import CONFIG, WEIGHTS, model_folder
from training.pooling import Pooling, layers_of
from training.whisper import WhisperMel, load_whisper, whisper_states

FORMAT = 2
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
    waveform at zero mean and unit variance; ``taxonomy`` names the origin of ``labels``. ``layers``, ``pooling`` and
    ``hidden`` are those of PoolingSpec, ``gain_db`` and ``band_hz`` those of Sound: of the corpus that the model was
    trained on.
    """

    backbone: str
    encoder: dict[str, Any]
    normalise: bool
    taxonomy: str
    labels: tuple[str, ...]
    layers: Layers = LAST
    pooling: str = "mean"
    hidden: int = 0
    gain_db: float = 0.0
    band_hz: float | None = None


class EmotionModel(nn.Module):
    """An encoder (a ResNet over log-mel, Whisper's over its own, or an audio encoder over waves), pooling, then linear.

    In evaluation mode a clip's output depends on the clip alone, whatever is beside it in the batch.

    Raises InputError for a layer that the encoder does not have.
    """

    def __init__(self, spec: ModelSpec, encoder: PreTrainedModel | None = None):
        super().__init__()
        self.spec = spec
        self.encoder: Any  # not Module, whose attributes are Tensor or Module to a type checker
        config = AutoConfig.for_model(**spec.encoder)
        self.is_resnet, self.is_whisper = (config.model_type == name for name in ("resnet", "whisper"))
        if encoder is not None:
            self.encoder = encoder
        else:
            self.encoder = WhisperEncoder(config) if self.is_whisper else AutoModel.from_config(config)
        if self.is_resnet:
            self.features: nn.Module = LogMel()
            # Convolutions are faster in this layout: 1.4 times per step of resnet10-half on a CPU core.
            self.encoder.to(memory_format=torch.channels_last)
            width, states = config.hidden_sizes[-1], 1
        elif self.is_whisper:
            self.features = WhisperMel(config.num_mel_bins)
            width, states = config.d_model, config.encoder_layers + 1
        else:
            width, states = config.hidden_size, config.num_hidden_layers + 1
        self.layers = layers_of(spec.layers, states, spec.backbone)
        self.pooling = Pooling(len(self.layers), width, spec.pooling, spec.hidden)
        self.width = self.pooling.out_width
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(self.width, len(spec.labels))
        self.response: Tensor | None
        self.register_buffer("response", low_pass(spec.band_hz) if spec.band_hz else None, persistent=False)
        open_blocks(self, None)

    def encode(
        self, waves: Tensor, lengths: Tensor, draws: Tensor | None = None, augment: Augment | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """The hidden states that pooling reads, each float (batch, time, channels), and their steps per clip.

        ``waves`` is float (batch, samples) at 16 kHz, zero beyond ``lengths``, int (batch,). With ``augment`` the clips
        are changed according to ``draws`` (batch, draw_size): see training.features.
        """
        if augment is not None:
            if draws is None:
                raise ValueError("augmentation needs draws")
            waves = gain(waves, draws, augment)
        waves, lengths = self._prepared(waves, lengths)
        if not (self.is_resnet or self.is_whisper):
            states, steps = encode_waves(self.encoder, self._normalised(waves, lengths), lengths)
            return [states[layer] for layer in self.layers], steps
        features, frames, floors = self.features(waves, lengths)
        if augment is not None and draws is not None:
            features = spec_augment(features, frames, draws, augment, floors)
        if self.is_whisper:
            states, steps = whisper_states(self.encoder, features, frames, max(self.layers))
            return [states[layer] for layer in self.layers], steps
        maps, steps = resnet_maps(self.encoder, features[:, None], frames)
        return [maps.mean(dim=2).transpose(1, 2)], steps

    def embed(
        self, waves: Tensor, lengths: Tensor, draws: Tensor | None = None, augment: Augment | None = None
    ) -> Tensor:
        """What the linear layer reads, float (batch, width); the arguments are those of `encode`."""
        return self.pooling(*self.pooling.summarise(*self.encode(waves, lengths, draws, augment)))

    def _prepared(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``waves`` at the level and in the band of the training corpus, and long enough for an encoder."""
        shortest = round(MIN_S * SAMPLE_RATE)
        waves = nn.functional.pad(waves, (0, max(0, shortest - waves.shape[1])))
        waves = waves * 10 ** (self.spec.gain_db / 20)
        if self.response is not None:
            waves = filtered(waves, self.response) * inside(lengths, waves.shape[1])
        return waves, lengths.clamp(min=shortest)

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
        """Logits, float (batch, labels); the arguments are those of `encode`."""
        return self.head(self.dropout(self.embed(waves, lengths, draws, augment)))


def new_model(
    backbone: str,
    taxonomy: str,
    labels: tuple[str, ...],
    pooling: PoolingSpec = PoolingSpec(),  # noqa: B008, immutable
    sound: Sound = Sound(),  # noqa: B008
) -> EmotionModel:
    """A model with a new head: a randomly initialised ResNet by name, or a pretrained encoder.

    ``backbone`` is a key of RESNETS, WHISPER with or without a place, a directory or a hub id. Weights are read from
    safetensors or CTranslate2's format alone, and no code of the model's repository is run. Raises InputError for
    anything else, and for a layer that the encoder does not have.
    """
    encoder: PreTrainedModel | None
    if backbone in RESNETS:
        config, encoder, normalise = ResNetConfig(num_channels=1, **RESNETS[backbone]), None, False
    elif is_whisper(backbone):
        encoder, normalise = load_whisper(backbone), False
        config = encoder.config
    else:
        encoder, normalise, sampling_rate = _load_encoder(backbone)
        if sampling_rate != SAMPLE_RATE:
            raise InputError(
                f"{backbone}: expects {sampling_rate} Hz, the shards have {SAMPLE_RATE} Hz; use another encoder"
            )
        config = encoder.config
    spec = ModelSpec(backbone, _plain(config), normalise, taxonomy, labels, **asdict(pooling), **asdict(sound))
    return EmotionModel(spec, encoder)


def _load_encoder(backbone: str) -> tuple[PreTrainedModel, bool, int]:
    """A pretrained encoder, whether it expects normalised waveforms, and at which rate in Hz."""
    try:
        transformers_logging.disable_progress_bar()
        config = AutoConfig.from_pretrained(backbone, trust_remote_code=False)
        if config.model_type not in AUDIO_ENCODERS:
            advice = f", or {WHISPER}:{backbone}" if config.model_type == WHISPER else ""
            raise InputError(f"{backbone}: a {config.model_type} model; use one of {', '.join(AUDIO_ENCODERS)}{advice}")
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
            f"{backbone}: neither one of {', '.join(RESNETS)}, {WHISPER} nor an audio encoder in safetensors: "
            f"{first_line(error)}"
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
    try:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)
    except SafetensorError as error:
        raise RuntimeError(f"{folder / WEIGHTS}: {error}") from None


def load_model(folder: str | Path) -> EmotionModel:
    """The model in ``folder``, or in ``folder/model``: a run, a checkpoint or an export. In evaluation mode.

    Raises InputError for a folder that holds no model, one that is corrupt, or one of another feature set.
    """
    place = model_folder(folder)
    try:
        config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        if config.pop("format") != FORMAT:
            raise InputError(f"{place}: a model of another version of lanser; train it again")
        check_features(config.pop("features"), str(place))
        model = EmotionModel(_checked(ModelSpec(**{**config, "labels": tuple(config["labels"])})))
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
    if not all(weight.isfinite().all() for weight in model.parameters()):
        raise InputError(f"{place / WEIGHTS}: has weights that are not finite; train it again, with a lower --lr")
    return model.eval()


def _checked(spec: ModelSpec) -> ModelSpec:
    """``spec``; raises ValueError or TypeError for values that no model is saved with."""
    if len(set(spec.labels)) < len(spec.labels) or not all(isinstance(label, str) for label in spec.labels):
        raise ValueError("labels are not distinct names")
    if not math.isfinite(spec.gain_db + (spec.band_hz or 0.0)):
        raise ValueError("gain_db or band_hz is not finite")
    return spec


def with_new_head(
    model: EmotionModel, taxonomy: str, labels: tuple[str, ...], gain_db: float | None = None
) -> EmotionModel:
    """``model``'s encoder and pooling under a new, untrained head for ``labels``.

    ``gain_db`` is the gain of a new corpus, by default that of ``model``.
    """
    spec = replace(
        model.spec, taxonomy=taxonomy, labels=labels, gain_db=model.spec.gain_db if gain_db is None else gain_db
    )
    other = EmotionModel(spec, model.encoder)
    other.pooling = model.pooling
    return other
