"""Programs written by hand: the rules of mnesia(3) and of its user's guide one by one."""

from __future__ import annotations

from typing import Any, Final

from mnesia_conform.corpus_on_disc import ON_DISC
from mnesia_conform.language import Items, Program, Step, Text
from mnesia_conform.writing import (
    THREE,
    TWO,
    async_dirty,
    dirty,
    in_memory,
    nested,
    sync_transaction,
    table,
    transaction,
    tried,
    writes,
)

__all__ = ["CORPUS"]


def everything(name: str) -> list[Any]:
    """Every way to see a whole table."""
    scans = ["walk", "walk_back", "foldl", "foldr", "all_keys", "first", "last"]
    wild = (["$1", "_", "$2"], [], [(("$1", "$2"),)])
    found = [(scan, name) for scan in scans]
    found += [("match_object", name, ["_", "_", "_"]), ("select", name, [wild])]
    return [*found, ("select_limit", name, [wild], 1), ("select_limit", name, [wild], 2)]


EVERY_KEY = [3, None, Text("a"), (1, 2), True, False, 0.5, 2**70, -1e30, (1, 1), Text(""), (0, 5)]
EVERY_KEY += [Text("aé"), Text("ab"), -(2**70), 1, -0.5, (Text("a"), None), (None, 1)]


def own_writes(name: str) -> Program:
    """A transaction that sees what it has written, in every way."""
    return in_memory(
        table(name, "a"),
        *writes(name, [1, 1, 1], [2, 1, 2], [3, 2, 3]),
        transaction(
            ("write", name, [4, 1, 4]),
            ("write", name, [1, 1, 9]),
            ("delete", name, 2),
            ("delete_object", name, [3, 2, 3]),
            *[("read", name, key) for key in range(5)],
            ("index_read", name, 1, "a"),
            ("index_read", name, 2, "a"),
            ("index_match_object", name, ["_", 1, "_"], "a"),
            ("match_object", name, ["_", 1, "$1"]),
            *everything(name),
            ("table_info", name, "size"),
            *[("next", name, key) for key in (1, 4)],
            ("write", name, [2, 5, 5]),
            ("index_read", name, 5, "a"),
            *everything(name),
        ),
        dirty("index_read", name, 1, "a"),
    )


def nesting(name: str) -> Program:
    """What nested transactions leave behind."""
    return in_memory(
        table(name, "a"),
        *writes(name, [1, 1, 1], [2, 2, 2]),
        transaction(
            ("write", name, [1, 1, 7]),
            nested(("write", name, [1, 2, 8]), ("delete", name, 2), ("read", name, 1)),
            ("read", name, 1),
            nested(("write", name, [3, 3, 3]), ("delete", name, 1), ("abort", 1)),
            ("read", name, 1),
            nested(
                ("write", name, [4, 4, 4]),
                nested(("delete", name, 4), ("write", name, [5, 5, 5]), ("raise",)),
                ("read", name, 4),
                nested(("delete_object", name, [4, 4, 4]), ("write", name, [6, 4, 6])),
                ("index_read", name, 4, "a"),
            ),
            *everything(name),
        ),
        transaction(("write", name, [9, 9, 9]), nested(("abort", 2), then="pass")),
        transaction(("write", name, [9, 9, 9]), nested(("raise",), then="pass")),
    )


def specs(name: str) -> Program:
    """Match specifications, guard by guard."""
    values = [0, 1, 1.0, True, None, Text("x"), (1, 2), 2**70, 0.5]
    guards: list[Any] = [(op, "$2", 1) for op in ("==", "/=", "=:=", "=/=", "<", "=<", ">", ">=")]
    tests = ["is_integer", "is_float", "is_number", "is_binary", "is_tuple"]
    guards += [(test, "$2") for test in tests]
    guards += [("not", guards[0]), ("andalso", guards[4], guards[8]), ("orelse", *guards[8:10])]
    guards += [("==", ("+", "$2", 1), 2), ("==", ("element", 1, "$2"), 1), ("==", "$1", "$2")]
    guards += [("andalso", ("is_number", "$2"), (">", ("*", "$2", 2), 1)), ("not", "$2"), "$2"]
    head = ["$1", "$2", "_"]
    asked = [("select", name, [(head, [guard], ["$1"])]) for guard in guards]
    bodies: list[Any] = [["$_"], ["$$"], [(("$2", "$1"),)], [["$1", "$_"]]]
    asked += [("select", name, [(head, [], body)]) for body in bodies]
    asked += [("select", name, [(["$1", 1, "_"], [], [1]), (["$1", "_", "$2"], [], ["$$"])])]
    records = [[number, value, value] for number, value in enumerate(values)]
    return in_memory(
        table(name, "a"),
        *writes(name, *records),
        *[("dirty", ask) for ask in asked],
        transaction(("write", name, [99, 1, 1]), ("delete", name, 0), *asked),
    )


