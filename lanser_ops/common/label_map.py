"""Files that map labels to labels, such as ``grief: sadness``, a line each."""

from __future__ import annotations

import yaml

from lanser_ops.common.errors import InputError

MAX_BYTES = 1_000_000


def parse_map(content: bytes, where: str) -> dict[str, str]:
    """Labels to labels from the YAML ``content``; raises InputError, with ``where``, for anything else."""
    try:
        mapping = yaml.safe_load(content) if len(content) <= MAX_BYTES else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: cannot be read ({' '.join(str(error).split())})") from None
    if not isinstance(mapping, dict) or not all(isinstance(name, str) for pair in mapping.items() for name in pair):
        raise InputError(f"{where}: not a YAML mapping from label to label, such as 'grief: sadness'")
    return mapping
