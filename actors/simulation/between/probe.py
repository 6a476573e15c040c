"""`Probe`: a process that a test talks through, and looks into; after ExUnit's `assert_receive`.

    probe = Probe(node)
    probe.send(bank, Deposit(5, reply_to=probe.pid))
    done = await probe.assert_receive(Done)
    await probe.refute_receive(Done, for_s=10.0)
    probe.exit(bank, KILL)
    await probe.assert_down(bank, reason=KILLED)

Time is that of the event loop: in a world it is virtual, so waiting costs nothing and nothing has
to sleep. https://hexdocs.pm/ex_unit/ExUnit.Assertions.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from palaver.actors.runtime import (
    SHUTDOWN,
    CallTimeout,
    Dest,
    Down,
    Exit,
    From,
    Node,
    Pid,
    ProcessContext,
    Ref,
    Request,
    Response,
)
from palaver.actors.runtime.lifecycle import watchers_of
from palaver.actors.simulation.world.statements import Violation

__all__ = ["Probe", "ProbeFailed"]

MAX_MESSAGES: Final = 100_000
"""Messages that a probe keeps; more are not what a test waits for."""

MAX_SHOWN: Final = 20
"""Messages that a failure shows."""


class ProbeFailed(Violation):
    """A probe did not get what it was to, or got what it was not to; the text lists all it has."""


@dataclass(slots=True)
class _Arrived:
    at_s: float
    message: Any


class _Any:
    def __repr__(self) -> str:
        return "anything"


_ANY: Final[Any] = _Any()


class _Ended(Ref):
    """Hears of the end of the probe's process."""

    __slots__ = ("probe",)

    def __init__(self, probe: Probe) -> None:
        self.probe = probe

    def down(self, pid: Pid, reason: object) -> None:
        """It has exited."""
        self.probe.ended(reason)