def patterns(name: str) -> Program:
    """Patterns; 1, 1.0 and True are three values."""
    same = [
        [1, 1, 1],
        [2, 1.0, 1],
        [3, True, 1],
        [4, 2, 2],
        [5, (1, 2), Items([3])],
        [6, None, None],
    ]
    values = [1, 1.0, True, (1, 2), None, Text("none")]
    asked: list[Any] = [("match_object", name, ["_", value, "_"]) for value in values]
    asked += [("index_match_object", name, ["_", value, "_"], "a") for value in values]
    asked += [("index_read", name, value, "a") for value in values]
    asked += [("match_object", name, pattern) for pattern in (["_", "$1", "$1"], ["$1", "$1", "_"])]
    asked += [("match_object", name, [4, "_", 2]), ("match_object", name, [4, 1, "_"])]
    return in_memory(
        table(name, "a"),
        *writes(name, *same),
        *[("dirty", ask) for ask in asked],
        transaction(("write", name, [7, 1.0, 1.0]), *asked),
        dirty("delete_object", name, [1, 1.0, 1]),
        dirty("delete_object", name, [1, 1, True]),
        transaction(("delete_object", name, [2, 1, 1]), ("delete_object", name, [2, 1.0, 1])),
    )


def mistakes(name: str) -> Program:
    """What is refused, and with which word."""
    missing = f"{name[0]}9"
    operations: list[Any] = [
        ("read", missing, 1),
        ("write", missing, [1, 1, 1]),
        ("delete", missing, 1),
        ("delete_object", missing, [1, 1, 1]),
        ("match_object", missing, ["_", "_", "_"]),
        ("index_read", missing, 1, "a"),
        ("all_keys", missing),
        ("first", missing),
        ("next", missing, 1),
        ("write", name, [1, 1]),
        ("write", name, [1, 1, 1, 1]),
        ("next", name, 7),
        ("prev", name, 7),
        ("index_read", name, 1, "b"),
        ("index_read", name, 1, "z"),
        ("index_read", name, 1, "k"),
        ("index_match_object", name, ["_", "_", 1], "b"),
    ]
    outside = [("outside", operation) for operation in operations[:7]]
    return in_memory(
        table(name, "a"),
        *writes(name, [1, 1, 1]),
        *[("dirty", operation) for operation in operations],
        transaction(*[("try", operation) for operation in operations], ("read", name, 1)),
        *[transaction(("write", name, [5, 5, 5]), operation) for operation in operations],
        *outside,
        *[("table_info", missing, item) for item in ("size", "type", "attributes")],
        ("table_info", name, "nothing"),
        ("delete_table", missing),
        ("clear_table", missing),
        ("add_table_index", missing, "a"),
        ("del_table_index", missing, "a"),
        ("transform_table", missing, "same", THREE),
        ("change_table_access_mode", missing, "read_only"),
        ("change_table_load_order", missing, 1),
        ("subscribe", missing, "simple"),
        transaction(("lock", missing, "read")),
    )


def read_only(name: str) -> Program:
    """A table that may not be written."""
    return in_memory(
        table(name, "a"),
        *writes(name, [1, 1, 1]),
        ("change_table_access_mode", name, "read_only"),
        ("change_table_access_mode", name, "read_only"),
        dirty("write", name, [2, 2, 2]),
        dirty("delete", name, 1),
        dirty("delete_object", name, [1, 1, 1]),
        dirty("read", name, 1),
        transaction(tried("write", name, [2, 2, 2]), tried("delete", name, 1), ("read", name, 1)),
        transaction(("delete_object", name, [1, 1, 1])),
        transaction(tried("wread", name, 1), tried("lock", name, "read"), ("lock", name, "write")),
        ("clear_table", name),
        ("transform_table", name, "same", THREE),
        ("delete_table", name),
        ("change_table_load_order", name, 4),
        ("add_table_index", name, "b"),
        dirty("index_read", name, 1, "b"),
        ("del_table_index", name, "b"),
        ("change_table_access_mode", name, "read_write"),
        dirty("write", name, [2, 2, 2]),
    )


