"""Programs over processes, as plain data that an Erlang and a Python interpreter both understand.

A program is a list of roots (plain processes that nobody is linked to) and a list of steps. A step
gives one process, by its label, a burst of instructions; when all processes have come to rest, the
next step follows. Everything is made of strings (Erlang's atoms), integers, booleans, lists and
tuples, so a program reads the same as a Python and as an Erlang term.

A label names the last process that was started under it; in the logs `k#2` is the second of `k`.

Descriptions of processes: `(kind, trap, plan, name, script)`.

* kind: ``"plain"``, ``"server"`` (a `gen_server`), or ``("sup", flags, specs)`` with flags
  `(strategy, intensity, auto_shutdown)`.
* trap: whether it traps exits.
* plan: what becomes of the first, second, ... process of the label as it starts: ``"ok"``,
  ``"ignore"``, ``("stop", reason)``, ``("exit", reason)`` or ``"error"``; ``"ok"`` beyond the list.
* name: the name under which it is registered, or ``"none"``.
* script: what a plain process does before anything else.

Child specifications: `(label, restart, shutdown, significant, description)`; for
``simple_one_for_one`` one template, `("any", restart, shutdown, False, type)`.

Steps: `("do", label, [instruction, ...])`, or `("wait", ms, [])`: time passes.

Instructions (l is a label, m a monitor's, r a reason, n a name, v a number, q a request):

* ``"return"``, `("stop", r)`, `("exit", r)`, ``"error"``: the ways to end; `("trap", bool)`.
* `("spawn", l, description)`, `("spawn_link", ...)`, `("spawn_monitor", m, l, description)`,
  `("start_link", l, description)`.
* `("link", l)`, `("unlink", l)`, `("exit", l, r)`, `("send", l, v)`, `("is_alive", l)`.
* `("monitor", l, m)`, `("demonitor", m)`, `("demonitor_flush", m)`.
* `("register", n)`, `("unregister", n)`, `("whereis", n)`, `("send_name", n, v)`,
  `("monitor_name", m, n)`, `("call_name", n, q)`.
* `("alias", l)`, `("alias_once", l)`, `("unalias", l)`, `("send_alias", l, v)`,
  `("monitor_alias", l, m, mode)`.
* `("call", l, q)` with requests `("echo", v)`, `("stop", r)`, `("stop", r, v)`, ``"error"`` and
  ``"hold"``; `("answer", v)` answers all that were held.
* `("start_child", l, specification)`, `("terminate_child", l, id)`, `("restart_child", l, id)`,
  `("delete_child", l, id)`, `("which_children", l)`, `("count_children", l)`; of
  ``simple_one_for_one``: `("start_dynamic", l, child, description)`,
  `("terminate_dynamic", l, child)`, `("count_dynamic", l)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Desc", "Instruction", "Program", "Step", "describe", "erlang"]

Desc: TypeAlias = tuple[Any, bool, list[Any], str, list[Any]]
Instruction: TypeAlias = Any
Step: TypeAlias = tuple[str, Any, list[Instruction]]


@dataclass(frozen=True)
class Program:
    """What both sides run."""

    roots: list[tuple[str, Desc]]
    steps: list[Step]

    def erlang(self, schedule: int = 0) -> str:
        """One line for the Erlang interpreter."""
        return erlang((schedule, self.roots, self.steps)) + ".\n"

    def __str__(self) -> str:
        lines = [f"root {label}: {describe(desc)}" for label, desc in self.roots]
        for number, (kind, what, burst) in enumerate(self.steps, 1):
            does = f"{what} ms pass" if kind == "wait" else f"{what} does " + _list(burst)
            lines.append(f"step {number}: {does}")
        return "\n".join(lines)


def _list(burst: list[Instruction]) -> str:
    return ", ".join(map(erlang, burst))


def describe(desc: Desc) -> str:
    """A description, for people."""
    return erlang(desc)


def erlang(term: object) -> str:
    """A term as Erlang writes it."""
    if isinstance(term, bool):
        return "true" if term else "false"
    if isinstance(term, int):
        return str(term)
    if isinstance(term, str):
        return term
    if isinstance(term, tuple):
        return "{" + ",".join(map(erlang, term)) + "}"
    if isinstance(term, list):
        return "[" + ",".join(map(erlang, term)) + "]"
    raise TypeError(f"no Erlang term for {term!r}")
