"""What can go wrong between a program's threads and a node; all are `RuntimeFault`s."""

from __future__ import annotations

from palaver.actors.runtime import RuntimeFault

__all__ = ["ForkedNode", "StopTimeout", "TopProcessFailed", "WouldDeadlock"]


class WouldDeadlock(RuntimeFault):
    """A blocking call was made in the thread that would have to do the work."""


class ForkedNode(RuntimeFault):
    """This is a child made by `os.fork`: the node's thread runs in the parent only."""


class StopTimeout(RuntimeFault):
    """The node's thread has not ended in time: something in it does not return.

    `stack` is where it is, as text.
    """

    def __init__(self, timeout_s: float, stack: str) -> None:
        super().__init__(
            f"the node's thread has not ended within {timeout_s:g} s; it is here:\n{stack}"
        )
        self.timeout_s = timeout_s
        self.stack = stack


class TopProcessFailed(RuntimeFault):
    """The process that a node was run for has exited abnormally, with `reason`."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"the top process has exited: {reason}")
        self.reason = reason
