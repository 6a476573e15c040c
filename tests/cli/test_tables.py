"""`palaver tables`: what it tells of a database, and what it makes of one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli_programs import inside, palaver

from palaver.storage import Outcome, Store, folder
from palaver.storage.environment import Environment
from palaver.storage.tables import Activity, Database
from palaver.storage.tables.machine import TableMachine
from palaver.storage.transaction import WriteTxn


@dataclass(frozen=True, slots=True)
class Account:
    number: str
    owner: str
    photo: bytes


@pytest.fixture
def path(tmp_path: Path) -> str:
    with Database.open(tmp_path / "db", partitions=2) as db:
        db.create_table(Account, index=["owner"])
        db.create_table(name="seen", attributes=["who", "at"], type="bag", storage="ram_copies")

        def work(tx: Activity) -> None:
            for number in "abc":
                tx.write(Account(number, "x", b"\x00"))

        db.sync_transaction(work)
    return str(tmp_path / "db")


@pytest.fixture
def chat(tmp_path: Path) -> str:
    """The data of another program."""

    class Chat:
        tables = ("rows",)
        version = 1

        def __init__(self, _partition: int) -> None:
            pass

        def open(self, txn: Any, partition: int) -> None:
            pass

        def apply(self, txn: Any, seq: int, command: Any) -> Outcome:
            return Outcome()

        def check(self, txn: Any, partition: int) -> Any:
            return iter(())

    store = Store.open(tmp_path / "chat", Chat)
    store.backup(tmp_path / "chat-snapshot")
    store.close_now()
    return str(tmp_path / "chat")


def asked(*arguments: str) -> Any:
    """What a command answers as JSON."""
    done = inside("tables", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def failed(*arguments: str) -> str:
    """What a command that fails tells."""
    done = inside(*arguments)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: ")
    return done.stderr


def test_info_tells_what_is_there(path: str, tmp_path: Path) -> None:
    shown = inside("tables", "info", path)
    assert shown.returncode == 0, shown.stderr
    for word in ("database, 2 partitions", "Account", "disc_copies", "ram_copies", "owner", "bag"):
        assert word in shown.stdout
    told = asked("info", path)
    account, seen = told["tables"]
    assert (account["records"], account["key"], account["index"]) == (3, "number", ["owner"])
    assert seen["records"] is None
    with Database.open(path) as db:
        for partition in told["partitions"]:
            applied, digest = db.digest(partition["partition"])
            assert (partition["applied"], int(partition["digest"], 16)) == (applied, digest)
        beside = palaver("tables", "info", path, "--json")  # while it is in use
        assert json.loads(beside.stdout)["tables"] == told["tables"]
        db.change_table_access_mode("Account", "read_only")
        db.backup(tmp_path / "backup")
        db.snapshot(tmp_path / "snapshot")
        db.install_fallback(tmp_path / "backup", partitions=4)
    shown = inside("tables", "info", path)
    assert "(read only)" in shown.stdout
    assert "fallback into 4 partitions" in shown.stdout
    backup = asked("info", str(tmp_path / "backup"))
    assert backup["kind"] == "backup"
    assert [one["records"] for one in backup["tables"]] == [3, 0]
    assert len(backup["partitions"]) == 2
    snapshot = asked("info", str(tmp_path / "snapshot"))
    assert snapshot["kind"] == "snapshot"
    assert "snapshot, 2 partitions" in inside("tables", "info", str(tmp_path / "snapshot")).stdout


def test_check_passes_what_is_sound_and_names_what_is_not(path: str, tmp_path: Path) -> None:
    done = inside("tables", "check", path)
    assert (done.returncode, done.stdout) == (0, f"nothing wrong in {path}\n")
    environment = Environment(
        folder.partition_folder(folder.tables_of(Path(path)), 1), TableMachine.tables
    )
    raw = environment.begin()
    WriteTxn(raw, environment.dbs).put("rows", b"\x00\x00\x00\x63key", b"payload")
    environment.commit(raw)
    environment.close()
    done = inside("tables", "check", path)
    assert done.returncode == 1
    assert "partition 1: 1 rows in space 99, which belongs to no table" in done.stdout
    assert "1 findings" in done.stdout
    done = inside("tables", "check", path, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False
    assert inside("tables", "backup", path, str(tmp_path / "backup")).returncode == 0
    backup = tmp_path / "backup"
    assert asked("check", str(backup))["ok"] is True
    backup.write_bytes(backup.read_bytes()[:-1])
    assert inside("tables", "check", str(backup)).returncode == 1
    assert "no complete backup" in failed("tables", "info", str(backup))


def test_dump_prints_json_lines(path: str) -> None:
    done = inside("tables", "dump", path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["schema"]["table"] for line in lines[:2]] == ["Account", "seen"]
    assert sorted(line["record"]["number"] for line in lines[2:]) == ["a", "b", "c"]
    assert lines[2]["record"]["photo"] == {"b64": "AA=="}
    done = inside("tables", "dump", path, "seen")
    assert len(done.stdout.splitlines()) == 1
    assert "nobody" in failed("tables", "dump", path, "nobody")


@pytest.mark.parametrize("into", [None, 1, 8])
def test_a_backup_comes_back_in_any_number_of_partitions(
    path: str, tmp_path: Path, into: int | None
) -> None:
    backup, copy = str(tmp_path / "backup"), str(tmp_path / "copy")
    shown = inside("tables", "backup", path, backup)
    assert shown.returncode == 0, shown.stderr
    assert "backup of 3 records in 2 tables" in shown.stdout
    arguments = [] if into is None else ["--partitions", str(into)]
    answer = asked("restore", backup, copy, *arguments)
    assert answer == {
        "path": copy,
        "partitions": into or 2,
        "records": {"Account": 3, "seen": 0},
    }
    assert asked("check", copy)["ok"] is True
    with Database.open(copy, records=[Account]) as db:
        assert db.partitions == (into or 2)
        assert db.dirty_read(Account, "b") == [Account("b", "x", b"\x00")]
    assert "not empty" in failed("tables", "restore", backup, copy)
    assert "exists" in failed("tables", "backup", path, backup)
    some = asked("backup", path, str(tmp_path / "some"), "--table", "seen")
    assert some["records"] == {"seen": 0}


def test_a_snapshot_comes_back_at_its_sequences(path: str, tmp_path: Path) -> None:
    snapshot, copy = str(tmp_path / "snapshot"), str(tmp_path / "copy")
    shown = inside("tables", "snapshot", path, snapshot)
    assert shown.returncode == 0, shown.stderr
    assert "snapshot of 2 partitions" in shown.stdout
    assert inside("tables", "restore", snapshot, copy).stdout == f"restored and verified: {copy}\n"
    one, two = asked("info", path), asked("info", copy)
    assert one["tables"] == two["tables"]
    for ours, theirs in zip(one["partitions"], two["partitions"], strict=True):
        assert (ours["applied"], ours["digest"]) == (theirs["applied"], theirs["digest"])
    again = str(tmp_path / "again")
    assert "keeps its partitions" in failed(
        "tables", "restore", snapshot, again, "--partitions", "4"
    )
    assert len(asked("snapshot", path, str(tmp_path / "another"))["partitions"]) == 2


def test_the_folder_of_another_kind_is_told_and_what_to_do(
    path: str, chat: str, tmp_path: Path
) -> None:
    for command in ("info", "check", "dump"):
        told = failed("tables", command, chat)
        assert f"palaver check {chat}" in told
    assert "no database of tables" in failed("tables", "backup", chat, str(tmp_path / "x"))
    snapshot = str(tmp_path / "chat-snapshot")
    assert "no backup and no snapshot of tables" in failed("tables", "restore", snapshot, "x")
    backup, place = str(tmp_path / "backup"), str(tmp_path / "snapshot")
    inside("tables", "backup", path, backup)
    inside("tables", "snapshot", path, place)
    for arguments, hint in (
        (["check", path], f"palaver tables check {path}"),
        (["backup", str(tmp_path / "x"), "--data", path], f"palaver tables backup {path} DEST"),
        (["restore", place, "--data", "x"], f"palaver tables restore {place} x"),
        (["restore", backup, "--data", "x"], f"palaver tables restore {backup} x"),
    ):
        assert hint in failed(*arguments)


def test_what_cannot_be_done_is_told(path: str, tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing")
    for command in ("info", "check", "dump"):
        assert "there is no database" in failed("tables", command, nothing)
    assert "there is no backup" in failed("tables", "restore", nothing, "x")
    empty = tmp_path / "empty"
    empty.mkdir()
    for command in ("info", "check", "dump"):
        assert "there is no store" in failed("tables", command, str(empty))
    assert "no snapshot" in failed("tables", "restore", str(empty), "x")
    backup = str(tmp_path / "backup")
    with Database.open(path) as db:
        for arguments in (["check", path], ["dump", path], ["backup", path, backup]):
            assert "in use" in failed("tables", *arguments)
        db.backup(backup)
        db.install_fallback(backup)
    assert "has a fallback" in failed("tables", "dump", path)
    assert "power of two" in failed("tables", "restore", backup, nothing, "-p", "3")
    assert inside("tables", "restore", backup, nothing, "-p", "0").returncode == 2
