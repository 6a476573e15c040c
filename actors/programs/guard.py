"""The process that holds a program for its `Program`, and lets go of it in the end."""

from __future__ import annotations

from palaver.actors.programs.command import (
    Command,
    ProgramEvent,
    ProgramLauncher,
    ProgramStartError,
    Refused,
    RunningProgram,
)
from palaver.actors.runtime import KILL, Down, MailboxFull, Pid, ProcessContext

__all__ = ["Running", "guard"]


class Running:
    """The guard has begun to start the program."""

    __slots__ = ("running",)

    def __init__(self, running: RunningProgram) -> None:
        self.running = running


async def guard(
    ctx: ProcessContext, program: Pid, launcher: ProgramLauncher, command: Command
) -> None:
    """Start the program, and let go of it when its process has exited, however that was.

    A coroutine of its own, because its `finally` runs even when it or the program's process is
    killed.
    """

    def tell(event: ProgramEvent) -> None:
        try:
            ctx.node.send(program, event)
        except MailboxFull:  # of a program's process with a limit: an event is never left out
            ctx.node.exit(program, KILL)

    ctx.trap_exit = True
    watch = ctx.monitor(program)
    running: RunningProgram | None = None
    try:
        try:
            running = launcher.start(command, tell)
        except OSError as error:
            text = error.strerror or str(error)
            tell(Refused(ProgramStartError(command.name, text, error.errno)))
        else:
            ctx.send(program, Running(running))
        await ctx.receive(lambda message: type(message) is Down and message.ref is watch)
    finally:
        if running is not None:
            running.release()
