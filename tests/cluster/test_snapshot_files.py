"""Where snapshots lie while they move: a folder, or a simulated disk, to one contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from palaver.actors.cluster import SnapshotFiles
from palaver.actors.cluster.files import FolderFiles, folder_files
from palaver.storage.simulated import SimulatedDisk
from palaver.storage.simulated.faults import Calm
from palaver.supervisors.simulations.disks import DiskFiles

Make = Callable[[], SnapshotFiles]


@pytest.fixture(params=["folder", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "folder":
        return lambda: folder_files(tmp_path / "snapshots")("sending")
    disk = SimulatedDisk(Calm(lambda _delay_s, _fn: None, lambda: 0.0))
    return lambda: DiskFiles(disk, "sending")


def test_a_file_grows_by_pieces_and_is_read_from_anywhere(make: Make) -> None:
    files = make()
    files.clear()
    files.empty("1")
    assert files.read("1", 0, 10) == b""
    for piece in (b"one", b"", b"two"):
        files.append("1", piece)
    assert files.read("1", 0, 100) == b"onetwo"
    assert files.read("1", 2, 2) == b"et"
    assert files.read("1", 6, 2) == b""
    files.empty("1")
    assert files.read("1", 0, 100) == b""


def test_what_was_removed_is_gone_and_the_next_user_finds_nothing(make: Make) -> None:
    files = make()
    files.clear()
    for name in "12":
        files.empty(name)
    assert files.place("1") != files.place("2")
    files.remove("1")
    files.remove("1")
    for call in (lambda: files.read("1", 0, 1), lambda: files.read("3", 0, 1)):
        with pytest.raises(FileNotFoundError):
            call()
    make().clear()
    with pytest.raises(FileNotFoundError):
        files.read("2", 0, 1)


def test_only_its_own_files_are_cleared(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    files = FolderFiles(tmp_path, ".sending")
    files.empty("1")
    files.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    disk = SimulatedDisk(Calm(lambda _delay_s, _fn: None, lambda: 0.0))
    disk.files["other"] = b"mine"
    DiskFiles(disk, "sending").empty("1")
    DiskFiles(disk, "sending").clear()
    assert disk.files == {"other": b"mine"}


def test_a_full_disk_takes_no_piece() -> None:
    disk = SimulatedDisk(Calm(lambda _delay_s, _fn: None, lambda: 0.0))
    files = DiskFiles(disk, "fetched")
    files.empty("1")
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        files.append("1", b"piece")
    disk.make_room()
    files.append("1", b"piece")
    assert files.read("1", 0, 9) == b"piece"