class Probe:
    """A process of a node, and a test's hold on it.

    It traps exits, so it outlives those it is linked to; it ends with its node. What arrives is
    kept in order until an `assert_receive` takes it. Where something is matched, `match` is a value
    that is equal, a class of which it is an instance, or a function that says whether it is it.

    Args:
        node: where it lives.
        name: what it is registered as.
    """

    def __init__(self, node: Node, name: str | None = None) -> None:
        self.node = node
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._inbox: list[_Arrived] = []
        self._taken = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._monitors: dict[Any, Ref] = {}
        # Monitors that nobody has asked for, and what they have told: no message of the test's.
        self._own_monitors: dict[Any, Ref] = {}
        self._own_downs: dict[Ref, _Arrived] = {}
        self._forgotten: dict[Ref, None] = {}
        self._reason: object = None
        self._alive = True
        self._ctx: ProcessContext
        self.pid: Pid = node.spawn(self._listen, name=name)
        assert self.pid.process_ is not None
        context = self.pid.process_.context
        assert context is not None
        self._ctx = context
        self._ctx.trap_exit = True
        ended = _Ended(self)
        watchers_of(self.pid.process_)[ended] = ended

    def __repr__(self) -> str:
        return f"<probe {self.pid}, {len(self._inbox)} messages>"

    async def _listen(self, ctx: ProcessContext) -> None:
        while True:
            message = await ctx.receive()
            self._arrived(message)
            if type(message) is Exit and message.sender is None and message.reason is SHUTDOWN:
                return  # its node stops

    def _arrived(self, message: Any) -> None:
        if isinstance(message, Response) and message.ref in self._forgotten:
            del self._forgotten[message.ref]
            return  # too late: the call has timed out
        arrived = _Arrived(self._loop.time() - self._began_s, message)
        if isinstance(message, Down) and message.ref in self._own_monitors.values():
            self._own_downs[message.ref] = arrived
            return
        if len(self._inbox) >= MAX_MESSAGES:
            raise OverflowError(f"a probe keeps {MAX_MESSAGES} messages: take some")
        self._inbox.append(arrived)
        self._wake()

    def ended(self, reason: object) -> None:
        """Its process has exited."""
        self._alive = False
        self._reason = reason
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # -- to act --------------------------------------------------------------------------------

    def send(self, dest: Dest, message: Any) -> None:
        """Send a plain message from it."""
        self._ctx.send(dest, message)

    def cast(self, dest: Any, message: Any) -> None:
        """Send a cast from it."""
        self._ctx.cast(dest, message)

    async def call(self, dest: Any, request: Any, *, timeout_s: float = 5.0) -> Any:
        """Call from it; raises what `ProcessContext.call` does."""
        ref = self._ctx.send_request(dest, request)

        def is_it(message: Any) -> bool:
            return isinstance(message, Response) and message.ref is ref

        found = await self._wait(is_it, timeout_s)
        if found is None:
            self._forgotten[ref] = None
            raise CallTimeout(timeout_s)
        return found.message.result()

    def reply(self, request: Request | From, value: Any) -> None:
        """Answer a call that has arrived, as a `Request`."""
        self._ctx.reply(request.from_ if isinstance(request, Request) else request, value)

    def exit(self, pid: Pid, reason: object) -> None:
        """Send an exit signal from it; `assert_down` then knows with which reason `pid` exits."""
        if pid not in self._monitors and pid not in self._own_monitors:
            self._own_monitors[pid] = self._ctx.monitor(pid)
        self._ctx.exit(pid, reason)

    def link(self, pid: Pid) -> None:
        """Link it; the end of `pid` arrives as an `Exit`."""
        self._ctx.link(pid)

    def unlink(self, pid: Pid) -> None:
        """Undo a link."""
        self._ctx.unlink(pid)

    def monitor(self, dest: Dest) -> Ref:
        """Monitor; for an `assert_down` of something that may have exited by then."""
        ref = self._ctx.monitor(dest)
        self._monitors[dest] = ref
        return ref

    def demonitor(self, ref: Ref) -> None:
        """End a monitor; a `Down` of it that has arrived is taken away."""
        self._ctx.demonitor(ref)
        self._inbox = [
            each
            for each in self._inbox
            if not (isinstance(each.message, Down) and each.message.ref is ref)
        ]

    # -- to look -------------------------------------------------------------------------------

    @property
    def messages(self) -> tuple[Any, ...]:
        """What has arrived and was not taken, in order."""
        return tuple(each.message for each in self._inbox)

    def flush(self) -> tuple[Any, ...]:
        """Take everything that has arrived."""
        messages = self.messages
        self._taken += len(messages)
        self._inbox.clear()
        return messages

    def assert_received(self, match: Any = _ANY) -> Any:
        """Take the first message that matches, which has to be here; raises `ProbeFailed`."""
        found = self._find(_matcher(match))
        if found is None:
            raise self._failed(f"no message is here that matches {_shown(match)}")
        return self._take(found)

    async def assert_receive(self, match: Any = _ANY, *, within_s: float = 1.0) -> Any:
        """Take the first message that matches, and wait for it up to `within_s`.

        Raises:
            ProbeFailed: it has not come; or the probe's process has exited, and it cannot.
        """
        found = await self._wait(_matcher(match), within_s)
        if found is None:
            raise self._failed(f"no message matches {_shown(match)} within {within_s:g} s")
        return found.message

    async def refute_receive(self, match: Any = _ANY, *, for_s: float = 1.0) -> None:
        """State that no message that matches is here, or comes within `for_s`.

        Raises:
            ProbeFailed: one is, or does; or the probe's process has exited, and cannot know.
        """
        found = await self._wait(_matcher(match), for_s, take=False)
        if found is not None:
            raise self._failed(
                f"a message that matches {_shown(match)} has come at {found.at_s:.3f} s: "
                f"{_shown(found.message)}"
            )
        if not self._alive:
            raise self._failed(f"whether {_shown(match)} comes within {for_s:g} s is not known")

    async def assert_down(self, dest: Any, *, reason: Any = _ANY, within_s: float = 1.0) -> Down:
        """State that `dest` exits within `within_s`, with a reason that matches.

        It is monitored now, unless it was before by `monitor` or `exit`; the `Down` is taken from
        the messages. If it had exited before it was monitored, the reason is `NOPROC`.

        Raises:
            ProbeFailed: it has not exited, or with another reason.
        """
        own = self._own_monitors.pop(dest, None)
        ref = self._monitors.pop(dest, None) or own or self._ctx.monitor(dest)
        if own is not None and own in self._own_downs:
            self._inbox.append(self._own_downs.pop(own))

        def is_it(message: Any) -> bool:
            return isinstance(message, Down) and message.ref is ref

        found = await self._wait(is_it, within_s)
        if found is None:
            self._ctx.demonitor(ref)
            raise self._failed(f"{dest} has not exited within {within_s:g} s")
        down: Down = found.message
        if not _matcher(reason)(down.reason):
            raise self._failed(
                f"{dest} has exited with {_shown(down.reason)}, which is not {_shown(reason)}"
            )
        return down

    def _find(self, matches: Callable[[Any], bool]) -> _Arrived | None:
        for each in self._inbox:
            if matches(each.message):
                return each
        return None

    def _take(self, found: _Arrived) -> Any:
        self._inbox.remove(found)
        self._taken += 1
        return found.message

    async def _wait(
        self, matches: Callable[[Any], bool], within_s: float, *, take: bool = True
    ) -> _Arrived | None:
        """The first that matches, waiting for it; None if none comes in time."""
        deadline_s = self._loop.time() + within_s
        while True:
            found = self._find(matches)
            if found is not None:
                if take:
                    self._take(found)
                return found
            left_s = deadline_s - self._loop.time()
            if left_s <= 0 or not self._alive:
                return None
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append(waiter)
            timer = self._loop.call_later(left_s, _resolve, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def _failed(self, what: str) -> ProbeFailed:
        lines = [f"at {self._loop.time() - self._began_s:.3f} s of the probe {self.pid}"]
        if not self._alive:
            lines.append(f"  the probe's process has exited: {self._reason}")
        if not self._inbox:
            lines.append("  no message is left")
        else:
            lines.append(f"  messages that did not match or were not taken: {len(self._inbox)}")
            lines += [
                f"    {each.at_s:10.3f} s  {_shown(each.message)}"
                for each in self._inbox[-MAX_SHOWN:]
            ]
            if len(self._inbox) > MAX_SHOWN:
                lines.insert(-MAX_SHOWN, f"    ... {len(self._inbox) - MAX_SHOWN} earlier ones")
        lines.append(f"  taken before: {self._taken}")
        return ProbeFailed(what, "\n".join(lines))


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _matcher(match: Any) -> Callable[[Any], bool]:
    if match is _ANY:
        return lambda _: True
    if isinstance(match, type):
        return lambda message: isinstance(message, match)
    if callable(match) and not hasattr(match, "__dataclass_fields__"):
        return lambda message: bool(match(message))
    return lambda message: bool(message is match or message == match)


def _shown(value: object) -> str:
    if isinstance(value, type):
        return f"any {value.__qualname__}"
    text = getattr(value, "__qualname__", None) if callable(value) else None
    if text is not None:
        return f"the function {text}"
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a failure must be told whatever it is about
        text = f"<its repr raises {type(error).__name__}>"
    return text if len(text) <= 500 else f"{text[:499]}…"
