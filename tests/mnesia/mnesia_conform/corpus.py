"""Programs written by hand: the rules of mnesia(3) and of its user's guide one by one."""

from __future__ import annotations

from typing import Any, Final

from mnesia_conform.language import Items, Program, Step, Text

__all__ = ["CORPUS"]

THREE = ["k", "a", "b"]
TWO = ["k", "a"]


def table(
    name: str,
    *index: str,
    attributes: list[str] = THREE,
    storage: str = "ram_copies",
    load_order: int = 0,
    mode: str = "read_write",
) -> Step:
    return ("create_table", name, (attributes, storage, list(index), load_order, mode))


def transaction(*operations: Any) -> Step:
    return ("activity", "transaction", list(operations))


def sync_transaction(*operations: Any) -> Step:
    return ("activity", "sync_transaction", list(operations))


def nested(*operations: Any, then: str = "catch") -> Any:
    return ("nested", "transaction", list(operations), then)


def async_dirty(*operations: Any) -> Step:
    return ("activity", "async_dirty", list(operations))


def dirty(*operation: Any) -> Step:
    return ("dirty", operation)


def writes(name: str, *records: list[Any]) -> list[Step]:
    return [dirty("write", name, record) for record in records]


def tried(*operation: Any) -> Any:
    return ("try", operation)


def in_memory(*steps: Step) -> Program:
    return Program(list(steps))


def on_disc(*steps: Step) -> Program:
    return Program(list(steps), disc=True)


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


def restarts(name: str, storage: str) -> Program:
    """What is there after a restart."""
    return on_disc(
        table(name, "a", storage=storage, load_order=3),
        *writes(name, [1, 1, 1], [2, 1, 2], [3, 2, 3]),
        transaction(("delete", name, 1), ("write", name, [2, 5, 5]), ("write", name, [4, 1, 1])),
        ("restart",),
        dirty("index_read", name, 1, "a"),
        ("add_table_index", name, "b"),
        ("transform_table", name, "add", ["k", "a", "b", "c"]),
        ("change_table_access_mode", name, "read_only"),
        ("restart",),
        dirty("write", name, [9, 9, 9, 9]),
        dirty("index_read", name, 5, "b"),
        ("change_table_access_mode", name, "read_write"),
        ("clear_table", name),
        ("restart",),
        dirty("write", name, [9, 9, 9, 9]),
        ("del_table_index", name, "a"),
    )


def copy_types(name: str) -> Program:
    """A table that is kept elsewhere."""
    kinds = ["disc_copies", "ram_copies", "disc_copies"]
    if name[0] != "o":
        kinds += ["disc_only_copies", "ram_copies", "disc_only_copies", "disc_copies"]
    steps: list[Step] = [table(name, "a"), *writes(name, [1, 1, 1], [2, 1, 2])]
    for number, kind in enumerate(kinds):
        steps += [
            ("change_table_copy_type", name, kind),
            ("change_table_copy_type", name, kind),
            dirty("write", name, [number, 1, 5]),
            ("restart",),
            dirty("index_read", name, 1, "a"),
        ]
    return on_disc(*steps)


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


def archive(*operation: Any) -> Step:
    return ("archive", operation)


def restored(name: str, storage: str) -> Program:
    """Backups and their restoring, in each way."""
    other = f"{name[0]}2"
    return on_disc(
        table(name, "a", storage=storage),
        table(other, storage=storage),
        *writes(name, [1, 1, 1], [2, 1, 2]),
        *writes(other, [1, 1, 1]),
        archive("backup", "f1"),
        *writes(name, [1, 2, 9], [3, 1, 3]),
        dirty("delete", name, 2),
        archive("backup", "f2"),
        archive("restore", "f1", "keep_tables", []),
        dirty("index_read", name, 1, "a"),
        archive("restore", "f2", "skip_tables", [("clear_tables", [name])]),
        dirty("index_read", name, 1, "a"),
        *writes(other, [5, 5, 5]),
        archive("restore", "f1", "clear_tables", [("skip_tables", [other])]),
        ("restart",),
        dirty("index_read", name, 1, "a"),
        ("change_table_access_mode", name, "read_only"),
        archive("restore", "f2", "clear_tables", []),
        ("delete_table", other),
        archive("restore", "f2", "clear_tables", []),
    )


def checkpoints(name: str, storage: str) -> Program:
    return on_disc(
        table(name, storage=storage),
        *writes(name, [1, 1, 1], [2, 2, 2]),
        archive("activate_checkpoint", "c1", [name]),
        archive("activate_checkpoint", "c1", [name]),
        archive("activate_checkpoint", "c2", [f"{name[0]}9"]),
        dirty("delete", name, 1),
        transaction(("write", name, [2, 9, 9]), ("write", name, [3, 3, 3])),
        archive("backup_checkpoint", "c1", "f1"),
        dirty("write", name, [2, 7, 7]),
        archive("backup_checkpoint", "c1", "f2"),
        archive("backup_checkpoint", "c9", "f3"),
        archive("deactivate_checkpoint", "c1"),
        archive("deactivate_checkpoint", "c1"),
        archive("restore", "f2", "clear_tables", []),
    )


