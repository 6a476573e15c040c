"""The process that carries a partition's outbox to the other partitions.

For each target it delivers the oldest commands in order, waits until they are durable there, and
only then has them deleted here. Whatever dies in between, the next forwarder begins again with
what is left; the target ignores what it has.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from palaver.actors.chat.messages import Answer, Append, Applied, Ask
from palaver.actors.chat.names import partition_name
from palaver.actors.chat.partition import Poke
from palaver.actors.chat.state import commands as cmd
from palaver.actors.runtime import Down, GenServer

__all__ = ["TAGS", "Forwarder"]

#: So many commands travel as one.
_BATCH = 256

#: A partition that refuses (overloaded, disk full) is tried again after so long.
_RETRY_S = 0.2


class _Delivered(NamedTuple):
    target: int
    last: int


class _Confirmed(NamedTuple):
    target: int


TAGS = (_Delivered, _Confirmed)
"""What comes back to it from the partitions of other nodes."""


class Forwarder(GenServer):
    """Empties the outbox of one partition."""

    __slots__ = ("_again", "_busy", "_number", "_partitions", "_reading", "_refs")

    def init(self, number: int, partitions: int) -> None:
        """Serve partition `number` of `partitions`."""
        self._number = number
        self._partitions = partitions
        self._busy: set[int] = set()
        self._refs: dict[Any, int] = {}  # monitors of the targets
        self._reading = False
        self._again = False
        self._read()

    def handle_info(self, message: Any) -> None:
        """Look into the outbox when poked; go on when a step is durable."""
        match message:
            case Poke():
                self._read()
            case Answer(_, value, error):
                self._reading = False
                if error is not None:
                    self.send_after(_RETRY_S, self.pid, Poke())
                    return
                for target, first, commands in value:
                    self._deliver(target, first, commands)
                if self._again:
                    self._again = False
                    self._read()
            case Applied(_Delivered(target, last), _, None):
                command = (cmd.CONFIRM, target, last)
                self.send(
                    partition_name(self._number), Append(self.pid, _Confirmed(target), command)
                )
            case Applied(_Confirmed(target), _, None):
                self._busy.discard(target)
                self._read()
            case Down(ref, _, _):
                # What was delivered to it may be applied or lost: it is delivered again.
                self._busy.discard(self._refs.pop(ref))
                self.send_after(_RETRY_S, self.pid, Poke())
            case Applied(tag, _, _):
                self._busy.discard(tag.target)
                self.send_after(_RETRY_S, self.pid, Poke())
            case _:
                super().handle_info(message)

    def _read(self) -> None:
        if self._partitions == 1:
            return
        if self._reading:
            self._again = True
            return
        self._reading = True
        args = (self._partitions, _BATCH)
        self.send(partition_name(self._number), Ask(self.pid, None, "outbox", args))

    def _deliver(self, target: int, first: int, commands: list[Any]) -> None:
        if target in self._busy:
            return
        self._busy.add(target)
        if target not in self._refs.values():
            self._refs[self.monitor(partition_name(target))] = target
        command = (cmd.DELIVER, self._number, first, commands)
        tag = _Delivered(target, first + len(commands) - 1)
        self.send(partition_name(target), Append(self.pid, tag, command))
