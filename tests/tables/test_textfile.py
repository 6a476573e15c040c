"""Tables as JSON lines: what is written comes back, and what is wrong in a line is told."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from backup_kit import everything, make, quick_place, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_kit import Account

from palaver.storage.errors import BackupError
from palaver.storage.tables import AlreadyExists, BadArgument, Database
from palaver.storage.tables.archives.text import from_json, to_json


@settings(max_examples=15, deadline=None)
@given(specs=tables(), partitions=st.sampled_from([1, 4]))
def test_what_is_written_as_text_comes_back(specs: Any, partitions: int) -> None:
    with quick_place() as place:
        with Database.open(place / "db") as db:
            make(db, specs)
            before = everything(db)
            written = db.dump_to_textfile(place / "text")
            lines = (place / "text").read_bytes().splitlines()
            assert (
                len(lines) == written == len(before) + sum(len(one[2]) for one in before.values())
            )
            with pytest.raises(AlreadyExists):
                db.load_textfile(place / "text")
        with Database.open(place / "other", partitions=partitions) as db:
            assert db.load_textfile(place / "text") == sorted(before)
            assert everything(db) == before


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, 2.5, None, True, "x"), [1, 2.5, None, True, "x"]),
        (b"\x00\xff", {"b64": "AP8="}),
        ({1: b"x", "b64": "y"}, {"map": [[1, {"b64": "eA=="}], ["b64", "y"]]}),
        (frozenset([1]), {"set": [1]}),
        (math.inf, {"float": "inf"}),
        (
            UUID(int=1),
            {
                "cbor": "2CVQAAAAAAAAAAAAAAAAAAAAAQ==",
                "text": "00000000-0000-0000-0000-000000000001",
            },
        ),
    ],
)
def test_values_as_json(value: Any, text: Any) -> None:
    assert to_json(value) == text
    back = from_json(json.loads(json.dumps(text)))
    assert back == value
    assert type(back) is type(value) or isinstance(value, dict)
    assert repr(from_json(to_json(math.nan))) == "nan"


def test_a_file_for_people_can_be_written_by_hand(tmp_path: Path) -> None:
    schema = {
        "table": "Account",
        "record": "Account",
        "attributes": ["number", "owner", "balance"],
        "key": "number",
        "index": ["owner"],
    }
    record = {"number": "a", "owner": "x", "balance": 1}
    lines = [{"schema": schema}, {"table": "Account", "record": record}]
    (tmp_path / "text").write_text("\n\n".join(map(json.dumps, lines)))
    with Database.open(tmp_path / "db") as db:
        assert db.load_textfile(tmp_path / "text") == ["Account"]
        (found,) = db.dirty_index_read("Account", "x", "owner")
        assert tuple(found) == ("a", "x", 1)
        with pytest.raises(BackupError, match="overwrites nothing"):
            db.dump_to_textfile(tmp_path / "text")


SCHEMA = {"table": "t", "record": "t", "attributes": ["a", "b"], "key": "a"}

WRONG: list[tuple[list[Any], str]] = [
    (["{"], "line 1: JSONDecodeError"),
    ([7], "line 1: AttributeError"),
    ([{}], "line 1: KeyError"),
    ([{"schema": {}}], "line 1: KeyError"),
    ([{"schema": {**SCHEMA, "what": 1}}], "line 1: TypeError"),
    ([{"schema": {**SCHEMA, "key": "zz"}}], "line 1: BadType"),
    ([{"table": "t", "record": {}}], "comes before its definition"),
    ([{"schema": SCHEMA}, {"table": "t", "record": {"a": 1}}], r"line 2: .*\['a', 'b'\]"),
    ([{"schema": SCHEMA}, {"table": "t", "record": {"a": {}, "b": 1}}], "line 2: ValueError"),
    ([{"schema": SCHEMA}, {"table": "t", "record": {"a": {"x": 1}, "b": 1}}], "no 'x'"),
    ([{"schema": SCHEMA}, {"table": "t", "record": {"a": {"b64": "%"}, "b": 1}}], "line 2"),
    ([{"schema": SCHEMA}, {"table": "t", "record": {"a": {"cbor": "/w=="}, "b": 1}}], "line 2"),
]


@pytest.mark.parametrize(("lines", "words"), WRONG)
def test_a_line_that_makes_no_sense_is_named(tmp_path: Path, lines: Any, words: str) -> None:
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (tmp_path / "text").write_text("\n".join(text))
    with Database.in_memory() as db:
        db.create_table(Account)
        with pytest.raises(BadArgument, match=words):
            db.load_textfile(tmp_path / "text")
        assert db.tables() == ["Account"]
        with pytest.raises(BackupError, match="cannot be read"):
            db.load_textfile(tmp_path / "nothing")
