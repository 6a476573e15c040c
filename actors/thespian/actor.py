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
    GenServer,
    NameTaken,
    Pid,
    ReceiveTimeout,
    Stop,
)
from palaver.actors.runtime.observer import shorten
from palaver.actors.thespian import creation
from palaver.actors.thespian.address import ActorMessage, Address, Asker, RemoteActor, pid_of
from palaver.actors.thespian.face import ThespianFace
from palaver.actors.thespian.status import actor_status
from palaver.actors.thespian.system import ThespianSystem

__all__ = ["CHECK_CAPABILITIES", "ActorProcess", "Due"]

log = structlog.get_logger("palaver.actors.thespian")

CHILDREN_S: Final = 5.0
"""How long an actor that exits waits for its children to exit before it; then it ends them."""

CHECK_CAPABILITIES: Final = object()
"""A message: the capabilities have changed."""

ABRUPT: Final = object()
"""In the place of an exit request: the actor called `sys.exit`, and is not asked again."""


class Due:
    """A wake-up that an actor has asked for; the message of its timer."""

    __slots__ = ("deadline_s", "payload", "period")

    def __init__(self, deadline_s: float, period: Any, payload: Any) -> None:
        self.deadline_s = deadline_s
        self.period = period
        self.payload = payload


class ActorProcess(ThespianFace, GenServer):
    """A Thespian actor as a process: `ActorProcess(system, actor_class)` in a `ChildSpec`, say.

    Actors and their children are linked: whatever ends a parent ends its children. A
    `receiveMessage` that fails is tried once more, then the sender gets a `PoisonMessage`; it does
    not end the actor. `ActorExitRequest` and `sys.exit` do, exit signals do, and a `Supervisor`
    that is its parent does, as with any process.
    """

    __slots__ = (
        "_address",
        "actor",
        "children",
        "global_name",
        "leaving",
        "parent_address",
        "requirements",
        "source_hash",
        "system",
        "threaded",
        "wakeups",
        "watched",
    )

    # The actor itself; None if it could not be made.
    actor: Any
    # By what their addresses lead to; None until there is one.
    children: dict[Pid | RemoteActor, Address] | None
    # The request that it exits by, with its sender.
    leaving: tuple[ActorExitRequest, ActorAddress] | object | None
    # Whether `receiveMessage` runs in a thread now.
    threaded: bool
    wakeups: dict[Due, None] | None
    # The file numbers of the `ThespianWatch` that it returned last.
    watched: set[int] | None

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
        self.global_name = self.source_hash = None
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
        self.global_name = global_name
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
            return self.take(message.message, message.sender)
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
        kind = type(self.actor)
        if kind in system.blocking:
            return self.take_in_thread(message, sender)
        began_s = system.monotonic()
        result = self.attempt(message, sender)
        if system.monotonic() - began_s >= system.blocking_s:
            system.blocking.add(kind)
            log.info("actors of this class hold up the node: from now on in threads", actor=kind)
        return result

    async def take_in_thread(self, message: Any, sender: ActorAddress) -> Any:
        """Let the actor handle a message in a thread; no other message until it has."""
        self.threaded = True
        result = await self.run_blocking(self.attempt, message, sender)
        # Not in a `finally`: if the process is killed, the thread goes on, and is still one.
        self.threaded = False
        return result

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
            if isinstance(pid, Pid) and self.node.is_alive(pid):
                self.send(pid, ActorMessage(message, self.address))
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
        if filenos != (self.watched or set()):
            self.in_loop(self.watch_files, filenos)

    def watch_files(self, filenos: set[int]) -> None:
        """See `watch`."""
        for fileno in (self.watched or set()) - filenos:
            self.system.loop.remove_reader(fileno)
        for fileno in filenos - (self.watched or set()):
            self.system.loop.add_reader(fileno, self.file_ready, fileno)
        self.watched = filenos or None

    def file_ready(self, fileno: int) -> None:
        """A watched file can be read, or has come to its end; called by the event loop."""
        self.system.loop.remove_reader(fileno)
        if self.watched is not None:
            self.watched.discard(fileno)
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

    # -- children -----------------------------------------------------------------------------

    def create_child(
        self, actor_class: Any, requirements: Any, global_name: str | None, source_hash: str | None
    ) -> Address:
        """Create an actor whose parent is this one; its address, before it has begun.

        Whatever prevents it comes as a `ChildActorExited`; what is sent to it until then comes back
        as a `PoisonMessage`.
        """
        system = self.system
        found = system.find_name(global_name)
        if found is not None:
            return found
        source_hash = source_hash or self.source_hash
        try:
            where, kind = system.place(actor_class, requirements, source_hash)
        except Exception as error:  # noqa: BLE001 - the user's class, its modules, its check
            return self.refuse_child(error)
        if where is system:
            pid = self.spawn_link(
                ActorProcess,
                system,
                kind,
                requirements,
                source_hash=source_hash,
                global_name=global_name,
                parent_address=self.address,
                lenient=True,
            )
            address = Address(pid, system)
        else:
            address = where.adopt(kind, requirements, source_hash, global_name, self.address)
            system.process.take_along(self.pid, address)
        if global_name is not None:
            where.names[global_name] = address
        if self.children is None:
            self.children = {}
        self.children[address.addressDetails] = address
        return address

    def refuse_child(self, error: Exception) -> Address:
        """The address of an actor that cannot be."""
        log.warning("actor not created", parent=str(self.address), reason=str(error))
        address = Address(RemoteActor(0, str(error) or type(error).__name__), self.system)
        self.send(self.pid, ActorMessage(ChildActorExited(address), self.system.address))
        return address

    def forget_child(self, address: ActorAddress) -> None:
        """A child has exited; it may be one of another system."""
        details = address.addressDetails
        if isinstance(details, RemoteActor):
            details.refused = None
        if self.children is not None:
            self.children.pop(details, None)

    def linked_exit(self, message: Exit) -> Any:
        """A linked process has exited: a child, or one that wants this actor to exit as well."""
        sender = message.sender
        child = None
        if self.children is not None and sender is not None:
            child = self.children.get(sender)
        if child is not None:
            return self.take(ChildActorExited(child), self.system.address)
        return None if message.reason is NORMAL else Stop(message.reason)

    def check_capabilities(self) -> None:
        """Exit, unless this actor still fits; let the children look as well."""
        system = self.system
        if not creation.fits(type(self.actor), system.capabilities, self.requirements):
            self.send(self.pid, ActorMessage(ActorExitRequest(), system.address))
        for child in self.children or ():
            if isinstance(child, Pid):
                self.send(child, CHECK_CAPABILITIES)

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
            if type(self.actor) in system.blocking:
                self.threaded = True
                await self.run_blocking(self.say_goodbye, request, sender)
                self.threaded = False
            else:
                self.say_goodbye(request, sender)
            recursive = request.isRecursive
        self.watch_files(set())
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

    async def end_children(
        self, children: dict[Pid | RemoteActor, Address], recursive: bool
    ) -> None:
        """Ask the children to exit and wait for them; or leave them to themselves."""
        pids = [child for child in children if isinstance(child, Pid)]
        if not recursive:
            self.system.process.let_go(list(children.values()))
            for pid in pids:
                self.unlink(pid)
            return
        for pid in pids:
            self.send(pid, ActorMessage(ActorExitRequest(), self.system.address))
        await self.join(pids, timeout_s=CHILDREN_S)

    async def return_mail(self) -> None:
        """What came too late goes to whoever handles dead letters."""
        while True:
            try:
                message = await self.receive(timeout_s=0)
            except ReceiveTimeout:
                return
            if type(message) is ActorMessage:
                self.system.dead_letter(self.address, message.message, message.sender)
