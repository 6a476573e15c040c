"""The light process that a Thespian actor is."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ActorSystemMessage,
    ChildActorExited,
    PoisonMessage,
    Thespian_StatusReq,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)

from palaver.actors.runtime import (
    NOREPLY,
    NORMAL,
    Continue,
    Crash,
    Exit,
    From,
    NameTaken,
    Pid,
    ReceiveTimeout,
    Stop,
)
from palaver.actors.runtime.observer import shorten
from palaver.actors.thespian import creation
from palaver.actors.thespian.address import ActorMessage, Address, Asker, pid_of
from palaver.actors.thespian.family import CHECK_CAPABILITIES, ActorFamily
from palaver.actors.thespian.status import actor_status
from palaver.actors.thespian.system import ThespianSystem
from palaver.actors.thespian.watched import WatchedFiles

__all__ = ["ActorProcess", "Due"]

log = structlog.get_logger("palaver.actors.thespian")

ABRUPT: Final = object()
"""In the place of an exit request: the actor called `sys.exit`, and is not asked again."""


class Due:
    """A wake-up that an actor has asked for; the message of its timer."""

    __slots__ = ("deadline_s", "payload", "period")

    def __init__(self, deadline_s: float, period: Any, payload: Any) -> None:
        self.deadline_s = deadline_s
        self.period = period
        self.payload = payload


class ActorProcess(ActorFamily):
    """A Thespian actor as a process: `ActorProcess(system, actor_class)` in a `ChildSpec`, say.

    Actors and their children are linked: whatever ends a parent ends its children. A
    `receiveMessage` that fails is tried once more, then the sender gets a `PoisonMessage`; it does
    not end the actor. `ActorExitRequest` and `sys.exit` do, exit signals do, and a `Supervisor`
    that is its parent does, as with any process.
    """

    __slots__ = (
        "_address",
        "global_name",
        "leaving",
        "parent_address",
        "system",
        "threaded",
        "wakeups",
        "watched",
    )

    # The request that it exits by, with its sender.
    leaving: tuple[ActorExitRequest, ActorAddress] | object | None
    # Whether `receiveMessage` runs in a thread now.
    threaded: bool
    wakeups: dict[Due, None] | None
    watched: WatchedFiles | None

    def init(
        self,
        system: ThespianSystem,
        actor_class: Any,
        requirements: Any = None,
        *,
        source_hash: str | None = None,
        global_name: str | None = None,
        parent_address: Address | None = None,
        address: Address | None = None,
        lenient: bool = False,
    ) -> Continue | None:
        """Make the actor; raises what its `__init__` raises, or `NameTaken`.

        With `lenient`, a failure is no failure to start: the process exits in its next turn, and
        messages to it become dead letters.
        """
        self.trap_exit = True
        self.system = system
        self._address = address
        self.actor = self.children = self.leaving = self.wakeups = self.watched = None
        self.threaded = False
        self.requirements = requirements
        self.global_name = global_name
        self.source_hash = None
        self.parent_address = system.address if parent_address is None else parent_address
        try:
            found = creation.resolve(actor_class, source_hash, system.sources.zips)
            self.actor = system.maker.make(found, system.capabilities, requirements)
            if global_name is not None:
                holder = system.find_name(global_name)
                if holder is not None and holder != self.address:
                    raise NameTaken(global_name, pid_of(holder))
                system.names[global_name] = self.address
        except Exception as error:
            if not lenient:
                raise
            return Continue(error)
        self.source_hash = source_hash
        if source_hash is not None:
            system.sources.use(source_hash)
        self.actor._myRef = self  # noqa: SLF001 - Thespian's own way from an actor to its system
        return None

    def handle_continue(self, error: Exception) -> Stop:
        """The actor could not be made."""
        return Stop(Crash(error))

    @property
    def address(self) -> Address:
        """The actor's own address."""
        if self._address is None:
            self._address = Address(self.pid, self.system)
        return self._address

    # -- messages -----------------------------------------------------------------------------

    def handle_info(self, message: Any) -> Any:
        """A message of an actor or of any other process, a wake-up, or the end of a child."""
        if type(message) is ActorMessage:
            content, sender = message
            return self.take(content, sender)
        if type(message) is Due:
            if self.wakeups is not None:
                self.wakeups.pop(message, None)
            return self.take(WakeupMessage(message.period, message.payload), self.address)
        if type(message) is Exit:
            return self.linked_exit(message)
        if message is CHECK_CAPABILITIES:
            return self.check_capabilities()
        return self.take(message, self.system.address)

    def handle_cast(self, message: Any) -> Any:
        """A cast is a message whose sender gets no answer."""
        return self.take(message, self.system.address)

    def handle_call(self, request: Any, from_: From) -> Any:
        """A call: the first message that is sent to the sender of `request` is the answer."""
        system = self.system
        sender = Address(Asker(functools.partial(system.process.reply, from_)), system)
        result = self.take(request, sender)
        if isinstance(result, Coroutine):
            return self.promise_answer(result)
        return NOREPLY if result is None else result

    async def promise_answer(self, taking: Coroutine[Any, Any, Any]) -> Any:
        """Go on with a call that is handled in a thread."""
        result = await taking
        return NOREPLY if result is None else result

    def take(self, message: Any, sender: ActorAddress) -> Any:
        """Let the actor handle a message."""
        if isinstance(message, ActorSystemMessage):
            if isinstance(message, ActorExitRequest):
                self.leaving = (message, sender)
                return Stop(NORMAL)
            if isinstance(message, Thespian_StatusReq):
                self.actor_send(sender, actor_status(self))
                return None
            if isinstance(message, ChildActorExited):
                self.forget_child(message.childAddress)
        system = self.system
        blocking = system.blocking
        if blocking.kinds and type(self.actor) in blocking.kinds:
            return self.take_in_thread(message, sender)
        monotonic = system.monotonic
        began_s = monotonic()
        result = self.attempt(message, sender)
        took_s = monotonic() - began_s
        if took_s >= blocking.limit_s:
            blocking.held_up(type(self.actor), took_s)
        return result

    async def take_in_thread(self, message: Any, sender: ActorAddress) -> Any:
        """Let the actor handle a message in a thread; no other message until it has."""
        result, took_s = await self.in_thread(self.attempt_timed, message, sender)
        self.system.blocking.took(type(self.actor), took_s)
        return result

    async def in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        """Run a method that lets the actor handle something in a thread."""
        self.threaded = True
        try:
            result = await self.run_blocking(call, *args)
        except RuntimeError:
            # None of the actor's gets here. The program is ending: Python has no more threads.
            self.threaded = False
            return call(*args)
        # Not in a `finally`: if the process is killed, the thread goes on, and is still one.
        self.threaded = False
        return result

    def attempt_timed(self, message: Any, sender: ActorAddress) -> tuple[Stop | None, float]:
        """`attempt`, and how long it took."""
        began_s = self.system.monotonic()
        result = self.attempt(message, sender)
        return result, self.system.monotonic() - began_s

    def attempt(self, message: Any, sender: ActorAddress) -> Stop | None:
        """`receiveMessage`, once more if it fails; a `PoisonMessage` if it fails again."""
        try:
            result = self.actor.receiveMessage(message, sender)
            if result is not None or self.watched:
                self.watch(result)
            return None
        except SystemExit as error:
            return self.exited(error)
        except Exception as error:  # noqa: BLE001 - Thespian's rule: a message harms no actor
            log.debug("message failed, tried again", **self.about(message), reason=repr(error))
        try:
            self.actor.receiveMessage(message, sender)
        except SystemExit as error:
            return self.exited(error)
        except Exception:  # noqa: BLE001
            details = traceback.format_exc()
            # As text: a log that draws the traceback takes half a second for it.
            log.error("message failed twice", **self.about(message), stack=details)
            if not isinstance(message, PoisonMessage):
                self.actor_send(sender, PoisonMessage(message, details))
        return None

    def actor_send(self, target: ActorAddress, message: Any) -> None:
        """Send a message, from the loop's thread or from the actor's."""
        system = self.system
        if self.threaded:
            system.post(target, message, self.address)
            return
        # The common case in place: another actor of the same system.
        if type(target) is Address and target.system is system:
            pid = target._aaddr  # noqa: SLF001 - `addressDetails` is a property: a call more
            if isinstance(pid, Pid) and system.is_alive(pid):
                # As `ActorMessage(message, self.address)`, in half the time.
                own = self._address or self.address
                self.send(pid, tuple.__new__(ActorMessage, (message, own)))
                return
        system.deliver(target, message, self.address)

    def wake_after(self, delay_s: float, period: Any, payload: Any) -> None:
        """Let the actor get a `WakeupMessage`; it cannot be cancelled, but ends with the actor."""
        due = Due(self.clock.monotonic() + delay_s, period, payload)
        if self.wakeups is None:
            self.wakeups = {}
        self.wakeups[due] = None
        self.send_after(delay_s, self.pid, due)

    def watch(self, result: Any) -> None:
        """Watch the files of the `ThespianWatch` that `receiveMessage` returned, and no others."""
        filenos = set(result.filenos) if isinstance(result, ThespianWatch) else set()
        if filenos or self.watched:
            if self.watched is None:
                self.watched = WatchedFiles(self.system.loop, self.file_ready)
            self.in_loop(self.watched.watch, filenos)

    def file_ready(self, fileno: int) -> None:
        """A watched file can be read, or has come to its end."""
        self.system.deliver(self.address, WatchMessage([fileno]), self.address)

    def about(self, message: Any) -> dict[str, str]:
        """Who handles what, for the log."""
        return {
            "actor": str(self.address),
            "actor_class": type(self.actor).__qualname__,
            "actor_message": shorten(message),
        }

    def in_loop(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call something in the loop's thread and wait for it, if the actor is in another."""
        return self.system.inbox.run(call, *args) if self.threaded else call(*args)

    # -- the end ------------------------------------------------------------------------------

    def exited(self, error: SystemExit) -> Stop:
        """The actor called `sys.exit`: it exits at once, its children with it."""
        self.leaving = ABRUPT
        return Stop(NORMAL if error.code in (None, 0) else Crash(error))

    def terminate(self, reason: object) -> Coroutine[Any, Any, None]:
        """Let the actor hear of its end, its children end, and its messages become dead letters."""
        return self.leave()

    async def leave(self) -> None:
        """See `terminate`."""
        system = self.system
        recursive = True
        if self.actor is not None and self.leaving is not ABRUPT:
            if not isinstance(self.leaving, tuple):
                self.leaving = (ActorExitRequest(), system.address)
            request, sender = self.leaving
            if type(self.actor) in system.blocking.kinds:
                await self.in_thread(self.say_goodbye, request, sender)
            else:
                self.say_goodbye(request, sender)
            recursive = request.isRecursive
        if self.watched is not None:
            self.watched.watch(set())
            self.watched = None
        system.forget(self.address, self.global_name, self.source_hash)
        if self.children:
            await self.end_children(self.children, recursive)
        await self.return_mail()
        if self.actor is not None:
            # The cycle between the two is undone: they are freed now, not by the collector.
            self.actor._myRef = None  # noqa: SLF001
            self.actor = None

    def say_goodbye(self, request: ActorExitRequest, sender: ActorAddress) -> None:
        """Let the actor handle the request that it exits by."""
        try:
            self.actor.receiveMessage(request, sender)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it exits in any case
            log.warning("exit request failed", **self.about(request), reason=repr(error))

    async def return_mail(self) -> None:
        """What came too late goes to whoever handles dead letters."""
        while True:
            try:
                message = await self.receive(timeout_s=0)
            except ReceiveTimeout:
                return
            if type(message) is ActorMessage:
                self.system.dead_letter(self.address, message.message, message.sender)
