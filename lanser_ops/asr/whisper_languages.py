"""The languages of Whisper's vocabularies."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path


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
    package = importlib.util.find_spec("transformers")
    assert package is not None and package.submodule_search_locations, "transformers is a dependency of lanser"
    source = Path(package.submodule_search_locations[0], "models", "whisper", "tokenization_whisper.py")
    values = {
        target.id: statement.value
        for statement in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    names = {name: code for code, name in ast.literal_eval(values["LANGUAGES"]).items()}
    aliases = values["TO_LANGUAGE_CODE"]
    assert isinstance(aliases, ast.Dict)
    pairs = zip(aliases.keys, aliases.values, strict=True)
    return names | {ast.literal_eval(key): ast.literal_eval(value) for key, value in pairs if key is not None}


def language_token(code: str) -> str:
    return f"<|{code}|>"
