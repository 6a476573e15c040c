"""A process: its mailbox, its place on the run queue, and the signals that reach it.

The states, and how they are told apart:

* idle: `mailbox is None`. A message creates the mailbox and puts the process on the run queue.
* queued or running: `mailbox is not None`, `wait is None`.
* parked in a coroutine: `wait` is what it waits for; the mailbox exists, so messages only gather.
  Parked in `receive` it is None instead, so that the next message wakes the process like an idle
  one.

A process is on the run queue at most once, and leaves the node only in its own turn.

What waits for a process is, in this order: the *rest* of the batch that its turn is in the middle
of (`Scheduler.rest`, only while it runs), its `backlog`, its `mailbox`. A turn takes the whole
mailbox as its batch, so in the usual case there is no work per message but the handler.

`fast` is the server while its messages can be handled in the usual way, and None while there is
anything to see to first: an exit signal, a parked handler, a backlog, a limit, an inspection. So
the fast path tests for all of them at once, and whoever brings one of them sets `fast` to None.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeAlias

from palaver.actors.runtime.errors import ForeignAwait
from palaver.actors.runtime.inspection import Inspection
from palaver.actors.runtime.mailbox import (
    SIGNAL,
    STOP,
    SYSTEM,
    BoundedMailbox,
    Item,
    Mailbox,
    MailboxLimit,
)
from palaver.actors.runtime.messages import Exit
from palaver.actors.runtime.parking import FROZEN, PARK, PREEMPT, SUSPENDED, Wait
from palaver.actors.runtime.pid import Pid, Ref
from palaver.actors.runtime.reasons import KILL, KILLED, NORMAL

if TYPE_CHECKING:
    from palaver.actors.runtime.calls import From
    from palaver.actors.runtime.context import ProcessContext
    from palaver.actors.runtime.lifecycle import Monitor
    from palaver.actors.runtime.scheduler import Scheduler
    from palaver.actors.runtime.timers import TimerRef

__all__ = ["ALIVE", "Process", "Running", "Watcher"]


class _Alive:
    """No exit signal has arrived (None would be a possible reason)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "alive"


ALIVE: Final = _Alive()

Running: TypeAlias = Coroutine[Any, Any, Any] | Generator[Any, Any, Any]


class Watcher(Protocol):
    """Somebody who wants to know when a process has exited."""

    def down(self, pid: Pid, reason: object) -> None:
        """The process `pid` has exited; its names are free."""


