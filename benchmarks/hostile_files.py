"""Files that were made to do harm: YAML, JSON, tables, tars. benchmarks/hostile.py gives them to every command.

``canary`` is the path of a file that appears if anything in them is executed.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

Random = np.random.Generator
Members = list[tuple[str, bytes]]
# Replacements for any value of JSON, YAML or a table.
STRANGE: tuple[Any, ...] = (
    None, True, 7, -1, 0.5, 1e308, float("inf"), float("nan"), 10**400, "", "x" * 5000, "../../escaped",
    "/etc/passwd", "a\0b", "\x1b[2J", "\ud800", [], {}, [[[]]], {"a": {"b": "c"}},
)  # fmt: skip
TEXTS = [value for value in STRANGE if isinstance(value, str) and value != "\ud800"]  # which Arrow does not hold
HUGE = 1 << 60


class _Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, canary: str):
        self.canary = canary

    def __reduce__(self) -> tuple[Callable, tuple[str, str]]:
        return open, (self.canary, "w")


def pickled(canary: str) -> bytes:
    return pickle.dumps(_Payload(canary))


def documents(canary: str) -> dict[str, bytes]:
    """YAML that is meant to run code, to exhaust memory or the stack, or to name files elsewhere."""
    levels = ("a: &a [x, x]", *(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefgh")))
    labels = "labels: [joy, fear]\n"
    return {
        "alias bomb": "\n".join(levels).encode(),
        "python object": f"name: !!python/object/apply:os.system ['touch {canary}']\n{labels}".encode(),
        "python name": f"name: !!python/object/new:open ['{canary}', w]\n{labels}".encode(),
        "deep lists": b"name: t\nlabels: " + b"[" * 100_000,
        "deep mappings": b"name: t\nlabels: " + b"{a: " * 50_000,
        "deep blocks": b"\n".join(b" " * depth + b"a:" for depth in range(1200)),
        "huge number": b"name: t\nversion: " + b"9" * 5000 + b"\n" + labels.encode(),
        "huge exponent": b"name: t\nversion: 1e999999999\n" + labels.encode(),
        "sexagesimal": b"name: t\nversion: " + b"1" + b":59" * 3000 + b"\n" + labels.encode(),
        "NUL": b"name: t\0\n" + labels.encode(),
        "UTF-16": f"name: t\n{labels}".encode("utf-16"),
        "not UTF-8": b"name: \xff\xfe\xfd\n" + labels.encode(),
        "2 MB": b"name: t\nlabels:\n" + b"- abc\n" * 350_000,
        "many labels": b"name: t\nlabels:\n" + b"".join(b"- l%d\n" % number for number in range(5000)),
        "name with folders": b"name: ../../escaped\n" + labels.encode(),
        "absolute name": b"name: /tmp/escaped\n" + labels.encode(),
        "group elsewhere": b"name: t\nversion: 2\ngroup: ../../../../../etc/passwd\nlabels: [joy, fear]\n",
        "group of a device": b"name: t\nversion: 2\ngroup: /dev/zero\nlabels: [joy, fear]\n",
        "merge key": b"<<: {name: t}\n" + labels.encode(),
        "binary": b"name: !!binary aGVsbG8=\n" + labels.encode(),
        "set": b"name: t\nlabels: !!set {joy, fear}\n",
        "several documents": b"name: t\nlabels: [joy, fear]\n---\nname: u\n",
        "scalar": b"7\n",
        "nothing": b"",
        "escape": b'name: "\\UFFFFFFFF"\n' + labels.encode(),
        "terminal": b'name: "\\e[2J"\n' + labels.encode(),
        "pickle": pickled(canary),
    }


def json_documents(canary: str) -> dict[str, bytes]:
    """JSON that is none, that nests too deep, or that is another program's."""
    return {
        "deep lists": b"[" * 100_000,
        "deep objects": b'{"a": ' * 100_000,
        "deep and closed": b'{"schema_version": 2, "plan": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "huge number": b'{"schema_version": ' + b"9" * 5000 + b"}",
        "huge exponent": b'{"schema_version": 1e999}',
        "NaN": b'{"schema_version": NaN}',
        "list": b"[]",
        "text": b'"schema_version"',
        "nothing": b"",
        "NUL": b"\0" * 100,
        "not UTF-8": b'{"schema_version": 2, "plan": "\xff"}',
        "only the version": b'{"schema_version": 2}',
        "pickle": pickled(canary),
    }


def manifests(canary: str) -> dict[str, bytes]:
    """CSV manifests with rows that are not rows."""
    head = b"path,start_s,end_s,text\n"
    return {
        "nothing": b"",
        "header only": head,
        "NUL": head + b"a\0b.flac,,,hello\n",
        "infinite": head + b"a.flac,inf,inf,hello\na.flac,-inf,1e300,hello\na.flac,nan,nan,hello\n",
        "elsewhere": head + b"../../../../../../etc/passwd,,,hello\n/dev/zero,,,hello\n/proc/self/mem,,,hello\n",
        "addresses": head + b"http://localhost:1/x.wav,,,a\nfile:///etc/passwd,,,b\nhdfs://x/y.wav,,,c\n",
        "long row": head + b"a.flac,,," + b"x" * 3_000_000 + b"\n",
        "ragged": head + b"a.flac,1\na.flac,1,2,3,4,5,6\n",
        "unclosed quote": head + b'a.flac,,,"hello\n' + b"x\n" * 1000,
        "many columns": b",".join(b"c%d" % number for number in range(20_000)) + b"\n",
        "same column twice": b"path,path\na.flac,b.flac\n",
        "terminal": head + b"\x1b[2J.flac,,,\x1b]0;x\x07\n",
        "formula": head + b"=cmd|' /C calc'!A0,,,hello\n",
        "not UTF-8": head + b"\xff\xfe.flac,,,\xff\n",
        "text of a binary": bytes(range(256)) * 40,
        "pickle": pickled(canary),
    }


def tar_of(members: Iterable[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _info(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info


def _with_size(content: bytes, size: bytes) -> bytes:
    """A tar of one member, followed by a header that claims ``size`` bytes."""
    header = bytearray(_info("claims.flac").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content.rstrip(b"\0").ljust(-(-len(content.rstrip(b"\0")) // 512) * 512, b"\0") + header + bytes(1024)


def tars(canary: str, members: Members) -> dict[str, bytes]:
    """Tars whose first members are ``members``, and the rest of which is hostile."""
    good = [(_info(name, content), content) for name, content in members]
    evil = pickled(canary)
    key = members[0][0].partition(".")[0]
    _, audio = next(member for member in members if member[0].endswith(".flac"))

    def names(*given: str) -> bytes:
        return tar_of([*good, *((_info(name, audio), audio) for name in given)])

    def kinds(kind: bytes, link: str = "") -> bytes:
        return tar_of([*good, (_info("other.flac", b"", kind, link), b"")])

    pax = _info("claims.flac")
    pax.pax_headers = {"size": str(HUGE)}
    sparse = _info("sparse.flac")
    sparse.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(HUGE), "GNU.sparse.realsize": str(HUGE)}
    return {
        "absolute name": names("/tmp/escaped.flac"),
        "name of a parent": names("../../escaped.flac", "../escaped.json"),
        "newline in a name": names("a\nb.flac"),
        "terminal in a name": names("\x1b[2J.flac"),
        "long name": names("x" * 3000 + ".flac"),
        "name that is not UTF-8": names("\udcff\udcfe.flac"),
        "same name twice": names("same.flac", "same.flac"),
        "member twice": tar_of([*good, *good]),
        "symlink": kinds(tarfile.SYMTYPE, "../../outside/secret.txt"),
        "hard link": kinds(tarfile.LNKTYPE, "/etc/passwd"),
        "character device": kinds(tarfile.CHRTYPE),
        "block device": kinds(tarfile.BLKTYPE),
        "pipe": kinds(tarfile.FIFOTYPE),
        "folder": kinds(tarfile.DIRTYPE),
        "unknown kind": kinds(b"Z"),
        "huge size": _with_size(tar_of(good), b"\x80" + b"\0" * 3 + HUGE.to_bytes(8, "big")),
        "negative size": _with_size(tar_of(good), b"\xff" * 12),
        "octal size": _with_size(tar_of(good), b"77777777777\0"),
        "huge size in PAX": tar_of([*good, (pax, b"")], tarfile.PAX_FORMAT),
        "sparse": tar_of([*good, (sparse, b"")], tarfile.PAX_FORMAT),
        "pickles": tar_of([*good, *((_info(f"{key}.{end}", evil), evil) for end in ("pkl", "pyd", "pth", "npy"))]),
        "pickle for a FLAC": tar_of([*good, (_info("0" * 16 + ".flac", evil), evil)]),
        "tar in a tar": tar_of([*good, (_info("inner.tar", tar_of(good)), tar_of(good))]),
        "end missing": tar_of(good).rstrip(b"\0"),
        "cut": tar_of(good)[: len(tar_of(good)) // 3],
    }


def changed_value(value: Any, random: Random) -> Any:
    """A copy of JSON-like ``value`` in which one entry is replaced, removed or renamed."""
    value = json.loads(json.dumps(value))
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, inner in entries:
            places.append((node, key))
            walk(inner)

    walk(value)
    if not places:
        return STRANGE[random.integers(len(STRANGE))]
    node, key = places[random.integers(len(places))]
    action = random.random()
    if action < 0.7:
        node[key] = STRANGE[random.integers(len(STRANGE))]
    elif action < 0.85:
        del node[key]
    elif isinstance(node, dict):
        node[str(STRANGE[random.integers(len(STRANGE) - 4)])] = node.pop(key)
    else:
        node.append(node[key])
    return value


def changed_json(content: bytes, random: Random) -> bytes:
    return json.dumps(changed_value(json.loads(content), random)).encode()


def changed_yaml(content: bytes, random: Random) -> bytes:
    return yaml.safe_dump(changed_value(yaml.safe_load(content), random)).encode("utf-8", "surrogatepass")


def changed_lines(content: bytes, random: Random) -> bytes:
    """Delimited text in which one field is replaced."""
    rows = [line.split(b",") for line in content.splitlines()]
    row = rows[random.integers(len(rows))]
    row[random.integers(len(row))] = str(STRANGE[random.integers(len(STRANGE))]).encode("utf-8", "surrogatepass")
    return b"\n".join(b",".join(row) for row in rows) + b"\n"


def changed_table(content: bytes, random: Random) -> bytes:
    """A Parquet file with other columns, types or rows; its metadata stays."""
    table = pq.read_table(io.BytesIO(content))
    index = int(random.integers(table.num_columns))
    name, column = table.column_names[index], table.column(index)
    rows = len(table)
    others: list[Callable[[], pa.Table]] = [
        lambda: table.drop_columns([name]),
        lambda: table.set_column(index, name, pa.nulls(rows, column.type)),
        lambda: table.set_column(index, name, pa.array([TEXTS[random.integers(len(TEXTS))]] * rows)),
        lambda: table.set_column(index, name, pa.array(random.normal(size=rows) * 1e300)),
        lambda: table.set_column(index, name, pa.array([[7]] * rows)),
        lambda: table.slice(0, 0),
        lambda: pa.concat_tables([table, table]),
        lambda: table.take(pa.array(random.permutation(rows))),
        lambda: table.rename_columns(["x" if other == name else other for other in table.column_names]),
        lambda: table.append_column("extra", pa.nulls(rows)),
    ]
    try:
        changing = others[random.integers(len(others))]()
    except (pa.ArrowException, TypeError, ValueError):  # a value that the column cannot have
        changing = table.slice(0, max(0, rows - 1))
    sink = io.BytesIO()
    pq.write_table(changing.replace_schema_metadata(table.schema.metadata), sink)
    return sink.getvalue()


def changed_members(content: bytes, random: Random) -> bytes:
    """A tar with the JSON of one member changed."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = [(info.name, archive.extractfile(info).read()) for info in archive if info.isreg()]  # type: ignore[union-attr]
    numbers = [number for number, (name, _) in enumerate(members) if name.endswith(".json")]
    if numbers:
        number = numbers[random.integers(len(numbers))]
        members[number] = (members[number][0], changed_json(members[number][1], random))
    return tar_of((_info(name, inner), inner) for name, inner in members)
