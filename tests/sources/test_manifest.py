"""The manifest: what is refused, and a digest that depends on names and bytes and on nothing else."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.candidate_facts import FileEntry
from backdoor_gate.errors import RefusedError, UsageError
from backdoor_gate.sources import manifest as module
from backdoor_gate.sources.manifest import Budget, digest, manifest, path_digest, shown


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "data").mkdir(parents=True)
    (folder / "b.txt").write_bytes(b"bee")
    (folder / "data" / "a.bin").write_bytes(b"")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(RefusedError) as caught:
        manifest(folder)
    assert caught.value.exit_code == 3
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_entries_are_sorted_and_hashed(root: Path) -> None:
    assert manifest(root) == (
        FileEntry("b.txt", 3, hashlib.sha256(b"bee").hexdigest()),
        FileEntry("data/a.bin", 0, hashlib.sha256(b"").hexdigest()),
    )


def test_the_digest_is_the_documented_serialisation(root: Path) -> None:
    empty, bee = hashlib.sha256(b"").hexdigest(), hashlib.sha256(b"bee").hexdigest()
    text = f"backdoor-gate manifest 1\n{bee} 3 b.txt\n{empty} 0 data/a.bin\n"
    assert digest(manifest(root)) == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_order_of_the_entries_does_not_matter(root: Path) -> None:
    assert digest(reversed(manifest(root))) == digest(manifest(root))


@pytest.mark.parametrize("change", ["content", "name", "extra", "moved"])
def test_every_change_changes_the_digest(root: Path, change: str) -> None:
    before = digest(manifest(root))
    if change == "content":
        (root / "b.txt").write_bytes(b"bef")
    elif change == "extra":
        (root / "c").write_bytes(b"")
    else:
        (root / "b.txt").rename(root / ("c.txt" if change == "name" else "data/b.txt"))
    assert digest(manifest(root)) != before


def test_times_modes_and_empty_folders_do_not_matter(root: Path) -> None:
    before = digest(manifest(root))
    (root / "empty").mkdir()
    (root / "b.txt").chmod(0o600)
    os.utime(root / "b.txt", (0, 0))
    assert digest(manifest(root)) == before


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "candidate has no files" in refusal(tmp_path)


@pytest.mark.parametrize("target", ["b.txt", "..", "/etc/passwd", "absent"])
def test_symbolic_links(root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    assert "not a regular file: link" in refusal(root)


def test_hard_links(root: Path) -> None:
    (root / "second").hardlink_to(root / "b.txt")
    assert "not a regular file" in refusal(root)
    assert path_digest(root).startswith("sha256:")


def test_pipes_and_sockets_are_refused_at_once(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert "not a regular file: pipe" in refusal(root)
    (root / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "s"))
        assert "not a regular file: s" in refusal(root)


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs a device to link to")
def test_a_device(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="not a regular file"):
        module.open_regular(Path("/dev/zero"), "zero")


@pytest.mark.parametrize(
    "name",
    [
        b"new\nline",
        b"\x1b[31m",
        b"::error::x",
        b"rtl\xe2\x80\xaetxt",
        b"\xff\xfe",
        b"n" * 201,
        b"back\\slash",
        b"z\xe2\x80\x8bw",
    ],
)
def test_names_that_are_not_allowed(root: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(b"x")
    assert "file name not allowed" in refusal(root)


@pytest.mark.parametrize("pair", [("A", "a"), ("straße", "STRASSE"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_collide(root: Path, pair: tuple[str, str]) -> None:
    for name in pair:
        (root / name).write_bytes(b"x")
    if len(list(root.iterdir())) < 4:
        pytest.skip("this file system has one name for both")
    assert "file name not allowed" in refusal(root)


@pytest.mark.parametrize(
    "name", ["model.pt2", "epoch=3-val_acc=0.91.ckpt", "zwei Wörter.txt", "モデル.bin", "a:b", ".hidden"]
)
def test_usual_names_are_allowed(root: Path, name: str) -> None:
    (root / name).write_bytes(b"x")
    assert name in [entry.path for entry in manifest(root)]


def test_too_deep(root: Path) -> None:
    deepest = root.joinpath(*["d"] * module.MAX_DEPTH)
    deepest.mkdir(parents=True)
    assert "path too deep" in refusal(root)


def test_too_many(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 2)
    assert "more than 2 files" in refusal(root)


def test_too_large_is_noticed_before_reading(root: Path) -> None:
    with (root / "sparse").open("wb") as stream:
        stream.truncate(40 * 2**30)
    assert "larger than the byte limit" in refusal(root)


def test_a_sum_that_is_too_large(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 5)
    assert manifest(root)
    (root / "c").write_bytes(b"xyz")
    assert "larger than the byte limit" in refusal(root)


def test_a_file_that_changes_while_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = module.open_regular

    def growing(path: Path, relative: str, *, single_links: bool = True) -> object:
        with path.open("ab") as stream:
            stream.write(b"more")
        return opened(path, relative, single_links=single_links)

    monkeypatch.setattr(module, "open_regular", growing)
    assert "changed while it was read" in refusal(root)


def test_path_digest_of_a_file_ignores_its_name(tmp_path: Path) -> None:
    (tmp_path / "one.npz").write_bytes(b"pixels")
    (tmp_path / "two.npz").write_bytes(b"pixels")
    assert path_digest(tmp_path / "one.npz") == path_digest(tmp_path / "two.npz")
    (tmp_path / "two.npz").write_bytes(b"Pixels")
    assert path_digest(tmp_path / "one.npz") != path_digest(tmp_path / "two.npz")


def test_path_digest_of_a_folder_equals_the_manifest(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert path_digest(tmp_path / "alias") == digest(manifest(root))


@pytest.mark.parametrize("kind", ["absent", "empty", "link", "pipe"])
def test_path_digest_blames_the_call(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data"
    if kind in {"empty", "link"}:
        path.mkdir()
    if kind == "link":
        (path / "x").symlink_to("/etc/passwd")
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(UsageError) as caught:
        path_digest(path)
    assert "data" in str(caught.value)


@given(st.text(max_size=300))
def test_any_name_is_counted_or_refused_in_one_printable_line(name: str) -> None:
    message = ""
    try:
        Budget().add(name)
    except RefusedError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 400
    assert message or (name.isprintable() and ".." not in name.split("/"))


@given(
    st.lists(st.tuples(st.text("ab \n0/", min_size=1), st.integers(0, 99)), unique_by=lambda pair: pair[0], max_size=4)
)
def test_different_manifests_have_different_digests(pairs: list[tuple[str, int]]) -> None:
    entries = [FileEntry(path.replace("\n", "_"), size, "0" * 64) for path, size in pairs]
    if entries:
        changed = [*entries[:-1], FileEntry(entries[-1].path, entries[-1].size + 1, "0" * 64)]
        assert digest(changed) != digest(entries)
        assert digest(entries[:-1]) != digest(entries)


@given(st.text())
def test_shown_is_short_plain_text(text: str) -> None:
    assert shown(text).isascii()
    assert shown(text).isprintable()
    assert len(shown(text)) <= 120
