"""Print what NeMo's two loaders of tarred datasets read of the folder in the first argument, as JSON by key."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nemo.collections.asr.data.audio_to_label import TarredAudioToClassificationLabelDataset
from nemo.collections.asr.parts.preprocessing.features import WaveformFeaturizer
from nemo.collections.common.data.lhotse.nemo_adapters import LazyNeMoTarredIterator

LABELS = ["anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"]
root = sys.argv[1]
printed: dict[str, dict] = {"lhotse": {}, "classification": {}}
for split in ("train", "val"):
    folder = f"{root}/{split}"
    lines = Path(folder, "tarred_audio_manifest.json").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    shards = max(entry["shard_id"] for entry in entries)
    tars = f"{folder}/audio__OP_0..{shards}_CL_.tar"
    cuts = LazyNeMoTarredIterator(f"{folder}/sharded_manifests/manifest__OP_0..{shards}_CL_.json", tars)
    for cut in cuts:
        key = cut.recording_id.removesuffix(".flac")
        printed["lhotse"][key] = [split, cut.supervisions[0].text, cut.custom["label"], cut.load_audio().shape[1]]
    dataset = TarredAudioToClassificationLabelDataset(
        audio_tar_filepaths=tars,
        manifest_filepath=f"{folder}/tarred_audio_manifest.json",
        labels=LABELS,
        featurizer=WaveformFeaturizer(sample_rate=16000),
    )
    # The dataset does not say which sample is which; its order is that of the tars, and so of the manifest.
    for entry, (_, frames, label, _) in zip(entries, dataset, strict=True):
        printed["classification"][entry["audio_filepath"].removesuffix(".flac")] = [split, int(label), int(frames)]
print(json.dumps(printed))
