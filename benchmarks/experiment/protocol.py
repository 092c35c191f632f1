"""What is fixed before a test fold is run: networks, arms, shares, seeds. docs/results.md gives the reasons."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

SEEDS = (0, 1, 2, 3, 4)
FOLDS = "emobox"
# The shares at which arms are compared, and those of the network as it is shipped.
SHARES = (0.1, 0.25)
ALL_SHARES = (0.1, 0.25, 0.5, 1.0)
EKMAN, GOEMOTIONS = "ekman", "goemotions"
GROUPS = Path(__file__).parents[2] / "examples" / "ekman-groups.yaml"


def folder_name(name: str) -> str:
    """``name`` without spaces and punctuation.

    >>> folder_name("ekman, raw")
    'ekman-raw'
    """
    return re.sub(r"\W+", "-", name)


@dataclass(frozen=True)
class Arm:
    """What a network learns from the unlabelled speech before it sees human labels.

    ``taxonomy`` names the shards, None for no pre-training; ``options`` are those of `lanser pretrain`.
    """

    name: str
    taxonomy: str | None = None
    options: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The name as part of a path."""
        return folder_name(self.name)


@dataclass(frozen=True)
class Network:
    """A backbone, and the options of `lanser` that train it.

    ``model`` says what is pre-trained, ``plain`` what is fine-tuned without pre-training. ``steps`` of fine-tuning are
    those at all labels, in proportion to the share at fewer; None where a head is fitted to its optimum. ``device`` is
    what it is trained on.
    """

    name: str
    model: tuple[str, ...]
    plain: tuple[str, ...]
    trained: tuple[str, ...]
    pretrain: tuple[str, ...]
    finetune: tuple[str, ...]
    steps: int | None = None
    device: str = "cpu"

    @property
    def folder(self) -> str:
        """The name as part of a path."""
        return folder_name(self.name)


# The middle layer: the last one spells words, and RAVDESS has two sentences.
WHISPER = ("--backbone", "whisper", "--layers", "2")
RESNET = ("--backbone", "resnet10-quarter")
CORPUS_BAND = ("--band", "corpus")
FULL_BAND = ("--band", "full")
FROZEN = Network(
    "frozen Whisper",
    model=(*WHISPER, "--hidden", "128"),
    plain=WHISPER,
    trained=("--frozen",),
    pretrain=(*CORPUS_BAND, "--epochs", "10"),
    finetune=(),
)
# A second round, after the first had shown the price of the filter.
FROZEN_FULL = replace(FROZEN, name="frozen Whisper, full band", pretrain=(*FULL_BAND, "--epochs", "10"))
# The blocks that are open lie above the middle layer, so the last one is read.
LAST = ("--backbone", "whisper", "--layers", "last")
OPEN = Network(
    "Whisper, top 2 blocks open",
    model=(*LAST, "--hidden", "128"),
    plain=LAST,
    trained=("--unfreeze", "2"),
    pretrain=(*CORPUS_BAND, "--epochs", "1", "--lr", "1e-4", "--crop-s", "2", "--in-process"),
    finetune=("--lr", "1e-4", "--crop-s", "2", "--batch-size", "16", "--val-share", "0"),
    steps=300,
)
RESNET10 = Network(
    "ResNet",
    model=RESNET,
    plain=RESNET,
    trained=(),
    pretrain=(*CORPUS_BAND, "--epochs", "12", "--crop-s", "1", "--no-augment", "--in-process"),
    finetune=("--lr", "2e-3", "--crop-s", "1"),
    steps=1200,
)
# A third round, for a GPU: longer, without the filter, and the network chooses among the layers.
WEIGHTED = ("--backbone", "whisper", "--layers", "weighted")
OPEN_GPU = Network(
    "Whisper, top 2 blocks open, layer weights",
    model=(*WEIGHTED, "--hidden", "128"),
    plain=WEIGHTED,
    trained=("--unfreeze", "2"),
    pretrain=(*FULL_BAND, "--epochs", "5", "--lr", "1e-4"),
    finetune=("--lr", "1e-4", "--batch-size", "16", "--val-share", "0"),
    steps=1000,
    device="cuda",
)
NETWORKS = {
    "frozen": FROZEN,
    "frozen-full": FROZEN_FULL,
    "open": OPEN,
    "resnet": RESNET10,
    "open-gpu": OPEN_GPU,
}

# Candidates for the arm with weak labels.
VARIANTS = (
    Arm("fine", GOEMOTIONS),
    Arm("fine, grouped", GOEMOTIONS, ("--map", str(GROUPS))),
    Arm("ekman, raw", EKMAN, ("--prior-strength", "0")),
    Arm("ekman, prior, capped", EKMAN, ("--balance", "3")),
    Arm("ekman, selected", EKMAN, ("--max-repeats", "1", "--keep-top", "0.5")),
)
# Fixed without human labels: docs/results.md, Protocol.
WEAK = VARIANTS[3]
NONE = Arm("none")
SHUFFLED = Arm("shuffled labels", WEAK.taxonomy, (*WEAK.options, "--shuffle-labels"))
# At this rate weights stay what they were: the band, the level and the layers of the other arms, untrained.
UNTRAINED = Arm("untrained", WEAK.taxonomy, (*WEAK.options, "--epochs", "1", "--lr", "1e-12"))
PROSODY = Arm("prosody", EKMAN, ("--objective", "prosody"))
MASKED = Arm("masked input", EKMAN, ("--objective", "masked"))
PIECES = Arm("weak, in pieces", WEAK.taxonomy, (*WEAK.options, "--shuffle-pieces", "0.4"))
# Those that are evaluated without human labels, too.
ZERO_SHOT = (WEAK, PIECES, SHUFFLED)
BASELINES = (NONE, UNTRAINED, SHUFFLED, PROSODY, MASKED, PIECES)
ARMS = {
    "none": NONE, "untrained": UNTRAINED, "shuffled": SHUFFLED, "prosody": PROSODY, "masked": MASKED,
    "pieces": PIECES, "weak": WEAK
}  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """How much of the experiment is run.

    ``clips`` of the unlabelled speech are used, None for all. With ``choose`` the encoder as it is shipped and the
    variants of the weak labels are run as well.
    """

    seeds: tuple[int, ...]
    clips: int | None
    baselines: tuple[Arm, ...]
    choose: bool


FULL = Profile(SEEDS, None, BASELINES, choose=True)
QUICK = Profile((0,), 200, (NONE, SHUFFLED), choose=False)
