"""Random programs.

Keys and values come from small pools, drawn for each program, so that operations meet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from mnesia_conform.choices import Choices
from mnesia_conform.language import ITEMS, Items, Program, Step, Text
from mnesia_conform.operations import ATTRIBUTES, DIRTY, TRANSACTIONS, Tables

__all__ = ["FAMILIES"]

KEYS = [0, 1, 2, 3, -1, 1.5, 2**70, -(2**70), None, True, False, Text("a"), Text("b"), Text("")]
KEYS += [(1, 2), (1, Text("a")), (2, 1), Text("aé"), 1e30]
"""Equal numbers of two kinds are not among them, see `equal-numbers`."""

VALUES = [
    0,
    1,
    2,
    1.0,
    0.5,
    2**70,
    None,
    True,
    False,
    Text("x"),
    Text("y"),
    (1, 2),
    (1,),
    Items([3, 4]),
]
VALUES += [(None, Text("x")), Items([])]
"""Of two tuples the longer one is the greater one, see `tuples-by-elements`."""

TABLES = ["s1", "o1", "b1", "s2", "o2", "b2"]
MISSING = ["s9", "o9", "b9"]
"""Never created."""

STORAGES = ["ram_copies", "disc_copies", "disc_only_copies"]


def storages(tables: Tables, name: str) -> list[str]:
    """What a table may be. Mnesia's are in memory where there is no folder: `ordered-on-disc`."""
    return STORAGES[:2] if tables.disc and name[0] == "o" else STORAGES


def make_tables(choices: Choices, *, disc: bool) -> tuple[Tables, list[Step]]:
    """Some tables, and the steps that create them."""
    keys = choices.some(KEYS, 2, 4)
    values = choices.some(VALUES, 2, 3)
    tables = Tables(choices, keys, values, disc=disc)
    steps: list[Step] = []
    for name in choices.some(TABLES, 1, 3):
        arity = choices.number(2, 3)
        attributes = ATTRIBUTES[:arity]
        index = sorted(choices.some(attributes[1:], 0, arity - 1))
        tables.add(name, arity, index)
        storage = choices.pick(storages(tables, name))
        steps.append(("create_table", name, (attributes, storage, index, 0, "read_write")))
    return tables, steps


# -- steps ----------------------------------------------------------------------------------------


def transaction(choices: Choices, tables: Tables) -> Step:
    return ("activity", choices.pick(TRANSACTIONS), tables.in_transaction())


def dirty(choices: Choices, tables: Tables) -> Step:
    return choices.weighted(
        (2, lambda: ("dirty", tables.change())),
        (2, lambda: ("dirty", tables.question())),
        (2, lambda: ("activity", choices.pick(DIRTY), tables.in_dirty())),
    )


def activity(choices: Choices, tables: Tables) -> Step:
    return choices.weighted(
        (3, lambda: transaction(choices, tables)), (1, lambda: dirty(choices, tables))
    )


def schema(choices: Choices, tables: Tables) -> Step:
    """Changes of the schema, and what shows them."""
    return choices.weighted(
        (5, lambda: schema_change(choices, tables)),
        (3, lambda: dirty(choices, tables)),
        (3, lambda: transaction(choices, tables)),
    )


def schema_change(choices: Choices, tables: Tables) -> Step:
    t = tables.name()
    pick = choices.pick

    def options() -> Any:
        index = choices.some(ATTRIBUTES[1 : tables.arities[t]], 0, 1)
        attributes = ATTRIBUTES[: tables.arities[t]]
        return (attributes, pick(storages(tables, t)), index, choices.number(0, 2), "read_write")

    how = ["same", "same", "add", "drop", "crash"]
    if t[0] != "b":  # see `transformed-bags`
        how += ["swap", "swap"]
    attributes = [ATTRIBUTES[:2], ATTRIBUTES[:3], ATTRIBUTES[:3], ATTRIBUTES]
    return choices.weighted(
        (3, lambda: ("create_table", t, options())),
        (1, lambda: ("delete_table", t)),
        (2, lambda: ("clear_table", t)),
        (3, lambda: ("add_table_index", t, pick(ATTRIBUTES))),
        (2, lambda: ("del_table_index", t, pick(ATTRIBUTES))),
        (3, lambda: ("transform_table", t, pick(how), pick(attributes))),
        (2, lambda: ("change_table_access_mode", t, pick(["read_write", "read_only"]))),
        (1, lambda: ("change_table_load_order", t, choices.number(0, 3))),
        (1, lambda: ("table_info", t, pick(ITEMS))),
    )


def on_disc(choices: Choices, tables: Tables) -> Step:
    t = tables.name()
    return choices.weighted(
        (8, lambda: schema(choices, tables)),
        (2, lambda: ("restart",)),
        (2, lambda: ("change_table_copy_type", t, choices.pick(storages(tables, t)))),
    )


def archive(choices: Choices, tables: Tables) -> Step:
    """Backups, and what is made of them; see `recreated-tables`."""
    pick = choices.pick
    names = sorted(tables.arities)
    files = tables.backups
    tables.files += 1
    new = f"f{tables.files}"

    def restore() -> Any:
        if not files:
            return ("backup", new)
        named = [(f"{pick(RESTORING)}_tables", [t]) for t in choices.some(names, 0, len(names))]
        return ("restore", pick(files), f"{pick(RESTORING)}_tables", _joined(named))

    operation = choices.weighted(
        (3, lambda: ("backup", new)),
        (4, restore),
        (1, lambda: ("activate_checkpoint", "c1", choices.some(names, 1, len(names)))),
        (1, lambda: ("backup_checkpoint", "c1", new)),
        (1, lambda: ("deactivate_checkpoint", "c1")),
        (1, lambda: ("install_fallback", pick(files)) if files else ("uninstall_fallback",)),
        (1, lambda: ("uninstall_fallback",)),
    )
    if operation[0] == "backup":
        files.append(new)
    return ("archive", operation)


