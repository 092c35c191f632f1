"""The results as a page of tables."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu_parts.settings import Row


def page(results: dict[str, Any]) -> str:
    """Markdown: a table for each title among the rows, and the parts that ended with an error."""
    parts = results["parts"]
    tables: dict[str, list[Row]] = {}
    for part in parts.values():
        for row in part["rows"]:
            tables.setdefault(row["table"], []).append({name: row[name] for name in row if name != "table"})
    lines = ["# LanSER on this machine", "", f"`python {' '.join(results['command'])}`"]
    if results["quick"]:
        lines += ["", "A trial with tiny models and few clips: **its figures mean nothing.**"]
    for title, rows in tables.items():
        lines += ["", f"## {title}", "", *table(rows)]
    lines += ["", "## Parts", ""]
    lines += table([
        {"part": name, "s": part["seconds"], "error": part["error"] or ""} for name, part in parts.items()
    ])  # fmt: skip
    return "\n".join(lines) + "\n"


def table(rows: list[Row]) -> list[str]:
    """A Markdown table with every column that a row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[str(row.get(name, "")).replace("|", "\\|").replace("\n", " ") for name in columns] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *cells)]
