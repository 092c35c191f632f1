"""Text from the templates in lanser_ops/assets/report."""

from __future__ import annotations

import re
from typing import Any

import jinja2
from markupsafe import Markup, escape


def fill(name: str, **context: Any) -> str:
    """The template ``name`` with ``context``. Values are escaped where the template is HTML."""
    return _environment().get_template(name).render(context)


def asset(name: str) -> Markup:
    """A style sheet or script as it stands: its text is the product's own."""
    return Markup(fill(name))


def prose(text: str) -> Markup:
    """``text`` escaped, with what is between backticks as code.

    >>> prose("a < b: give `--prior none`")
    Markup('a &lt; b: give <code>--prior none</code>')
    """
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lanser_ops", "assets/report"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.filters["cell"] = lambda text: " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
    environment.filters["hours"] = lambda hours: f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
    environment.filters["count"] = lambda number: f"{number:,}"
    return environment
