"""The languages of Whisper's vocabularies."""

from __future__ import annotations


def language_code(name: str) -> str | None:
    """Whisper's code for a language given as a code, a code with a region or an English name; None if unknown.

    >>> language_code("en-US"), language_code("German"), language_code("Klingon")
    ('en', 'de', None)
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

    name = name.strip().lower().replace("_", "-")
    code = TO_LANGUAGE_CODE.get(name, name.split("-")[0])
    return code if code in LANGUAGES else None


def language_token(code: str) -> str:
    return f"<|{code}|>"
