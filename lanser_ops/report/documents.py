"""Which documents lie in an output directory, and when they are written."""

from __future__ import annotations

from lanser_ops.output.dataset import read_dataset
from lanser_ops.output.directory import CARD, REPORT, OutputDir

# In both documents, so that a file of the same name that somebody else wrote is left alone.
MARK = "Written by lanser"


def write_documents(out: OutputDir) -> list[str]:
    """Write README.md, the dataset card, and report.html; the names of those that were written.

    The card says what dataset.json says. The page also reads the Parquet files and shards of a bounded number of units:
    see `survey`. Files that lanser did not write are left alone.
    """
    from lanser_ops.report import card, page  # the libraries for templates and charts, once there is work for them

    content = read_dataset(out)
    written = []
    for name, render in ((CARD, card.render), (REPORT, page.render)):
        if not out.exists(name) or MARK.encode() in out.read_bytes(name):
            out.write_bytes(name, render(out, content, MARK).encode())
            written.append(name)
    return written
