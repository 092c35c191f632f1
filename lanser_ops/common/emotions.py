"""Which names mean the same emotion, for classes of models and labels of taxonomies and corpora."""

from __future__ import annotations

# Nouns and adjectives of common taxonomies, and the codes of IEMOCAP and CREMA-D, after the name that stands for all.
# Calm is no synonym of neutral: RAVDESS has both.
SYNONYMS = (
    ("anger", "angry", "ang"),
    ("disgust", "disgusted", "dis"),
    ("fear", "fearful", "afraid", "fea"),
    ("joy", "happy", "happiness", "hap"),
    ("neutral", "neu"),
    ("sadness", "sad"),
    ("surprise", "surprised", "sur"),
)
EMOTION_OF = {name: names[0] for names in SYNONYMS for name in names}
