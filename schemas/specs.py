"""Everything that decides an output, stage by stage. The defaults of the options are the defaults of these fields."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.taxonomy import Taxonomy

# Which prior may be subtracted: none, the mean over the corpus, or the score of the empty premise.
NO_PRIOR, CORPUS_PRIOR, NULL_PRIOR = PRIORS = ("none", "corpus", "null")
# The most utterances before a transcript that a labeller reads.
MAX_CONTEXT = 16
# Of a sample's JSON: a thousand labels of 200 characters come to less than one megabyte.
MAX_JSON_BYTES = 4 << 20


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
    short_windows: bool = False
    beam_size: int = 5
    min_duration_s: float = CutSpec.min_duration_s
    max_duration_s: float | None = CutSpec.max_duration_s


@dataclass(frozen=True, order=True)
class ScoringKey:
    """What a score depends on beside transcript and hypothesis.

    The labeller's content hash, how it weighs entailment, and how many previous utterances stand before the transcript.
    """

    nli_sha256: str
    against: str
    context: int = 0

    @property
    def fields(self) -> dict[str, str | int]:
        """The key as outputs hold it: without ``context`` where there is none, so that older scores are found."""
        return {"nli_sha256": self.nli_sha256, "against": self.against} | context_field(self.context)


def source_field(label_source: str | None) -> dict[str, str]:
    """``label_source`` as outputs hold it: absent where a labeller gave the labels."""
    return {"label_source": label_source} if label_source else {}


def context_field(context: int) -> dict[str, int]:
    """``context`` as outputs hold it: absent where there is none."""
    return {"context": context} if context else {}


@dataclass(frozen=True)
class LabelSpec:
    """Everything that decides a label, given the transcripts.

    ``against`` is one of `nli_classes.AGAINST` (other backends have their own), ``prior`` one of PRIORS,
    and ``prior_strength`` the share of it that is subtracted, from 0 (with ``prior`` none) to 1.
    ``neutral_threshold`` counts where a label is the absence of the others, and ``temperature`` changes score and
    margin, never the label: see `label_scores.corrected`. ``context`` is the number of previous utterances that stand
    before the transcript in the premise: see `labelling.context`. ``label_source`` is the name of the file that the
    labels come from (--labels-from), None where a labeller gives them.
    """

    taxonomy: Taxonomy
    templates: tuple[str, ...]
    nli_model: ModelRef
    against: str = "all"
    prior: str = CORPUS_PRIOR
    prior_strength: float = 0.4
    neutral_threshold: float = 0.0
    temperature: float = 1.0
    context: int = 0
    label_source: str | None = None

    @property
    def key(self) -> ScoringKey:
        return ScoringKey(self.nli_model.sha256, self.against, self.context)


@dataclass(frozen=True)
class SpeechSpec:
    """A model that scores the emotion of audio, and the names of its classes in the order of its scores."""

    model: ModelRef
    classes: tuple[str, ...]


@dataclass(frozen=True)
class ShardSpec:
    """Which labelled utterances are left out of the shards, and what samples say beside their label.

    The first three fields and ``agree`` judge each utterance by itself: with ``agree`` it is left out if the label of
    its text is not the one that the speech model favours. ``speech`` is the speech model that scores the audio, None
    where there is none, or where the scores come with the shards that are relabelled. The other fields select among the
    utterances that remain, over the whole corpus, and None selects nothing: at most ``max_repeats`` utterances with the
    same words, the share ``keep_top`` of each label with the best scores, at most ``per_label`` utterances of a label,
    and at most ``balance`` times as many as the rarest label has. With ``redact`` samples hold no transcript, with
    ``sidecar`` no audio, which stays in the shards that are relabelled.
    """

    min_score: float = 0.0
    min_margin: float = 0.0
    keep_flagged: bool = False
    max_repeats: int | None = None
    keep_top: float | None = None
    per_label: int | None = None
    balance: float | None = None
    speech: SpeechSpec | None = None
    agree: bool = False
    redact: bool = False
    sidecar: bool = False

    @property
    def selects(self) -> bool:
        """Whether what is left out depends on other utterances, and so on the labels of all units."""
        return (self.max_repeats, self.keep_top, self.per_label, self.balance) != (None, None, None, None)


@dataclass(frozen=True)
class ScoreSet:
    """Hypotheses that were scored together; ``name`` is their folder below scores/."""

    name: str
    hypotheses: tuple[str, ...]
