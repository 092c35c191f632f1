"""What a command's job consists of."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from lanser_ops.backends import BUNDLED
from schemas.specs import CORPUS_PRIOR, LabelSpec, PlanSpec, ShardSpec, SpeechSpec, TranscribeSpec


@dataclass(frozen=True)
class Inputs:
    """What is planned: the names that --input gave, and how they are cut into units."""

    names: list[str]
    plan: PlanSpec


@dataclass(frozen=True)
class JobSpec:
    """The stages of a job. A stage that is None is not run; its existing files are used as they are.

    ``shard`` needs ``label``, for what the samples say of their labels; ``score`` says whether the labels are written
    in this run. ``shards`` names the shards that transcripts and audio come from. ``asr_name``, ``nli_name`` and
    ``speech_name`` are what --asr-model, --nli-model and --speech-model gave, which workers resolve themselves;
    ``labels_from`` is the file whose scores take the place of a labeller's.
    """

    inputs: Inputs | None = None
    shards: tuple[str, ...] = ()
    transcribe: TranscribeSpec | None = None
    asr_name: str = BUNDLED
    label: LabelSpec | None = None
    nli_name: str = BUNDLED
    labels_from: str | None = None
    score: bool = False
    shard: ShardSpec | None = None
    speech_name: str | None = None

    @property
    def stages(self) -> list[str]:
        """The names of the stages that run, in order."""
        active = {
            "transcribe": self.transcribe,
            "unpack": self.shards,
            "speech": self.speech,
            "score": self.score,
            "label": self.score,
            "shard": self.shard,
        }
        return [name for name, stage in active.items() if stage]

    @property
    def stages_by_unit(self) -> list[str]:
        """The stages that need no more than their own unit, and none that does: those that a part of the job can do.

        A prior of the corpus needs the scores of all units, a selection their labels.
        """
        needs_all = {
            "label": self.label is not None and self.label.prior == CORPUS_PRIOR,
            "shard": self.shard is not None and self.shard.selects,
        }
        return list(itertools.takewhile(lambda stage: not needs_all.get(stage), self.stages))

    @property
    def reads_audio(self) -> bool:
        """Whether the recordings are read that the plan names."""
        return not self.shards and bool(self.transcribe or self.shard)

    @property
    def speech(self) -> SpeechSpec | None:
        return self.shard.speech if self.shard else None

    @property
    def taxonomy(self) -> str | None:
        return self.label.taxonomy.name if self.label else None
