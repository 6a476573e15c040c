"""Programs written by hand about what outlives a restart, and about backups."""

from __future__ import annotations

from typing import Any, Final

from mnesia_conform.language import Program, Step, Text
from mnesia_conform.writing import (
    archive,
    async_dirty,
    dirty,
    on_disc,
    table,
    transaction,
    writes,
)

__all__ = ["ON_DISC"]


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

ON_DISC: Final[dict[str, Program]] = {
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
}
"""All of them, by name."""
