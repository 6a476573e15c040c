"""How the coroutine of a process that is over is closed, also when it awaits something then.

Python closes what is awaited before what awaits it. A `finally` that awaits then makes `close` fail
with "coroutine ignored GeneratorExit": that error goes on outwards, and the coroutine of the
`finally` is left where it is. So each of the chain is looked at again, and closed until it ends.
"""

from __future__ import annotations

from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from palaver.actors.runtime.errors import AwaitedAtEnd
from palaver.actors.runtime.reasons import Crash

if TYPE_CHECKING:
    from palaver.actors.runtime.process import Process, Running

__all__ = ["MAX_CLOSINGS", "close"]

MAX_CLOSINGS: Final = 100
"""How often something is closed for one process; each `finally` that awaits costs one.

What then still goes on is left to Python, which says so when it frees it.
"""


def close(process: Process, coroutine: Running) -> None:
    """Close the coroutine of a process that is over: all its `finally` blocks run.

    What they await they do not get, as there is no process left to wait: the rest of such a block
    is passed over, and the first is reported as `AwaitedAtEnd`. What they raise is reported.
    """
    report_crash = process.scheduler.node.report_crash
    refused: AwaitedAtEnd | None = None
    left: list[Any] = [coroutine]
    for _ in range(MAX_CLOSINGS):
        while left and _frame(left[-1]) is None:
            left.pop()
        if not left:
            break
        chain = _chain(left[-1])
        try:
            left.pop().close()
        except BaseException as error:  # noqa: BLE001 - the user's `finally`; it is reported
            if not _is_refusal(error):
                report_crash(process, Crash(error), process.current)
        undone = [some for some in chain if _frame(some) is not None]
        if undone:
            refused = refused or AwaitedAtEnd(process.label, _place(undone[-1]))
            left.extend(undone)
            _wait_no_more(process)
    if refused is not None:
        report_crash(process, Crash(refused), process.current)


def _wait_no_more(process: Process) -> None:
    """Undo what the process has just begun to wait for."""
    wait, process.wait = process.wait, None
    if wait is not None:
        wait.cancel()
    if process.mailbox is None:  # parked in `receive`: no message may wake it
        process.mailbox = process.new_mailbox()


def _chain(coroutine: Any) -> list[Any]:
    """It, what it awaits, what that awaits, and so on."""
    chain = []
    while _frame(coroutine) is not None:
        chain.append(coroutine)
        awaited = getattr(coroutine, "cr_await", None)
        coroutine = getattr(coroutine, "gi_yieldfrom", None) if awaited is None else awaited
    return chain


def _frame(coroutine: Any) -> FrameType | None:
    """Where it is; None when it has ended, or is none."""
    frame: FrameType | None = getattr(coroutine, "cr_frame", None)
    return getattr(coroutine, "gi_frame", None) if frame is None else frame


def _place(coroutine: Any) -> str:
    """The file and the line in which it is."""
    frame = _frame(coroutine)
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_refusal(error: BaseException) -> bool:
    """Whether it is Python's way to say that something was not closed."""
    return isinstance(error, RuntimeError) and str(error).endswith("ignored GeneratorExit")