def indexes(name: str) -> Program:
    """Indexes that come and go."""
    return in_memory(
        table(name),
        *writes(name, [1, 1, 1], [2, 1, 2], [3, 2, 1]),
        ("add_table_index", name, "a"),
        ("add_table_index", name, "a"),
        ("add_table_index", name, "k"),
        ("add_table_index", name, "z"),
        dirty("index_read", name, 1, "a"),
        dirty("write", name, [1, 2, 1]),
        dirty("delete_object", name, [2, 1, 2]),
        dirty("index_read", name, 1, "a"),
        dirty("index_read", name, 2, "a"),
        ("add_table_index", name, "b"),
        transaction(
            ("index_read", name, 1, "b"), ("delete", name, 3), ("index_read", name, 1, "b")
        ),
        ("del_table_index", name, "a"),
        ("del_table_index", name, "a"),
        ("del_table_index", name, "z"),
        dirty("index_read", name, 1, "a"),
        ("clear_table", name),
        dirty("index_read", name, 1, "b"),
        dirty("write", name, [5, 5, 1]),
        dirty("index_read", name, 1, "b"),
    )


def transforms(name: str) -> Program:
    """Records that take another form."""
    return in_memory(
        table(name, "a"),
        *writes(name, [1, 1, 2], [2, 1, 3]),
        ("transform_table", name, "add", ["k", "a", "b", "c"]),
        dirty("match_object", name, ["_", "_", "_", 0]),
        dirty("write", name, [3, 1, 1, 1]),
        dirty("write", name, [3, 1, 1]),
        ("transform_table", name, "swap", ["k", "a", "b", "c"]),
        ("transform_table", name, "crash", ["k", "a", "b", "c"]),
        ("transform_table", name, "same", ["k", "a"]),
        ("transform_table", name, "drop", ["k", "a", "b"]),
        ("transform_table", name, "swap", ["k", "a", "b"]),
        dirty("index_read", name, 0, "a"),
        dirty("index_read", name, 1, "a"),
        ("transform_table", name, "same", ["k"]),
        ("transform_table", name, "same", ["k", "k", "a"]),
        ("del_table_index", name, "a"),
        ("transform_table", name, "same", ["k", "x", "a"]),
        ("add_table_index", name, "x"),
        dirty("index_read", name, 0, "x"),
    )


def events(name: str, detail: str) -> Program:
    """What subscribers hear, and in which order."""
    return in_memory(
        table(name),
        *writes(name, [1, 1, 1]),
        ("subscribe", name, detail),
        ("subscribe", name, detail),
        *writes(name, [1, 1, 1], [1, 2, 2], [2, 2, 2]),
        dirty("delete", name, 7),
        dirty("delete", name, 1),
        dirty("delete_object", name, [2, 2, 3]),
        dirty("delete_object", name, [2, 2, 2]),
        transaction(("write", name, [1, 1, 1]), ("write", name, [1, 2, 1]), ("read", name, 1)),
        transaction(("write", name, [1, 5, 5]), ("abort", 1)),
        transaction(("write", name, [1, 5, 5]), nested(("delete", name, 1), ("abort", 1))),
        transaction(("write", name, [3, 1, 1]), nested(("write", name, [3, 2, 2]))),
        sync_transaction(("delete", name, 3), ("write", name, [3, 3, 3])),
        sync_transaction(("write", name, [4, 4, 4]), ("delete", name, 4)),
        sync_transaction(("write", name, [4, 4, 4]), ("delete_object", name, [4, 4, 4])),
        sync_transaction(("write", name, [4, 4, 4]), ("delete_object", name, [4, 4, 5])),
        ("clear_table", name),
        ("unsubscribe", name, detail),
        dirty("write", name, [5, 5, 5]),
    )


def counters(name: str) -> Program:
    return in_memory(
        table(name, attributes=TWO),
        *[dirty("update_counter", name, 1, number) for number in (-3, 5, -2, -9, 2**70, 1)],
        dirty("read", name, 1),
        dirty("write", name, [2, Text("x")]),
        dirty("update_counter", name, 2, 1),
        async_dirty(("update_counter", name, 3, 4), ("read", name, 3)),
        table(f"{name[0]}2"),
        dirty("update_counter", f"{name[0]}2", 1, 1),
    )


def bag_objects() -> Program:
    """Objects of one key come in the order of their first writing."""
    return in_memory(
        table("b1"),
        *writes("b1", [1, 3, 0], [1, 1, 0], [1, 2, 0], [1, 3, 0]),
        dirty("read", "b1", 1),
        transaction(("write", "b1", [1, 1, 0]), ("write", "b1", [1, 0, 0]), ("read", "b1", 1)),
        dirty("read", "b1", 1),
        transaction(("delete_object", "b1", [1, 1, 0]), ("write", "b1", [1, 1, 0])),
        dirty("read", "b1", 1),
        transaction(("delete", "b1", 1), ("write", "b1", [1, 9, 9]), ("write", "b1", [1, 8, 8])),
        dirty("read", "b1", 1),
        dirty("write", "b1", [1, 9, 9.0]),
        dirty("delete_object", "b1", [1, 9, 9]),
    )


