"""What came out of a run, for people: closing lines on screen, README.md and report.html in the output."""

from __future__ import annotations

import html
import os
import sys
from typing import Any

from lanser_ops import storage
from lanser_ops.output.dataset import read_dataset
from lanser_ops.output.directory import CARD, REPORT, OutputDir
from schemas.records import REASONS

# In both documents, so that a file of the same name that somebody else wrote is left alone.
MARK = "Written by lanser"


def print_statistics(statistics: dict[str, Any], taxonomy: str | None) -> None:
    """Counts, labels, and rejects with their reasons."""
    hours, samples = statistics["hours"], statistics["samples"]
    counts = [f"{statistics['transcripts']} transcripts"]
    if taxonomy:
        counts.append(f"{samples} samples" if samples else f"{statistics['labelled']} labelled")
    counts.append(f"{sum(statistics['rejects'].values())} rejects")
    print(
        f"\n{statistics['sources']} sources, {statistics['utterances']} utterances: {', '.join(counts)}; "
        f"{hours['audio']:.2f} h of audio" + (f", {hours['samples']:.2f} h in samples" if samples else "")
    )
    if taxonomy:
        print(f"\nlabels ({taxonomy})")
        for label, count in statistics["labels"].items():
            print(f"  {label:<24} {count:>7}  {count / _labels(statistics):>6.1%}")
    if statistics["rejects"]:
        print("\nrejects")
        for reason, count in sorted(statistics["rejects"].items(), key=lambda item: (-item[1], item[0])):
            print(f"  {reason:<24} {count:>7}  {REASONS[reason]}")


def _labels(statistics: dict[str, Any]) -> int:
    """How many labels there are, at least 1: what shares are of."""
    return max(1, sum(statistics["labels"].values()))


def print_closing_lines(out: OutputDir, taxonomy: str | None, wall_s: float) -> None:
    """The statistics, seconds by stage, and what to do next."""
    content = read_dataset(out)
    statistics = content["taxonomies"][taxonomy]["accounts"] if taxonomy else content["accounts"]
    print_statistics(statistics, taxonomy)
    spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in statistics["seconds"].items())
    print(f"\n{wall_s:.1f} s in this run" + (f" (all workers together: {spent})" if spent else ""))
    place = out.root if storage.is_remote(out.root) else min(out.root, os.path.relpath(out.root), key=len)
    program = sys.argv[0] if os.path.basename(sys.argv[0]) == "lanser" else "lanser"
    if taxonomy is None:
        print(f"next: {program} label --output {place} --taxonomy ekman")
    elif out.names(out.shards(taxonomy)):
        print(f"shards: {place}/{out.shards(taxonomy)}/\nnext: {program} inspect {place}")
    else:
        print(f"next: {program} shard --output {place} --taxonomy {taxonomy}")


def write_documents(out: OutputDir) -> None:
    """Write README.md, a dataset card, and report.html, from directory.json alone."""
    content = read_dataset(out)
    for name, text in ((CARD, _card(content)), (REPORT, _page(content))):
        if out.exists(name) and MARK.encode() not in out.read_bytes(name):
            continue
        out.write_bytes(name, text.encode())


