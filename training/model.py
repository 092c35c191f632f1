"""Networks that map speech to emotion probabilities, and the directory they are kept in.

A saved model is loaded, in any process that has this package, with one call:

    from training.model import load_model
    model = load_model("RUN/model")
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, ResNetConfig, ResNetModel
from transformers.utils import logging as transformers_logging

from training.errors import InputError
from training.features import LOG_MEL, Augment, LogMel, check_features, gain, spec_augment

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
AUDIO_ENCODERS = ("wav2vec2", "hubert", "wavlm")

# He et al. 2016, table 1; resnet10 is one basic block a stage, at half and a quarter of the width, for CPUs.
RESNETS: dict[str, dict[str, Any]] = {
    "resnet50": {
        "layer_type": "bottleneck", "embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3]
    },
    "resnet18": {"layer_type": "basic", "embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2] * 4},
    "resnet10-half": {
        "layer_type": "basic", "embedding_size": 32, "hidden_sizes": [32, 64, 128, 256], "depths": [1] * 4
    },
    "resnet10-quarter": {
        "layer_type": "basic", "embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1] * 4
    },
}  # fmt: skip


@dataclass(frozen=True)
class ModelSpec:
    """What is needed to build a model before its weights are loaded.

    ``encoder`` is the transformers configuration; ``normalise`` says whether an audio encoder wants each
    waveform at zero mean and unit variance; ``taxonomy`` names where ``labels`` come from.
    """

    backbone: str
    encoder: dict[str, Any]
    normalise: bool
    taxonomy: str
    labels: tuple[str, ...]


class EmotionModel(nn.Module):
    """A ResNet over log-mel, or a transformers audio encoder over the waveform; then mean over time, then linear."""

    def __init__(self, spec: ModelSpec, encoder: nn.Module | None = None):
        super().__init__()
        self.spec = spec
        config = AutoConfig.for_model(**spec.encoder)
        self.is_resnet = config.model_type == "resnet"
        self.encoder = encoder or (ResNetModel(config) if self.is_resnet else AutoModel.from_config(config))
        self.features = LogMel() if self.is_resnet else None
        if self.is_resnet:
            # Convolutions are faster so: 1.4 times a step of resnet10-half on a CPU core.
            self.encoder.to(memory_format=torch.channels_last)
        else:
            # The convolutions are kept as they were learned, as in the papers of these encoders.
            self.encoder.feature_extractor._freeze_parameters()
        self.width = config.hidden_sizes[-1] if self.is_resnet else config.hidden_size
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(self.width, len(spec.labels))

    def embed(
        self, waves: Tensor, lengths: Tensor, draws: Tensor | None = None, augment: Augment | None = None
    ) -> Tensor:
        """The mean over time of the encoder's output, float (batch, width).

        ``waves`` is float (batch, samples) at 16 kHz, ``lengths`` int (batch,). With ``augment`` the clips are
        changed as ``draws`` (batch, draw_size) say: see training.features.
        """
        if augment is not None:
            waves = gain(waves, draws, augment)
        if not self.is_resnet:
            return self._embed_waves(waves, lengths)
        features, frames = self.features(waves, lengths)
        if augment is not None:
            features = spec_augment(features, frames, draws, augment)
        maps = self.encoder(features[:, None]).last_hidden_state.mean(dim=2)
        stride = -(-features.shape[-1] // maps.shape[-1])
        return masked_mean(maps.transpose(1, 2), -(-frames // stride))

    def _embed_waves(self, waves: Tensor, lengths: Tensor) -> Tensor:
        inside = torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]
        if self.spec.normalise:
            mean = (waves.sum(dim=1) / lengths)[:, None]
            spread = ((waves - mean).square() * inside).sum(dim=1) / lengths
            waves = (waves - mean) * inside / torch.sqrt(spread + 1e-7)[:, None]
        # Encoders with group normalisation over time were trained without a mask (transformers, Wav2Vec2 docs).
        mask = inside.long() if self.encoder.config.feat_extract_norm == "layer" else None
        hidden = self.encoder(waves, attention_mask=mask).last_hidden_state
        return masked_mean(hidden, self.encoder._get_feat_extract_output_lengths(lengths))

    def forward(
        self, waves: Tensor, lengths: Tensor, draws: Tensor | None = None, augment: Augment | None = None
    ) -> Tensor:
        """Logits (batch, labels); arguments as in `embed`."""
        return self.head(self.dropout(self.embed(waves, lengths, draws, augment)))


def masked_mean(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the first ``lengths`` (batch,) steps of ``hidden`` (batch, time, width): (batch, width)."""
    inside = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
    return (hidden * inside[:, :, None]).sum(dim=1) / lengths.clamp(1, hidden.shape[1])[:, None]


