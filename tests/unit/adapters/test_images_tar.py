"""The reader of tar streams, beside the standard library's and GNU tar's writers."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altiplano.adapters.images import tar
from altiplano.testing.image_files import directory, hard_link, layer, link, member

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def read(raw: bytes, step: int = 1 << 20) -> list[tuple[tar.Entry, bytes]]:
    """All entries with their data; the stream gives at most `step` bytes at once."""
    stream = io.BytesIO(raw)
    reader = tar.TarReader(lambda size: stream.read(min(size, step)))
    return [(entry, b"".join(iter(lambda: reader.data(step), b""))) for entry in reader]


names = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=300)


@given(
    names=st.lists(names, min_size=1, max_size=4),
    content=st.binary(max_size=1500),
    uid=st.integers(0, 2**40),
    size_step=st.sampled_from([1, 7, 511, 1 << 20]),
    form=st.sampled_from(["gnu", "pax"]),
)
@settings(max_examples=60, deadline=None)
def test_what_the_standard_library_writes_is_read(
    names: list[str], content: bytes, uid: int, size_step: int, form: str
) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=FORMATS[form], encoding="utf-8") as archive:
        for name in names:
            info, data = member(name, content, uid=uid)
            archive.addfile(info, io.BytesIO(data))
    found = read(raw.getvalue(), size_step)
    assert [(entry.name.rstrip(b"/"), entry.uid, data) for entry, data in found] == [
        (name.rstrip("/").encode(), uid, content) for name in names
    ]


def test_all_kinds_of_entries_are_told_apart() -> None:
    entries = [
        directory("d"),
        member("d/f", b"content", mode=0o4755, attributes={"SCHILY.xattr.user.a": "b"}, modified_s=1.5),
        link("l", "d/f"),
        hard_link("h", "d/f"),
        member("c", kind=tarfile.CHRTYPE, device=(1, 3)),
        member("p", kind=tarfile.FIFOTYPE),
    ]
    found = [entry for entry, _ in read(layer(entries))]
    assert [entry.kind for entry in found] == [
        tar.DIRECTORY,
        tar.FILE,
        tar.SYMLINK,
        tar.LINK,
        tar.CHARACTER,
        tar.FIFO,
    ]
    assert found[1].mode == 0o4755
    assert found[1].attributes == {"user.a": b"b"}
    assert found[1].modified_ns == 1_500_000_000
    assert found[2].target == found[3].target == b"d/f"
    assert (found[4].major, found[4].minor) == (1, 3)


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar")
@pytest.mark.parametrize(
    "words",
    [
        ("--format=gnu",),
        ("--format=posix",),
        ("--format=posix", "--sparse-version=0.0"),
        ("--format=posix", "--sparse-version=0.1"),
    ],
    ids=" ".join,
)
def test_sparse_files_of_gnu_tar_are_read(tmp_path: Path, words: tuple[str, ...]) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        for number in range(40):
            file.seek(number * 200_000)
            file.write(b"%d" % number)
        file.truncate(10_000_000)
    archive = subprocess.run(
        ["tar", "-c", "-S", *words, "-f", "-", "sparse"], cwd=tmp_path, stdout=subprocess.PIPE, check=True, timeout=30
    ).stdout
    ((entry, data),) = read(archive)
    assert entry.name == b"sparse"
    assert entry.size_bytes == 10_000_000
    assert entry.extents is not None
    whole = bytearray(entry.size_bytes)
    for offset, length in entry.extents:
        whole[offset : offset + length], data = data[:length], data[length:]
    assert bytes(whole) == (tmp_path / "sparse").read_bytes()


def test_long_names_of_gnu_tar_are_read() -> None:
    raw = io.BytesIO()
    name, target = "n" * 250, "t" * 250
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(link(name, target)[0])
    ((entry, _),) = read(raw.getvalue())
    assert (entry.name, entry.target) == (name.encode(), target.encode())


def header(kind: bytes = b"0", size: bytes = b"00000000000", name: bytes = b"x") -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[257:263] = b"ustar\0"
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * 32)
    return bytes(block)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"not a tar file at all".ljust(512, b"!"), "no octal number"),
        (header()[:300], "ends in the middle"),
        (header(kind=b"V"), "not understood"),
        (header(size=b"77777777777"), "ends in the middle"),
        (header(size=b"\xff" + b"\xff" * 10 + b"\x00"), "out of range"),
        (header(kind=b"x", size=b"77777777777"), "at most 1048576"),
        (header(kind=b"L", size=b"77777777777"), "at most 1048576"),
        (header(kind=b"x", size=b"00000000005") + b"99 a=".ljust(512, b"\0"), "damaged"),
        ((header(kind=b"x", size=b"00000000010") + b"8 a=bcd\n".ljust(512, b"\0")) * 9, "headers"),
        (header(size=b"8"), "no octal number"),
    ],
)
def test_a_stream_that_lies_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(tar.TarError, match=why):
        read(raw)


@given(
    st.binary(max_size=3000),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=8),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_streams_are_read_or_refused_and_never_more_is_held_than_was_sent(
    content: bytes, changes: list[tuple[int, int]]
) -> None:
    raw = bytearray(layer([member("a" * 120, content, attributes={"SCHILY.xattr.user.x": "y"}), link("b", "c")]))
    for at, value in changes:
        raw[at % len(raw)] = value
        # With a right checksum the change gets further.
        block = at % len(raw) // 512 * 512
        if raw[block + 257 : block + 262] == b"ustar":
            raw[block + 148 : block + 156] = b" " * 8
            raw[block + 148 : block + 156] = b"%06o\0 " % sum(raw[block : block + 512])
    try:
        found = read(bytes(raw))
    except tar.TarError:
        return
    assert sum(len(data) for _, data in found) <= len(raw)


def test_what_is_skipped_need_not_be_read() -> None:
    raw = layer([member("a", bytes(100_000)), member("b", b"here")])
    stream = io.BytesIO(raw)
    taken = 0

    def count(size: int) -> bytes:
        nonlocal taken
        taken += size
        return stream.read(size)

    reader = tar.TarReader(count, lambda size: stream.seek(size, os.SEEK_CUR) and None)
    offsets = {entry.name: reader.offset for entry in reader}
    assert raw[offsets[b"b"] : offsets[b"b"] + 4] == b"here"
    assert taken < 10_000
