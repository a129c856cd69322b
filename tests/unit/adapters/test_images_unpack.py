"""Layers become directories, and hostile ones stay inside of them or are refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altiplano.adapters.images import inside, unpack
from altiplano.testing.image_files import directory, hard_link, layer, link, member

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root has owners, devices and capabilities to give")
Entries = Sequence[tuple[tarfile.TarInfo, bytes]]
BOUND_BYTES = 1024 * 1024


def unpacked(
    raw: bytes, target: Path, *, bytes_max: int = BOUND_BYTES, entries_max: int = 1000, devices: bool = False
) -> unpack.Report:
    target.mkdir(exist_ok=True)
    packed = target.parent / "packed"
    packed.write_bytes(raw)
    job = unpack.Job(
        offset=0,
        stored_bytes=len(raw),
        stream_bytes_max=bytes_max,
        entries_max=entries_max,
        devices=devices,
        parent=os.getppid(),
    )
    with open(packed, "rb") as file:
        root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return unpack.report(file.fileno(), root, job)
        finally:
            os.close(root)


def made(entries: Entries, tmp_path: Path) -> Path:
    target = tmp_path / "target"
    report = unpacked(layer(entries), target)
    assert isinstance(report, unpack.Unpacked), report
    return target


def refused(entries: Entries, tmp_path: Path, why: str) -> None:
    report = unpacked(layer(entries), tmp_path / "target")
    assert isinstance(report, unpack.Refused)
    assert why in report.sentence
    assert sorted(os.listdir(tmp_path)) == ["packed", "target"]


def test_a_layer_becomes_a_directory(tmp_path: Path) -> None:
    target = made(
        [
            directory("etc", mode=0o755),
            member("etc/passwd", b"root", mode=0o640, modified_s=1_500_000_000.25),
            link("etc/link", "/etc/passwd"),
            hard_link("etc/same", "etc/passwd"),
            member("deep/er/file", b"x"),
            member("fifo", kind=tarfile.FIFOTYPE),
        ],
        tmp_path,
    )
    assert (target / "etc/passwd").read_bytes() == b"root"
    found = (target / "etc/passwd").stat()
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert found.st_mtime_ns == 1_500_000_000_250_000_000
    assert found.st_nlink == 2
    assert os.readlink(target / "etc/link") == "/etc/passwd"
    assert (target / "deep/er/file").exists()
    assert stat.S_ISFIFO((target / "fifo").stat().st_mode)
    assert (target / "etc").stat().st_mtime == 1_600_000_000


def test_the_digest_is_that_of_the_whole_stream_with_what_stands_behind_its_end(tmp_path: Path) -> None:
    raw = layer([member("a", b"x")]) + b"behind the end"
    report = unpacked(gzip.compress(raw), tmp_path / "target")
    assert isinstance(report, unpack.Unpacked)
    assert report.diff_id == f"sha256:{hashlib.sha256(raw).hexdigest()}"


def test_gzip_in_pieces_and_zstd_are_unpacked(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    raw = layer([member("a", bytes(5000))])
    pieces = gzip.compress(raw[:700]) + gzip.compress(raw[700:]) + bytes(100)
    frames = zstandard.compress(raw[:700]) + zstandard.compress(raw[700:])
    for number, packed in enumerate((raw, pieces, frames)):
        report = unpacked(packed, tmp_path / str(number))
        assert isinstance(report, unpack.Unpacked), report
        assert report.diff_id == f"sha256:{hashlib.sha256(raw).hexdigest()}"


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([member("../out", b"x")], "climbs out"),
        ([member("a/../../out", b"x")], "climbs out"),
        ([member("a/../b", b"x")], "climbs out"),
        ([hard_link("a", "../packed")], "climbs out"),
        ([hard_link("a", "/etc/hostname")], "does not have"),
        ([hard_link("a", "")], "is no file"),
        ([directory("d"), hard_link("a", "d")], "is no file"),
        ([link("up", "../.."), member("up/x/y", b"x"), hard_link("a", "up/packed")], "does not have"),
        ([member(".wh...", b"")], "hides no name"),
        ([member("d/.wh..", b"")], "hides no name"),
        ([member("a", b"x"), member("a/b", b"x")], "no directory"),
        ([link("a", "missing"), member("a/b", b"x")], "leads nowhere"),
        ([link("a", "a"), member("a/b", b"x")], "Too many levels"),
        ([member("/".join("a" * 300), b"x")], "300 directories deep"),
        ([member("n" * 256, b"x")], "too long"),
        ([member("a", bytes(2 * BOUND_BYTES))], "more than the 1048576"),
        ([member(str(number)) for number in range(1001)], "more than the 1000 entries"),
    ],
)
def test_a_layer_that_breaks_the_rules_is_refused(entries: Entries, why: str, tmp_path: Path) -> None:
    refused(entries, tmp_path, why)


@pytest.mark.parametrize(
    "entries",
    [
        [member("/packed", b"hostile")],
        [link("a", ".."), member("a/packed", b"hostile")],
        [link("a", "/"), member("a/packed", b"hostile")],
        [link("a", "../../../../../../.."), member("a/tmp/hostile", b"hostile")],
        [link("b", ".."), link("a", "b"), directory("a/c"), member("a/packed", b"hostile")],
        [link("a", "../packed"), member("a", b"hostile")],
        [link("packed", "../packed"), hard_link("h", "packed"), member("h", b"hostile")],
        [link("a", ".."), directory("a", mode=0o777)],
        [link("a", "../packed"), member(".wh.a", b"")],
        [link("d", ".."), member("d/.wh.packed", b"")],
        [link("d", ".."), member("d/.wh..wh..opq", b"")],
        [link("a", "/proc/self/root/../packed"), member("a", b"x")],
    ],
)
def test_links_lead_nowhere_but_inside(entries: Entries, tmp_path: Path) -> None:
    before = os.stat(tmp_path).st_mode
    raw = layer(entries)
    report = unpacked(raw, tmp_path / "target")
    assert isinstance(report, unpack.Unpacked | unpack.Refused), report
    assert (tmp_path / "packed").read_bytes() == raw
    assert sorted(os.listdir(tmp_path)) == ["packed", "target"]
    assert os.stat(tmp_path).st_mode == before
    assert not os.path.exists("/tmp/hostile")
    assert not os.path.exists("/packed")


places = ["a", "b", "a/a", "a/b", "b/a", "a/b/a", ".wh.a", "a/.wh.b", "b/.wh..wh..opq", ".", "../a", "a/../b", "/a"]
targets = ["..", "../..", "../a", ".", "a", "b", "a/b", "a/..", "", "/a"]


kinds = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
steering = {"SCHILY.xattr.trusted.overlay.redirect": "/x", "SCHILY.xattr.user.a": "b"}


@st.composite
def hostile(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    if draw(st.booleans()):
        return link(draw(st.sampled_from(["a", "b", "a/a"])), draw(st.sampled_from(["..", "../..", ".", "b", "../a"])))
    kind = draw(st.sampled_from(kinds))
    return member(
        draw(st.sampled_from(places)),
        b"hostile" if kind == tarfile.REGTYPE else b"",
        kind=kind,
        target=draw(st.sampled_from(targets)),
        mode=draw(st.sampled_from([0, 0o644, 0o4755, 0o7777])),
        attributes=draw(st.sampled_from([{}, steering])),
    )


@given(st.lists(hostile(), max_size=10))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_is_ever_written_outside_and_everything_can_be_removed(tmp_path: Path, entries: Entries) -> None:
    around = tmp_path / "around"
    around.mkdir(exist_ok=True)
    (around / "a").write_text("outside")
    raw = layer(entries)
    report = unpacked(raw, around / "target")
    assert isinstance(report, unpack.Unpacked | unpack.Refused), report
    assert sorted(os.listdir(around)) == ["a", "packed", "target"]
    assert (around / "a").read_text() == "outside"
    assert (around / "a").stat().st_nlink == (around / "packed").stat().st_nlink == 1
    assert (around / "packed").read_bytes() == raw
    for path, names, _ in os.walk(around / "target"):
        for name in (*names, "."):
            assert "trusted.overlay.redirect" not in os.listxattr(os.path.join(path, name), follow_symlinks=False)
    fd = os.open(around, os.O_RDONLY)
    inside.remove_tree("target", fd)
    os.close(fd)
    assert sorted(os.listdir(around)) == ["a", "packed"]


@given(st.binary(max_size=4000))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_unpacked_or_refused(tmp_path: Path, raw: bytes) -> None:
    report = unpacked(raw, tmp_path / "target")
    assert isinstance(report, unpack.Unpacked | unpack.Refused)


def test_a_bomb_of_zeros_stops_at_the_bound(tmp_path: Path) -> None:
    zeros = io.BytesIO()
    with gzip.GzipFile(fileobj=zeros, mode="wb") as packed:
        info, _ = member("bomb")
        info.size = 2**33
        packed.write(info.tobuf())
        for _ in range(64):
            packed.write(bytes(1024 * 1024))
    report = unpacked(zeros.getvalue(), tmp_path / "target", bytes_max=2**40)
    assert isinstance(report, unpack.Refused)
    report = unpacked(zeros.getvalue(), tmp_path / "again", bytes_max=8 * BOUND_BYTES)
    assert report == unpack.Refused(
        sentence="the file 'bomb' has 8589934592 bytes, more than the 8388608 that are allowed"
    )
    # The same behind the archive's end, where no entry is made of it.
    behind = gzip.compress(layer([member("a")])) + gzip.compress(bytes(16 * BOUND_BYTES))
    report = unpacked(behind, tmp_path / "behind", bytes_max=8 * BOUND_BYTES)
    assert isinstance(report, unpack.Refused)
    assert "unpacks to more than" in report.sentence


def test_damaged_packing_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(layer([member("a", os.urandom(3000))]))
    for raw in (packed[:-20], packed[:1000], packed[:500] + b"?" + packed[501:]):
        assert isinstance(unpacked(raw, tmp_path / "target"), unpack.Refused)


def test_later_entries_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    target = made(
        [
            directory("a"),
            member("a/x", b"old"),
            member("a", b"a file now"),
            link("b", "a"),
            directory("b"),
            member("b/y", b"new"),
            member("c", b"1"),
            member("c", b"2"),
        ],
        tmp_path,
    )
    assert (target / "a").read_bytes() == b"a file now"
    assert (target / "b/y").read_bytes() == b"new"
    assert not (target / "b").is_symlink()
    assert (target / "c").read_bytes() == b"2"


def is_whiteout(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


@ROOT
def test_whiteouts_become_those_of_an_overlay(tmp_path: Path) -> None:
    target = made(
        [
            member("etc/.wh.passwd"),
            member("var/.wh..wh..opq"),
            member("var/new", b"x"),
            member(".wh.both"),
            directory("both"),
            directory("other"),
            member(".wh.other"),
            member("stays", b"x"),
            member(".wh.stays"),
            member(".wh..wh.aufs"),
        ],
        tmp_path,
    )
    assert is_whiteout(target / "etc/passwd")
    assert opaque(target / "var")
    assert opaque(target / "both")
    assert opaque(target / "other")
    assert (target / "stays").read_bytes() == b"x"
    assert sorted(os.listdir(target)) == ["both", "etc", "other", "stays", "var"]


@ROOT
def test_root_keeps_owners_and_bits_and_leaves_devices_out(tmp_path: Path) -> None:
    entries = [
        member("s", b"x", mode=0o6755, uid=1234, gid=5678),
        member("null", kind=tarfile.CHRTYPE, device=(1, 3), mode=0o666),
        member("zero", kind=tarfile.CHRTYPE, device=(0, 0)),
        member("cap", b"x", attributes={"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.a": "b"}),
    ]
    target = made(entries, tmp_path)
    found = (target / "s").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 5678, 0o6755)
    assert os.listxattr(target / "cap") == ["user.a"]
    assert sorted(os.listdir(target)) == ["cap", "s"]
    allowed = tmp_path / "allowed"
    assert isinstance(unpacked(layer(entries), allowed, devices=True), unpack.Unpacked)
    assert (allowed / "null").stat().st_rdev == os.makedev(1, 3)
    assert not (allowed / "zero").exists()


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Outside of pytest's own directory, which is closed to other users."""
    path = Path(tempfile.mkdtemp(prefix="altiplano-layers-", dir="/var/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@ROOT
def test_without_root_all_belongs_to_the_user_and_nothing_lends_his_rights(open_path: Path) -> None:
    """In a child that gives its rights up: the layer is unpacked and removed as an ordinary user does it."""
    raw = layer(
        [
            directory("closed", mode=0o000, uid=0),
            member("closed/s", b"x", mode=0o6755, uid=0),
            member(".wh.gone"),
            member("closed/.wh..wh..opq"),
            member("null", kind=tarfile.CHRTYPE, device=(1, 3)),
        ]
    )
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            target = open_path / "target"
            target.mkdir()
            (open_path / "packed").write_bytes(raw)
            root = os.open(target, os.O_RDONLY)
            packed = os.open(open_path / "packed", os.O_RDONLY)
            job = unpack.Job(
                offset=0,
                stored_bytes=len(raw),
                stream_bytes_max=10**6,
                entries_max=99,
                devices=True,
                parent=os.getppid(),
            )
            result = unpack.report(packed, root, job)
            found = (target / "closed/s").stat()
            facts = [type(result).__name__, found.st_uid, oct(found.st_mode), is_whiteout(target / "gone")]
            facts += [sorted(os.listdir(target)), os.listxattr(target / "closed")]
            inside.remove_tree("target", os.open(open_path, os.O_RDONLY))
            os.write(writer, repr([*facts, os.listdir(open_path)]).encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    assert said == repr(["Unpacked", 65534, "0o100755", True, ["closed", "gone"], ["user.overlay.opaque"], ["packed"]])


def test_deep_trees_are_removed(tmp_path: Path) -> None:
    """A hostile layer can nest deeper than a recursion or open files go."""
    os.mkdir(tmp_path / "tree")
    here = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    fd = os.open(tmp_path, os.O_RDONLY)
    inside.remove_tree("tree", fd)
    inside.remove_tree("tree", fd)
    os.close(fd)
    assert os.listdir(tmp_path) == []


def test_sparse_files_keep_their_holes(tmp_path: Path) -> None:
    info, _ = member(
        "sparse",
        attributes={
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.size": "900000",
            "GNU.sparse.map": "0,4,800000,4",
        },
    )
    info.size = 8
    raw = layer([(info, b"headtail")])
    assert isinstance(unpacked(raw, tmp_path / "target"), unpack.Unpacked)
    content = (tmp_path / "target/sparse").read_bytes()
    assert (len(content), content[:4], content[800_000:800_004]) == (900_000, b"head", b"tail")
    assert (tmp_path / "target/sparse").stat().st_blocks * 512 < 100_000
