"""Any tar that is written is the one that tarfile writes, and is read back whole; any bytes are read or refused."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st

from lanser_ops import tar

NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=40).filter(
    lambda name: len(name.encode()) <= 100 and not name.endswith("/")  # a folder
)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=2000)), max_size=8, unique_by=lambda member: member[0])


def written(members: list[tuple[str, bytes]]) -> io.BytesIO:
    stream = io.BytesIO()
    size, _ = tar.write_tar(stream, [(name.encode(), content) for name, content in members])
    assert size == len(stream.getvalue())
    return stream


@settings(derandomize=True, max_examples=100, deadline=None)
@given(MEMBERS)
def test_what_is_written_is_read_back_and_tarfile_agrees(members):
    stream = written(members)
    assert len(stream.getvalue()) % 10_240 == 0 and tar.is_whole(stream, len(stream.getvalue()))
    read = list(tar.read_members(stream))
    assert [(member.name, member.size) for member in read] == [(name, len(content)) for name, content in members]
    assert all(member.offset % 512 == 0 for member in read)
    contents = [stream.getvalue()[member.offset : member.offset + member.size] for member in read]
    assert contents == [content for _, content in members]
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        theirs = [(info.name, info.offset_data, archive.extractfile(info).read()) for info in archive]
    ours = [(member.name.rstrip("/"), member.offset, content) for member, content in zip(read, contents, strict=True)]
    assert theirs == ours


@settings(derandomize=True, max_examples=150, deadline=None)
@given(MEMBERS, st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=12)), max_size=4), st.floats(0, 1))
def test_members_of_a_damaged_tar_lie_within_it(members, changes, share):
    content = bytearray(written(members).getvalue())
    for place, replacement in changes:
        offset = int(place * (len(content) - 1))
        content[offset : offset + len(replacement)] = replacement
    del content[int(share * len(content)) :]
    try:
        read = list(tar.read_members(io.BytesIO(content)))
    except tar.BrokenTar as broken:
        assert str(broken) and "\n" not in str(broken)
        return
    assert all(0 <= member.offset <= member.offset + member.size <= len(content) for member in read)