RESTORING = ["clear", "keep", "skip"]


def _joined(named: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for name, tables in named:
        found.setdefault(name, []).extend(tables)
    return list(found.items())


def archived(choices: Choices, tables: Tables) -> Step:
    t = tables.name()
    return choices.weighted(
        (4, lambda: archive(choices, tables)),
        (3, lambda: dirty(choices, tables)),
        (2, lambda: transaction(choices, tables)),
        (1, lambda: ("clear_table", t)),
        (1, lambda: ("restart",)),
    )


def subscribing(choices: Choices, tables: Tables) -> list[Step]:
    def one() -> Step:
        return ("subscribe", tables.name(), choices.pick(["simple", "detailed"]))

    return choices.many(one, 1, 3)


def heard(choices: Choices, tables: Tables) -> Step:
    t = tables.name()
    detail = choices.pick(["simple", "detailed"])
    return choices.weighted(
        (4, lambda: transaction(choices, tables)),
        (4, lambda: dirty(choices, tables)),
        (1, lambda: ("dirty", ("update_counter", t, tables.key(), choices.number(0, 3)))),
        (1, lambda: ("clear_table", t)),
        (1, lambda: ("subscribe", t, detail)),
        (1, lambda: ("unsubscribe", t, detail)),
    )


def mistake(choices: Choices, tables: Tables) -> Step:
    """Operations that may not make sense."""
    pick = choices.pick

    def some_name() -> str:
        return choices.weighted((4, tables.name), (1, lambda: pick(MISSING)))

    def operation() -> Any:
        return tables.perhaps_wrong(some_name())

    def any_operation() -> Any:
        t = some_name()
        return choices.weighted(
            (6, operation),
            (1, lambda: ("foldl", t)),
            (1, lambda: ("wread", t, tables.key())),
        )

    def perhaps_tried() -> Any:
        return choices.weighted(
            (1, any_operation),
            (3, lambda: ("try", any_operation())),
            (1, lambda: ("table_info", some_name(), pick([*ITEMS, "nothing"]))),
        )

    def creation() -> Any:
        """What is wrong is so of a table that there cannot be."""
        right = (ATTRIBUTES, "ram_copies", ["a"], 0, "read_write")
        if choices.number(0, 1):
            return ("create_table", pick(TABLES), right)
        wrong = pick(
            [
                (["k"], *right[1:]),
                (["k", "a", "k"], *right[1:]),
                (*right[:2], [pick([*ATTRIBUTES, "z"])], *right[3:]),
                (*right[:3], "first", right[4]),
                (*right[:4], "sideways"),
            ]
        )
        return ("create_table", pick(["s8", "o8", "b8"]), wrong)

    t = some_name()
    attribute = pick([*ATTRIBUTES, "z"])
    return choices.weighted(
        (3, lambda: ("dirty", operation())),
        (1, lambda: ("dirty", ("update_counter", t, tables.key(), choices.number(-2, 3)))),
        (3, lambda: ("outside", any_operation())),
        (4, lambda: ("activity", pick(TRANSACTIONS), choices.many(perhaps_tried, 0, 4))),
        (2, lambda: ("activity", pick(DIRTY), choices.many(perhaps_tried, 0, 4))),
        (1, lambda: ("table_info", t, pick([*ITEMS, "nothing"]))),
        (1, creation),
        (1, lambda: ("delete_table", pick(MISSING))),
        (1, lambda: ("clear_table", t)),
        (1, lambda: ("add_table_index", t, attribute)),
        (1, lambda: ("del_table_index", t, attribute)),
        (1, lambda: ("transform_table", t, pick(["same", "drop"]), pick([["k"], ["k", "k"]]))),
        (1, lambda: ("change_table_access_mode", t, pick(["read_only", "odd"]))),
        (1, lambda: ("change_table_load_order", t, 1)),
        (1, lambda: ("subscribe", t, "simple")),
    )


# -- programs -------------------------------------------------------------------------------------


def programs(
    step: Callable[[Choices, Tables], Step],
    *,
    disc: bool = False,
    first: Callable[[Choices, Tables], list[Step]] = lambda _, __: [],
    most: int = 7,
) -> SearchStrategy[Program]:
    """Programs that create tables and then take steps of a kind."""

    @st.composite
    def program(draw: DrawFn) -> Program:
        choices = Choices(draw)
        tables, steps = make_tables(choices, disc=disc)
        steps += choices.many(lambda: ("dirty", tables.change()), 0, 6)
        steps += first(choices, tables)
        steps += choices.many(lambda: step(choices, tables), 1, most)
        return Program(steps, disc)

    return program()


FAMILIES: Final[dict[str, SearchStrategy[Program]]] = {
    "activities": programs(activity),
    "dirty": programs(dirty, most=12),
    "schema": programs(schema),
    "mistakes": programs(mistake, most=8),
    "events": programs(heard, first=subscribing),
    "disc": programs(on_disc, disc=True),
    "archives": programs(archived, disc=True, most=10),
}
"""All kinds of programs, by name."""
