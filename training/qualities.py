"""What pre-training may learn, and the qualities of prosody, by name: for parsers, which wait for no library."""

from __future__ import annotations

from dataclasses import dataclass, fields

LABELS, PROSODY, MASKED = OBJECTIVES = ("labels", "prosody", "masked")


@dataclass(frozen=True)
class Prosody:
    """Prosody of the voiced or sounding part of a clip.

    ``pitch`` is the mean in semitones above 55 Hz, ``pitch_range`` is in semitones, ``energy`` in dB,
    ``speaking_rate`` in syllables per second.
    """

    pitch: float
    pitch_range: float
    energy: float
    speaking_rate: float


QUALITIES = tuple(field.name for field in fields(Prosody))


@dataclass(frozen=True)
class ObjectiveSpec:
    """What is learned: one of OBJECTIVES, and with the labels, optionally, some of QUALITIES.

    The loss of the qualities counts ``auxiliary_weight`` times as much as that of the labels.
    """

    objective: str = LABELS
    auxiliary: tuple[str, ...] = ()
    auxiliary_weight: float = 0.1

    @property
    def qualities(self) -> tuple[str, ...]:
        """The qualities that are regressed."""
        return QUALITIES if self.objective == PROSODY else self.auxiliary
