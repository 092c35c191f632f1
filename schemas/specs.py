"""Everything that decides an output, stage by stage. The defaults of the options are the defaults of these fields."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.taxonomy import Taxonomy


@dataclass(frozen=True)
class ModelRef:
    """A model: ``id`` is what outputs are marked with, ``sha256`` its content, ``path`` its directory on this machine.

    Equal models have equal ids, wherever their files lie.
    """

    id: str
    sha256: str
    path: str


@dataclass(frozen=True)
class PlanSpec:
    """How a corpus is cut into units. ``num_shards`` wins over ``shard_size_mb``, which counts bytes of input."""

    num_shards: int | None = None
    shard_size_mb: float = 128.0
    val_fraction: float = 0.05


@dataclass(frozen=True)
class CutSpec:
    """Bounds on utterances.

    With ``max_duration_s`` None recordings up to 30 s stay whole, longer ones are cut into at most 20 s.
    """

    min_duration_s: float = 0.3
    max_duration_s: float | None = None


@dataclass(frozen=True)
class TranscribeSpec:
    """Everything that decides a transcript.

    ``languages`` is empty where any language is accepted; ``other_languages`` says what becomes of an utterance in
    another language: ``reject`` or ``flag``.
    """

    asr_model: ModelRef
    languages: tuple[str, ...] = ()
    other_languages: str = "reject"
    exact: bool = False
    beam_size: int = 5
    min_duration_s: float = CutSpec.min_duration_s
    max_duration_s: float | None = CutSpec.max_duration_s


@dataclass(frozen=True, order=True)
class ScoringKey:
    """What a score depends on beside the two texts: the labeller's content hash, and how it weighs entailment."""

    nli_sha256: str
    against: str


@dataclass(frozen=True)
class LabelSpec:
    """Everything that decides a label, given the transcripts.

    ``against`` is one of `nli_classes.AGAINST` (other backends have their own), ``prior`` one of `weak_labels.PRIORS`,
    and ``prior_strength`` the share of it that is subtracted, from 0 (with ``prior`` none) to 1.
    ``neutral_threshold`` counts where a label is the absence of the others, and ``temperature`` changes score and
    margin, never the label: see `label_scores.corrected`.
    """

    taxonomy: Taxonomy
    templates: tuple[str, ...]
    nli_model: ModelRef
    against: str = "all"
    prior: str = "corpus"
    prior_strength: float = 0.4
    neutral_threshold: float = 0.0
    temperature: float = 1.0

    @property
    def key(self) -> ScoringKey:
        return ScoringKey(self.nli_model.sha256, self.against)


@dataclass(frozen=True)
class ShardSpec:
    """Which labelled utterances are left out of the shards.

    The first three fields judge each utterance by itself. The others select among those that remain, over the whole
    corpus, and None selects nothing: at most ``max_repeats`` utterances with the same words, the share ``keep_top`` of
    each label with the best scores, at most ``per_label`` utterances of a label, and at most ``balance`` times as many
    as the rarest label has.
    """

    min_score: float = 0.0
    min_margin: float = 0.0
    keep_flagged: bool = False
    max_repeats: int | None = None
    keep_top: float | None = None
    per_label: int | None = None
    balance: float | None = None

    @property
    def selects(self) -> bool:
        """Whether what is left out depends on other utterances, and so on the labels of all units."""
        return (self.max_repeats, self.keep_top, self.per_label, self.balance) != (None, None, None, None)


@dataclass(frozen=True)
class ScoreSet:
    """Hypotheses that were scored together; ``name`` is their folder below scores/."""

    name: str
    hypotheses: tuple[str, ...]
