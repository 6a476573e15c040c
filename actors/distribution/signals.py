"""What one node tells another: the signals of Erlang's distribution protocol, as plain data.

https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html has the originals. Pids, references and
calls are `Where`s in them: what they mean on the node that gets them says its `Directory`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

__all__ = [
    "TICK",
    "Abandon",
    "Answer",
    "Ask",
    "ExitLinked",
    "ExitSent",
    "Fail",
    "Gone",
    "Grouped",
    "GroupedTo",
    "Hello",
    "LinkTo",
    "NoTarget",
    "Post",
    "Signal",
    "Tick",
    "UnlinkFrom",
    "Unwatch",
    "Watch",
    "Where",
]

Kind: TypeAlias = Literal["pid", "name", "alias", "ref", "call"]


class Where(NamedTuple):
    """An address or a reference as it crosses: a node, which of its lives, and what in it.

    Attributes:
        kind: a process, a registered name, an alias, a call that waits, any other reference.
        node_name: whose it is.
        creation: which incarnation of the node made it (Erlang's word); 0 for names, which mean
            whoever has them.
        key: the pid's serial, the name, or a number.
    """

    kind: Kind
    node_name: str
    creation: int
    key: int | str


@dataclass(frozen=True, slots=True)
class Hello:
    """The first thing on a connection, from both sides.

    Attributes:
        node_name: who.
        creation: which of its incarnations.
        attempt: which of its attempts to connect this is; the acceptor repeats it.
        greeting: what its numbers mean, if messages cross as bytes.
    """

    node_name: str
    creation: int
    attempt: int
    greeting: bytes = b""


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing: only that the sender is there."""


TICK: Final = Tick()


@dataclass(frozen=True, slots=True)
class Post:
    """A message, a cast, or a signal that no mailbox refuses."""

    target: Where
    how: Literal["info", "cast", "signal"]
    message: Any


@dataclass(frozen=True, slots=True)
class Ask:
    """A call; `call` is how it is answered."""

    target: Where
    call: Where
    asker: Where | None
    waits: bool
    request: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """A call is answered."""

    call: int
    value: Any


@dataclass(frozen=True, slots=True)
class Fail:
    """A call has failed, with an exception."""

    call: int
    error: Any


@dataclass(frozen=True, slots=True)
class NoTarget:
    """A call went to nobody."""

    call: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Nobody waits for the answer of a call any more."""

    call: Where


@dataclass(frozen=True, slots=True)
class Watch:
    """A monitor; `number` is the watcher's name for it."""

    number: int
    target: Where


@dataclass(frozen=True, slots=True)
class Unwatch:
    """The end of a monitor."""

    number: int


@dataclass(frozen=True, slots=True)
class Gone:
    """What was monitored has exited, or was not there."""

    number: int
    reason: Any


LinkId: TypeAlias = tuple[str, int]
"""Who made a link, and that one's number for it.

Two processes may link at the same time, or one undo a link while the other makes one. Each
`LinkTo` has a name of its own, and what ends links says which: so both sides always come to agree.
"""


@dataclass(frozen=True, slots=True)
class LinkTo:
    """A link."""

    link: LinkId
    source: Where
    target: Where


@dataclass(frozen=True, slots=True)
class UnlinkFrom:
    """The end of links, without an exit signal."""

    links: tuple[LinkId, ...]
    source: Where
    target: Where


@dataclass(frozen=True, slots=True)
class ExitLinked:
    """A linked process has exited, or was not there."""

    links: tuple[LinkId, ...]
    source: Where
    target: Where
    reason: Any


@dataclass(frozen=True, slots=True)
class ExitSent:
    """An exit signal that somebody sent."""

    source: Where | None
    target: Where
    reason: Any


@dataclass(frozen=True, slots=True)
class Grouped:
    """A message to the process of a scope of groups."""

    scope: str
    message: Any


@dataclass(frozen=True, slots=True)
class GroupedTo:
    """A message to one scope process, and to no other that took its place."""

    target: Where
    message: Any


Signal: TypeAlias = (
    Hello
    | Tick
    | Post
    | Ask
    | Answer
    | Fail
    | NoTarget
    | Abandon
    | Watch
    | Unwatch
    | Gone
    | LinkTo
    | UnlinkFrom
    | ExitLinked
    | ExitSent
    | Grouped
    | GroupedTo
)