def new_model(backbone: str, taxonomy: str, labels: tuple[str, ...]) -> EmotionModel:
    """A model with a new head: a randomly initialised ResNet by name, or a pretrained audio encoder.

    ``backbone`` is a key of RESNETS, a directory or a hub id. Weights are read from safetensors alone and no
    code comes with them. Raises InputError for anything else.
    """
    if backbone in RESNETS:
        config = ResNetConfig(num_channels=1, **RESNETS[backbone])
        return EmotionModel(ModelSpec(backbone, _plain(config), False, taxonomy, labels))
    try:
        transformers_logging.disable_progress_bar()
        config = AutoConfig.from_pretrained(backbone, trust_remote_code=False)
        if config.model_type not in AUDIO_ENCODERS:
            raise InputError(f"{backbone}: a {config.model_type} model; use one of {', '.join(AUDIO_ENCODERS)}")
        # Layers that are left out at random have no gradients, which processes that average them cannot have.
        config.layerdrop = 0.0
        encoder = AutoModel.from_pretrained(backbone, config=config, use_safetensors=True, trust_remote_code=False)
        extractor = AutoFeatureExtractor.from_pretrained(backbone, trust_remote_code=False)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        told = f"{error}".strip().splitlines()[0]
        raise InputError(f"{backbone}: not {', '.join(RESNETS)} nor an audio encoder in safetensors: {told}") from None
    if extractor.sampling_rate != LOG_MEL.sample_rate:
        raise InputError(f"{backbone}: wants {extractor.sampling_rate} Hz, the shards are {LOG_MEL.sample_rate} Hz")
    return EmotionModel(ModelSpec(backbone, _plain(config), extractor.do_normalize, taxonomy, labels), encoder)


def _plain(config: Any) -> dict[str, Any]:
    kept = json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in kept.items() if name not in ("_name_or_path", "transformers_version")}


def save_model(model: EmotionModel, folder: Path) -> None:
    """Write WEIGHTS and CONFIG to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"format": FORMAT, "features": asdict(LOG_MEL), **asdict(model.spec)}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)


def load_model(folder: str | Path) -> EmotionModel:
    """The model in ``folder``, or in ``folder/model``: a run, a checkpoint or an export. In evaluation mode.

    Raises InputError for a folder that holds no model, or one of another feature set.
    """
    place = Path(folder)
    place = place / "model" if (place / "model" / CONFIG).is_file() else place
    try:
        config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        if config.pop("format") != FORMAT:
            raise InputError(f"{place}: a model of another version of lanser; train it again")
        check_features(config.pop("features"), str(place))
        model = EmotionModel(ModelSpec(**{**config, "labels": tuple(config["labels"])}))
        model.load_state_dict(load_file(place / WEIGHTS))
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{folder}: no model there ({error}); give the output of lanser pretrain") from None
    return model.eval()


def with_new_head(model: EmotionModel, taxonomy: str, labels: tuple[str, ...]) -> EmotionModel:
    """``model``'s encoder under a new, untrained head for ``labels``."""
    spec = ModelSpec(model.spec.backbone, model.spec.encoder, model.spec.normalise, taxonomy, labels)
    return EmotionModel(spec, model.encoder)
