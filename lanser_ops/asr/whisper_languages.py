"""The languages of Whisper's vocabularies."""

from __future__ import annotations

import ast
from functools import cache

from lanser_ops.common.library_source import assigned, read_module


def language_code(name: str) -> str | None:
    """Whisper's code for a language given as a code, a code with a region or an English name; None if unknown.

    >>> language_code("en-US"), language_code("German"), language_code("Klingon")
    ('en', 'de', None)
    """
    codes = language_codes()
    name = name.strip().lower().replace("_", "-")
    code = codes.get(name, name.split("-")[0])
    return code if code in codes.values() else None


@cache
def language_codes() -> dict[str, str]:
    """Whisper's codes by English name, as transformers has them.

    They are read from its source: importing it takes a second, too long for the answer to a mistyped language.
    """
    body = read_module("transformers", "models", "whisper", "tokenization_whisper.py").body
    names = {name: code for code, name in ast.literal_eval(assigned(body, "LANGUAGES")).items()}
    aliases = assigned(body, "TO_LANGUAGE_CODE")
    assert isinstance(aliases, ast.Dict)
    pairs = zip(aliases.keys, aliases.values, strict=True)
    return names | {ast.literal_eval(key): ast.literal_eval(value) for key, value in pairs if key is not None}


def language_token(code: str) -> str:
    return f"<|{code}|>"