def equal_numbers() -> Program:
    """In sets and bags 1, 1.0 and True are three keys."""
    keys = [1, 1.0, True]
    steps: list[Step] = []
    for name in ("s1", "b1"):
        steps += [table(name), *[dirty("write", name, [key, key, 0]) for key in keys]]
        steps += [dirty("read", name, key) for key in keys]
        steps += [transaction(*[("read", name, key) for key in keys], ("delete", name, 1.0))]
    return in_memory(*steps)


def order_of_terms() -> Program:
    return in_memory(
        table("o1"),
        *[dirty("write", "o1", [key, 0, 0]) for key in EVERY_KEY],
        dirty("walk", "o1"),
        dirty("walk_back", "o1"),
        *[dirty("next", "o1", key) for key in (1, 2, None, Text("aa"), (1, 1.5), True, 10**30)],
        *[dirty("prev", "o1", key) for key in (1, 2, None, Text("aa"), (1, 1.5), True, 10**30)],
        transaction(*[(way, "o1", key) for key in EVERY_KEY for way in ("next", "prev")]),
        dirty("select", "o1", [(["$1", "_", "_"], [("<", "$1", None)], ["$1"])]),
        dirty("select", "o1", [(["$1", "_", "_"], [(">=", "$1", ("const", (1, 2)))], ["$1"])]),
    )


def definitions() -> Program:
    right = (THREE, "ram_copies", ["a"], 0, "read_write")
    wrong: list[Any] = [
        (["k"], *right[1:]),
        (["k", "a", "k"], *right[1:]),
        (*right[:2], ["z"], *right[3:]),
        (*right[:2], ["k"], *right[3:]),
        (*right[:4], "sideways"),
    ]
    return in_memory(
        *[("create_table", "s1", definition) for definition in wrong],
        ("create_table", "s1", right),
        ("create_table", "s1", right),
        ("table_info", "s1", "index"),
        ("delete_table", "s1"),
        ("delete_table", "s1"),
        table("s1", load_order=2, mode="read_only"),
        dirty("write", "s1", [1, 1, 1]),
        ("change_table_load_order", "s1", 5),
        ("change_table_access_mode", "s1", "odd"),
    )


def schema_within() -> Program:
    """A transaction does not change the schema."""
    options = (THREE, "ram_copies", [], 0, "read_write")
    return in_memory(
        table("s1"),
        transaction(
            ("write", "s1", [1, 1, 1]),
            ("schema", ("create_table", "s2", options)),
            ("schema", ("clear_table", "s1")),
            ("schema", ("add_table_index", "s1", "a")),
            ("schema", ("delete_table", "s1")),
            ("read", "s1", 1),
        ),
    )


def several_tables() -> Program:
    return in_memory(
        table("s1"),
        table("o1"),
        table("b1"),
        transaction(*[("write", name, [1, 1, 1]) for name in ("s1", "o1", "b1")]),
        transaction(
            *[("delete", name, 1) for name in ("s1", "o1", "b1")],
            *[("read", name, 1) for name in ("s1", "o1", "b1")],
            ("abort", 1),
        ),
        transaction(("write", "s1", [2, 2, 2]), ("dirty", ("read", "s1", 2)), ("raise",)),
        async_dirty(("write", "s1", [3, 3, 3]), nested(("write", "o1", [3, 3, 3]), ("abort", 1))),
        async_dirty(("write", "s1", [4, 4, 4]), ("raise",)),
        transaction(("is_transaction",), nested(("is_transaction",))),
        async_dirty(("is_transaction",)),
    )


NAMES = ["s1", "o1", "b1"]

CORPUS: Final[dict[str, Program]] = {
    **{f"own_writes_{name}": own_writes(name) for name in NAMES},
    **{f"nesting_{name}": nesting(name) for name in NAMES},
    **{f"specs_{name}": specs(name) for name in NAMES},
    **{f"patterns_{name}": patterns(name) for name in NAMES},
    **{f"mistakes_{name}": mistakes(name) for name in NAMES},
    **{f"read_only_{name}": read_only(name) for name in NAMES},
    **{f"indexes_{name}": indexes(name) for name in NAMES},
    **{f"transforms_{name}": transforms(name) for name in NAMES},
    **{f"events_{name}": events(name, "simple") for name in NAMES},
    **{f"detailed_events_{name}": events(name, "detailed") for name in NAMES},
    **{f"counters_{name}": counters(name) for name in NAMES},
    **ON_DISC,
    "bag_objects": bag_objects(),
    "equal_numbers": equal_numbers(),
    "order_of_terms": order_of_terms(),
    "definitions": definitions(),
    "schema_within": schema_within(),
    "several_tables": several_tables(),
}
"""All of them, by name."""
