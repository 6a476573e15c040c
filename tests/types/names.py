"""The types of keys and values: lines with `# wrong` must be errors, every other must not."""

from __future__ import annotations

from typing import assert_type

from palaver.actors.names import Entry, Registration, Registry, Scope, Via
from palaver.actors.runtime import Node, Pid


def values(node: Node, pid: Pid, rooms: Registry[str, int]) -> None:
    rooms.register(pid, "lobby", 1)
    rooms.register(pid, "lobby", "one")  # wrong
    rooms.register(pid, 3, 1)  # wrong
    rooms.register(pid, "lobby")  # wrong
    assert_type(rooms.lookup("lobby"), list[Entry[int]])
    assert_type(rooms.lookup("lobby")[0].value, int)
    assert_type(rooms.select(), list[Registration[str, int]])
    assert_type(rooms.update_value(pid, "lobby", lambda old: old + 1), tuple[int, int])
    rooms.update_value(pid, "lobby", lambda old: old.upper())  # wrong
    rooms.whereis(b"lobby")  # wrong
    rooms.match("lobby", lambda value: value > 1)
    rooms.dispatch("lobby", lambda pid, value: node.send(pid, value + 1))


def none(pid: Pid, names: Registry[tuple[str, int], None]) -> None:
    names.register(pid, ("a", 1))
    names.register(pid, ("a", "b"))  # wrong


def via(node: Node, rooms: Registry[str, int]) -> None:
    node.send(Via(rooms, "lobby"), "anything")
    Via(rooms, 5)  # wrong


def groups(scope: Scope, pid: Pid) -> None:
    scope.join("any", [pid, pid])
    scope.join("any", "lobby")  # wrong
    assert_type(scope.get_members("any"), tuple[Pid, ...])