def statistics_by_taxonomy(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Statistics by taxonomy; under the empty name those of the transcripts, if there is nothing else."""
    taxonomies = content.get("taxonomies", {})
    by_name = {name: entry["accounts"] for name, entry in taxonomies.items() if "accounts" in entry}
    return by_name or ({"": content["accounts"]} if "accounts" in content else {})


def _tables(content: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(heading, rows) of everything that is reported; both documents show the same."""
    tables = [("How it was made", _origin(content))]
    for name, statistics in statistics_by_taxonomy(content).items():
        title = name or "transcripts"
        if name:
            label = content["taxonomies"][name]["label"]
            tables[0][1].append(
                (
                    f"labels of {name}",
                    f"{label['nli_model']['id']}, templates {', '.join(label['templates'])}, "
                    f"against {label['against']}, prior {label['prior']}",
                )
            )
            if model := content["taxonomies"][name].get("shard", {}).get("speech_model"):
                tables[0][1].append((f"speech model of {name}", model["id"]))
        tables.append((f"{title}: counts", _counts(statistics)))
        if "template_agreement" in statistics:
            shares = statistics["template_agreement"]
            rows = [
                (f"{alone!r} alone gives the label", f"{share:.1%}") for alone, share in shares["with_label"].items()
            ]
            rows.append(("two templates pick the same label", f"{shares['pairwise']:.1%}"))
            tables.append((f"{title}: agreement of templates", rows))
        if statistics["labels"]:
            total = _labels(statistics)
            rows = [(label, f"{count} ({count / total:.1%})") for label, count in statistics["labels"].items()]
            tables.append((f"{title}: labels", rows))
        if statistics["rejects"]:
            rows = [(f"{reason}: {REASONS[reason]}", str(count)) for reason, count in statistics["rejects"].items()]
            tables.append((f"{title}: rejects", rows))
    return tables


def _counts(statistics: dict[str, Any]) -> list[tuple[str, str]]:
    """Counts of samples only where there are shards."""
    rows = [(name, str(statistics[name])) for name in ("sources", "utterances", "transcripts")]
    if statistics["labelled"]:
        rows.append(("labelled", str(statistics["labelled"])))
    rows.append(("hours of audio", str(statistics["hours"]["audio"])))
    if statistics["samples"]:
        rows += [("samples", str(statistics["samples"]))]
        rows += [(f"{split} samples", str(count)) for split, count in statistics["splits"].items()]
        rows += [("hours in the shards", str(statistics["hours"]["samples"]))]
    return rows


def _origin(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Where the audio and its transcripts come from."""
    if "unpack" in content:
        shards = content["unpack"]
        models = ", ".join(shards["asr_models"]) or "none: transcripts came with the input"
        return [("shards", ", ".join(shards["inputs"])), ("speech recognition", models)]
    plan, asr = content["plan"], content["transcribe"]
    return [
        ("input", ", ".join(plan["inputs"])),
        ("speech recognition", f"{asr['asr_model']['id']} (sha256 {asr['asr_model']['sha256'][:12]})"),
        ("languages", ", ".join(asr["languages"]) or "any"),
    ]


def _card(content: dict[str, Any]) -> str:
    lines = [
        "# Speech with weak emotion labels",
        "",
        f"<!-- {MARK} -->",
        "Labels come from text alone: a recogniser's transcript and a language model's entailment scores "
        "(LanSER, Gong et al., Interspeech 2023). They are weak: use them to pre-train, not to evaluate.",
    ]
    for heading, rows in _tables(content):
        lines += ["", f"## {heading}", "", "| | |", "|---|---|"]
        lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows]
    lines += [
        "",
        "## Loading",
        "",
        "```python",
        "import io, soundfile, webdataset as wds",
        'shards = wds.WebDataset("shards/TAXONOMY/train-….tar", shardshuffle=False)',
        'for flac, fields, label in shards.decode().to_tuple("flac", "json", "cls"):',
        "    samples, rate = soundfile.read(io.BytesIO(flac))  # 16 kHz mono",
        "```",
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _page(content: dict[str, Any]) -> str:
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>LanSER report</title>",
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;width:100%}td{border-top:1px solid #ddd;padding:.3rem .6rem}"
        "td:last-child{text-align:right}</style></head><body><h1>Speech with weak emotion labels</h1>",
        f"<!-- {MARK} -->",
    ]
    for heading, rows in _tables(content):
        parts.append(f"<h2>{html.escape(heading)}</h2><table>")
        parts += [f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in rows]
        parts.append("</table>")
    return "".join([*parts, "</body></html>\n"])
