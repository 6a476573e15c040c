"""What a presence keeps of sessions that are here, of those that watch, and of rows it asks for."""

from __future__ import annotations

from typing import Any, NamedTuple

from palaver.actors.chat.messages import Watch
from palaver.actors.runtime import Pid

__all__ = ["Asking", "Home", "Watching"]


class Home(NamedTuple):
    """Where a session is: of which device, at which gateway."""

    device: int
    gateway: Pid


class Asking:
    """A row that is asked for: by which question, and who waits for it."""

    __slots__ = ("number", "waiting")

    def __init__(self) -> None:
        self.number = 0
        self.waiting: list[Watch] = []


class Watching:
    """What a session watches here, for whom, and the monitor of it."""

    __slots__ = ("accounts", "ref", "viewer")

    def __init__(self, viewer: str, ref: Any) -> None:
        self.accounts: dict[str, None] = {}
        self.viewer = viewer
        self.ref = ref
