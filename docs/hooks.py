"""What mkdocs does to a page.

Files outside of docs/ are not on the site, so links to them become plain text. The reason why the tests do not run a
block (``skip="…"``, see tests/test_documents.py) is nothing that the fences of mkdocs know.
"""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")
REASON = re.compile(r'^(\s*```\w+) skip="[^"]*"', re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    return REASON.sub(r"\1", OUTSIDE.sub(r"\1", markdown))