def fallbacks(name: str, storage: str) -> Program:
    return on_disc(
        table(name, "a", storage=storage),
        *writes(name, [1, 1, 1], [2, 1, 2]),
        archive("backup", "f1"),
        *writes(name, [1, 2, 9], [3, 1, 3]),
        table("o2", storage="disc_copies"),
        archive("install_fallback", "f1"),
        archive("install_fallback", "f1"),
        *writes("o2", [1, 1, 1]),
        ("restart",),
        dirty("index_read", name, 1, "a"),
        archive("uninstall_fallback"),
        archive("install_fallback", "f1"),
        archive("uninstall_fallback"),
        *writes(name, [5, 5, 5]),
        ("restart",),
    )


def large(name: str, storage: str) -> Program:
    """More records than are looked at in one go, with changes of a transaction between them."""
    keys = range(0, 1100, 2)
    change = [("write", name, [key, 7, 7]) for key in (-1, 1, 511, 512, 513, 1023, 1099, 1100)]
    change += [("delete", name, key) for key in (0, 2, 254, 256, 510, 512, 514, 1022, 1098)]
    change += [("delete", name, key) for key in range(600, 700)]
    spec = (["$1", "_", "$2"], [(">", "$1", 250)], ["$1"])
    asked = ["walk", "walk_back", "foldl", "foldr", "all_keys", "first", "last"]
    limits = (1, 100, 256, 1000)
    return on_disc(
        table(name, "a", storage=storage),
        transaction(*[("write", name, [key, key % 5, key]) for key in keys]),
        ("restart",),
        transaction(
            *change,
            *[(ask, name) for ask in asked],
            *[("select_limit", name, [spec], limit) for limit in limits],
            ("select", name, [spec]),
            ("index_read", name, 3, "a"),
            *[("next", name, key) for key in (511, 513, 598) if name[0] == "o"],
            *[("prev", name, key) for key in (511, 513, 702) if name[0] == "o"],
        ),
        dirty("walk", name),
    )


def long_keys(name: str, storage: str) -> Program:
    """Keys and indexed values that begin with the same many bytes."""
    stem = "x" * 600
    keys = [Text(stem + end) for end in ("", "a", "b", "ba", "c" * 300, "\u00e9")]
    keys += [Text("x" * length) for length in (470, 478, 479, 480, 481, 599)] + [Text("y")]
    spec = (["$1", "_", "_"], [(">", "$1", Text("x" * 480)), ("<", "$1", Text("xz"))], ["$1"])
    asked: list[Any] = [("walk", name), ("foldl", name), ("all_keys", name)]
    asked += [("select", name, [spec]), ("index_read", name, keys[1], "a")]
    asked += [("match_object", name, ["_", keys[2], "_"]), ("read", name, keys[4])]
    return on_disc(
        table(name, "a", storage=storage),
        *[dirty("write", name, [key, key, 1]) for key in keys],
        *[dirty("write", name, [key, keys[1], 2]) for key in keys[:4]],
        transaction(("delete", name, keys[1]), ("write", name, [Text(stem + "bb"), 1, 1]), *asked),
        ("restart",),
        dirty("delete", name, keys[0]),
        dirty("delete_object", name, [keys[3], keys[1], 2]),
        async_dirty(*asked),
    )


NAMES = ["s1", "o1", "b1"]
KEPT = [("s1", "disc_copies"), ("o1", "disc_copies"), ("b1", "disc_only_copies")]
KEPT += [("s1", "ram_copies"), ("b1", "disc_copies"), ("s1", "disc_only_copies")]

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
    **{f"copy_types_{name}": copy_types(name) for name in NAMES},
    **{
        f"restarts_{name}_{storage}": restarts(name, storage)
        for name in NAMES
        for storage in ("ram_copies", "disc_copies", "disc_only_copies")
        if (name, storage) != ("o1", "disc_only_copies")
    },
    **{f"restored_{name}_{storage}": restored(name, storage) for name, storage in KEPT},
    **{f"checkpoints_{name}_{storage}": checkpoints(name, storage) for name, storage in KEPT},
    **{f"fallbacks_{name}_{storage}": fallbacks(name, storage) for name, storage in KEPT},
    **{f"large_{name}_{storage}": large(name, storage) for name, storage in KEPT[:3]},
    **{f"long_keys_{name}_{storage}": long_keys(name, storage) for name, storage in KEPT},
    "bag_objects": bag_objects(),
    "equal_numbers": equal_numbers(),
    "order_of_terms": order_of_terms(),
    "definitions": definitions(),
    "schema_within": schema_within(),
    "several_tables": several_tables(),
}
"""All of them, by name."""
