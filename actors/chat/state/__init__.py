"""The deterministic state of the messaging system: tables, commands, and what a command does.

Nothing here knows a process, a socket or a clock: a :class:`ChatMachine` takes commands in the
order of a log and changes tables, so that any replica that applies the same log holds the same
bytes. The actors around it decide *when* a command is appended, never what it does.
"""

from __future__ import annotations

from palaver.actors.chat.state.machine import ChatMachine, consistent_cut

__all__ = ["ChatMachine", "consistent_cut"]