class Process:
    """The base of both kinds of process; see `server.ServerProcess`, `function.FunctionProcess`."""

    __slots__ = (
        "backlog",
        "budget",
        "context",
        "coroutine",
        "current",
        "exiting",
        "fast",
        "held",
        "idle",
        "inspection",
        "limit",
        "links",
        "mailbox",
        "monitors",
        "names",
        "parent",
        "pending",
        "pid",
        "reductions",
        "resume",
        "saved",
        "scheduler",
        "starter",
        "trap_exit",
        "wait",
        "watchers",
    )

    # Whether an exit signal from the parent ends the process although it traps exits.
    obeys_parent: ClassVar[bool] = False

    def __init__(
        self,
        pid: Pid,
        scheduler: Scheduler,
        context: ProcessContext,
        parent: Pid | None,
        limit: MailboxLimit | None,
        starter: From | None,
    ) -> None:
        self.pid = pid
        self.scheduler = scheduler
        # What it shows to the program; None once it has exited.
        self.context: ProcessContext | None = context
        self.parent = parent
        self.limit = limit
        # Who waits for `init` to be done.
        self.starter = starter
        self.mailbox: Mailbox | None = None
        # What was left over of earlier mailboxes, the next item last.
        self.backlog: list[Item] | None = None
        self.fast: Any = None
        self.budget = scheduler.reductions
        self.reductions = 0
        # The handler that is parked, what it handles, what it waits for and the outcome of that.
        self.coroutine: Running | None = None
        self.current: Item | None = None
        self.wait: Wait | None = None
        self.resume: Any = None
        self.exiting: object = ALIVE
        self.trap_exit = False
        # How many messages it has sent that still wait for room in a mailbox.
        self.held = 0
        # Allocated when first used. Dicts, not sets: their order is the same in every run.
        self.links: Process | dict[Process, None] | None = None  # see `links`
        self.monitors: dict[Monitor, Process] | None = None
        self.watchers: dict[Ref, Watcher] | None = None
        self.names: list[str] | None = None
        self.pending: dict[From, None] | None = None
        # What a selective receive has passed over.
        self.saved: list[Item] | None = None
        # Sends `TIMEOUT` unless a message comes first.
        self.idle: TimerRef | None = None
        # Set while `sys` has something to do with each message.
        self.inspection: Inspection | None = None

    @property
    def label(self) -> str:
        """What runs here, for people."""
        raise AttributeError("label")

    def turn(self) -> list[Item] | None:
        """Begin a turn that is not a usual one.

        The messages that are then left to be handled in the usual way; None if the turn is over.
        """
        raise AttributeError("turn")

    # -- being scheduled ----------------------------------------------------------------------

    def activate(self, item: Item) -> None:
        """Give an idle process a mailbox with one item, and a place on the run queue."""
        if self.limit is None:
            self.mailbox = [item]
        else:
            self.mailbox = mailbox = BoundedMailbox(self)
            mailbox.begin(item)
        self.wait = None  # for one that was parked in `receive`
        scheduler = self.scheduler
        scheduler.queue.append(self)
        if not scheduler.armed:
            scheduler.arm()

    def wake(self, outcome: Any) -> None:
        """End the wait of a parked process."""
        self.wait = None
        self.resume = outcome
        if self.mailbox is None:
            self.mailbox = self.new_mailbox()
        self.scheduler.enqueue(self)

    def new_mailbox(self) -> Mailbox:
        """An empty mailbox of the right kind."""
        return [] if self.limit is None else BoundedMailbox(self)

    def tell(self, message: object) -> None:
        """Put a signal into the mailbox, whatever its limit."""
        mailbox = self.mailbox
        if mailbox is None:
            self.activate((message, SIGNAL))
        elif isinstance(mailbox, BoundedMailbox):
            mailbox.take_signal((message, SIGNAL))
        else:
            mailbox.append((message, SIGNAL))

    def system(self, request: Callable[[Any], None]) -> None:
        """Have `request(self)` called between two messages, in its turn; also while suspended."""
        mailbox = self.mailbox
        if mailbox is None:
            self.activate((request, SYSTEM))
        elif isinstance(mailbox, BoundedMailbox):
            mailbox.take_signal((request, SYSTEM))
        else:
            mailbox.append((request, SYSTEM))
        if self.wait is FROZEN:
            self.wait = None
            self.scheduler.enqueue(self)

    def inspect(self) -> Inspection:
        """Have it take its items one by one from now on, under the inspection returned.

        To be called within `system`; set `inspection` to None when it is not `needed` any more.
        """
        if self.inspection is None:
            self.inspection = Inspection()
        self.fast = None
        if self.scheduler.current is self:
            self.put_back(self.scheduler.rest)
        return self.inspection

    def take(self) -> Item | None:
        """The next item; None if nothing waits."""
        backlog = self.backlog
        if backlog:
            return backlog.pop()
        mailbox = self.mailbox
        if not mailbox:
            return None
        if isinstance(mailbox, BoundedMailbox):
            return mailbox.popleft()
        if len(mailbox) == 1:
            return mailbox.pop()
        mailbox.reverse()
        self.backlog = mailbox
        self.mailbox = []
        self.fast = None
        return mailbox.pop()

    def put_back(self, rest: Iterator[Item]) -> None:
        """Take what is left out of a batch: the turn that goes through it ends after this item."""
        items = list(rest)
        if items:
            items.reverse()
            self.reductions -= len(items)
            self.put_before(items)
        self.fast = None

    def put_before(self, items: list[Item]) -> None:
        """Let items, the next one last, come before the backlog; but the end comes before all."""
        backlog = self.backlog
        if not backlog:
            self.backlog = items
        elif backlog[-1][1] is STOP:
            self.backlog = [*backlog[:-1], *items, backlog[-1]]
        else:
            self.backlog = backlog + items

    def put_first(self, item: Item) -> None:
        """Let an item be the next one to be handled."""
        if self.scheduler.current is self:
            self.put_back(self.scheduler.rest)
        self.fast = None
        if self.backlog is None:
            self.backlog = []
        self.backlog.append(item)
        if self.mailbox is None:
            self.wait = None  # for one that was parked in `receive`
            self.mailbox = self.new_mailbox()
            self.scheduler.enqueue(self)

    def discard(self, unwanted: Callable[[Any], bool]) -> None:
        """Take the first unwanted message, if there is one, out of what waits."""
        if self.scheduler.current is self:
            self.put_back(self.scheduler.rest)
        for items, newest_first in (
            (self.saved, False),
            (self.backlog, True),
            (self.mailbox, False),
        ):
            if not items:
                continue
            indices = range(len(items))
            for index in reversed(indices) if newest_first else indices:
                if unwanted(items[index][0]):
                    del items[index]
                    return

    def hold(self) -> None:
        """One more message of mine waits for room: stop after the present handler."""
        self.held += 1
        if self.held == 1:
            self.put_back(self.scheduler.rest)

    def release(self) -> None:
        """One message fewer of mine waits for room."""
        self.held -= 1
        if self.held == 0 and self.wait is SUSPENDED:
            self.wait = None
            self.scheduler.enqueue(self)

    def promise(self, call: From) -> None:
        """Remember a call that is still to be answered."""
        if call.open:
            call.callee = self
            if self.pending is None:
                self.pending = {}
            self.pending[call] = None

    # -- exit signals -------------------------------------------------------------------------

    def exit_signal(self, sender: Pid | None, reason: object, *, linked: bool) -> None:
        """An exit signal arrives: sent by `exit` or, if `linked`, by the end of a linked process.

        The rules are those of "Receiving Exit Signals" in Erlang's reference manual, with one
        addition: a trapping server ends with its parent before it handles another message.
        """
        if reason is KILL and not linked:
            self.die(KILLED)
        elif self.trap_exit:
            if self.obeys_parent and sender is self.parent:
                self.stop_soon(reason)
            else:
                self.tell(Exit(sender, reason))
        elif reason is not NORMAL or sender is self.pid:
            self.die(reason)

    def die(self, reason: object) -> None:
        """Exit with `reason` in the next turn, before any further message is handled."""
        if self.exiting is not ALIVE:
            return  # the first signal has ended it
        self.exiting = reason
        self.fast = None
        self.scheduler.dying += 1
        if self.mailbox is None:
            self.wake(None)
        elif self.scheduler.current is self:
            self.put_back(self.scheduler.rest)
        elif self.wait is not None:
            wait, self.wait = self.wait, None
            wait.cancel()
            self.scheduler.enqueue(self)

    def stop_soon(self, reason: object) -> None:
        """Run `terminate` and exit with `reason`, before any further message is handled."""
        backlog = self.backlog
        if backlog and backlog[-1][1] is STOP:
            return  # it was told before
        self.scheduler.dying += 1
        self.put_first((reason, STOP))
        if self.wait is SUSPENDED or self.wait is FROZEN:
            self.wait = None
            self.scheduler.enqueue(self)

    def unlinked(self, other: Process) -> None:
        """`other` has undone its link; what stands in for a process elsewhere passes it on."""

    # -- driving a coroutine ------------------------------------------------------------------

    def drive(self) -> bool:
        """Run the coroutine until it gives up control (False) or ends (its value in `resume`).

        What it raises is raised here.
        """
        coroutine = self.coroutine
        assert coroutine is not None
        try:
            yielded = coroutine.send(None)
            while yielded is not PARK and yielded is not PREEMPT:
                yielded = coroutine.throw(_foreign(yielded))
        except StopIteration as stop:
            self.coroutine = None
            self.resume = stop.value
            return True
        except BaseException:
            self.coroutine = None
            raise
        self.put_back(self.scheduler.rest)
        if yielded is PREEMPT:
            self.scheduler.enqueue(self)
        elif self.exiting is not ALIVE and self.wait is not None:  # the signal came while it ran
            self.wait.cancel()
            self.wake(None)
        return False

    def charge(self) -> bool:
        """Count what a coroutine got without waiting; whether it is the next process's turn."""
        self.reductions += 1
        return self.reductions % self.budget == 0


def _foreign(yielded: object) -> ForeignAwait:
    return ForeignAwait(
        f"a process awaited {yielded!r} directly; processes are not asyncio tasks: "
        "write `await self.bridge(...)` around asyncio code"
    )
