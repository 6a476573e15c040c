"""A Thespian actor system on a node: where its actors live, what they share, how they are reached.

    async with Node() as node:
        system = await ThespianSystem.start(node)
        greeter = await system.create_actor(Greeter)
        print(await system.ask(greeter, "hello"))

`SystemBase` is the same for programs without asyncio.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog
from thespian.actors import (
    ActorAddress,
    ActorSystemConventionUpdate,
    ChildActorExited,
    DeadEnvelope,
    PoisonMessage,
    ThespianGeneration,
)

from palaver.actors.runtime import (
    SHUTDOWN,
    CallTimeout,
    Crash,
    MailboxFull,
    Node,
    NodeStopped,
    Pid,
    StartError,
)
from palaver.actors.thespian import creation
from palaver.actors.thespian.address import ActorMessage, Address, Asker, RemoteActor
from palaver.actors.thespian.blocking import Blocking
from palaver.actors.thespian.convention import LocalNetwork, port_of
from palaver.actors.thespian.inbox import Inbox
from palaver.actors.thespian.outside import Outside
from palaver.actors.thespian.placing import ALLOWS_SOURCES
from palaver.actors.thespian.sources import Sources

if TYPE_CHECKING:
    from palaver.actors.thespian.system_process import SystemProcess

__all__ = ["BLOCKING_S", "ThespianSystem"]

log = structlog.get_logger("palaver.actors.thespian")

BLOCKING_S: Final = 0.03
"""An actor whose `receiveMessage` took longer than this is handled in threads from then on."""


class ThespianSystem:
    """Thespian actors as processes of a `Node`.

    The methods are for the thread of the node's event loop, except `post` and `run_soon`, which
    are for any. Messages are passed by reference, never copied: an actor does not change what it
    has sent.

    Args:
        node: Where its actors run. It may have other processes and other systems too.
        capabilities: What `actorSystemCapabilityCheck` and `@requireCapability` ask for. With an
            `Admin Port`, the system can be in a convention: see `LocalNetwork`.
        network: The other systems that it may meet; none if None.
        blocking_s: An actor whose `receiveMessage` took longer than this has held up the whole
            node. From then on the actors of its class are handled in the node's threads (there
            are `Node(max_threads=...)` of them). None: never. See `blocking`.
    """

    def __init__(
        self,
        node: Node,
        *,
        capabilities: Mapping[str, Any] | None = None,
        network: LocalNetwork | None = None,
        blocking_s: float | None = BLOCKING_S,
    ) -> None:
        self.node = node
        self.monotonic = node.clock.monotonic
        self.is_alive = node.is_alive  # kept, as the clock's function: they are asked per message
        self.network = network or LocalNetwork()
        self.capabilities: Mapping[str, Any] = {**self._own_capabilities(), **(capabilities or {})}
        self.port = port_of(self.capabilities.get("Admin Port"))
        where = f"127.0.0.1:{self.port}" if self.port else node.name.replace("@", "-")
        self.label = f"(P|{where})"
        self.blocking = Blocking(blocking_s)
        self.maker = creation.Maker()
        self.names: dict[str, Address] = {}
        self.sources = Sources(self.tell)
        self.dead_letter_handler: Address | None = None
        self.convention_watchers: dict[Address, None] = {}
        self._process: SystemProcess | None = None
        self._address: Address | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: Inbox | None = None
        self._outsides: dict[Outside, None] = {}
        self._adopted_total = 0

    @classmethod
    async def start(
        cls,
        node: Node,
        *,
        capabilities: Mapping[str, Any] | None = None,
        network: LocalNetwork | None = None,
        blocking_s: float | None = BLOCKING_S,
    ) -> ThespianSystem:
        """A system that runs; raises `ActorSystemStartupFailure` if its port is taken.

        Under a supervisor, make a `ThespianSystem` and let `SystemProcess` be the child, with it as
        the argument.
        """
        from palaver.actors.thespian.system_process import SystemProcess

        system = cls(node, capabilities=capabilities, network=network, blocking_s=blocking_s)
        try:
            await node.start_server(SystemProcess, system)
        except StartError as error:
            raise (error.reason.exception if isinstance(error.reason, Crash) else error) from None
        return system

    async def stop(self) -> None:
        """Send every actor an `ActorExitRequest`, and wait until all have exited."""
        self.request_stop()
        await self.node.wait(self.pid)

    def request_stop(self) -> None:
        """Begin to stop, and do not wait."""
        self.node.exit(self.pid, SHUTDOWN)

    # -- who and where ------------------------------------------------------------------------

    @property
    def process(self) -> SystemProcess:
        """The process that is the parent of all actors that no actor has created."""
        if self._process is None:
            raise NodeStopped("the actor system has not been started")
        return self._process

    @property
    def pid(self) -> Pid:
        """The pid of that process: monitor it to hear of the end of the system."""
        return self.process.pid

    @property
    def address(self) -> Address:
        """The address of the system itself: the sender of what the system says."""
        if self._address is None:
            raise NodeStopped("the actor system has not been started")
        return self._address

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the node."""
        if self._loop is None:
            raise NodeStopped("the actor system has not been started")
        return self._loop

    def address_of(self, pid: Pid) -> Address:
        """The address under which actors reach a process of this node, actor or not.

        What an actor sends to a `GenServer` arrives in `handle_info` as an `ActorMessage`.
        """
        adopted = self.process.adopted.get(pid)
        return Address(pid, self) if adopted is None else adopted.address

    # -- messages -----------------------------------------------------------------------------

    def tell(self, target: ActorAddress, message: Any) -> None:
        """Send a message; an answer to it reaches nobody."""
        self.deliver(target, message, self.address)

    async def ask(
        self, target: ActorAddress, message: Any, *, timeout_s: float | None = 5.0
    ) -> Any:
        """Send a message; the first one that is sent back.

        Unlike Thespian's `ask`, only an answer to *this* message counts. Raises `CallTimeout`, and,
        if the actor is of this system, what `Node.call` raises when there is no such actor or it
        exits. A `PoisonMessage` is an answer.
        """
        details = target.addressDetails
        if isinstance(target, Address) and target.system is self and isinstance(details, Pid):
            return await self.node.call(details, message, timeout_s=timeout_s)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def put(answer: Any) -> None:
            if not future.done():
                future.set_result(answer)

        self.deliver(target, message, Address(Asker(put), self))
        try:
            return await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            assert timeout_s is not None
            raise CallTimeout(timeout_s) from None

    def deliver(self, target: ActorAddress, message: Any, sender: Address) -> None:
        """Bring a message to where it is addressed; a dead letter if there is nobody."""
        if not isinstance(target, Address):
            self.dead_letter(target, message, sender)
            return
        details = target.addressDetails
        if isinstance(details, Outside):
            details.put(message)
            return
        if target.system is not self:
            if not target.system.post(target, message, sender):
                self.dead_letter(target, message, sender)
            return
        if isinstance(details, Asker):
            details.put(message)
            return
        pid = details.pid if isinstance(details, RemoteActor) else details
        if pid is not None and self.node.is_alive(pid):
            try:
                self.node.send(pid, ActorMessage(message, sender))
            except MailboxFull as error:
                log.debug("message lost", target=str(target), reason=str(error))
            return
        refused = details.refused if isinstance(details, RemoteActor) else None
        if refused is not None and not isinstance(message, PoisonMessage | ChildActorExited):
            self.deliver(sender, PoisonMessage(message, refused), self.address)
        else:
            self.dead_letter(target, message, sender)

    def dead_letter(self, target: ActorAddress, message: Any, sender: Address) -> None:
        """There is nobody at `target`: give the message to the actor that handles dead letters."""
        handler = self.dead_letter_handler
        if handler is None or isinstance(message, DeadEnvelope | ChildActorExited):
            return
        if target != handler:
            self.deliver(handler, DeadEnvelope(target, message), sender)

    def post(self, target: ActorAddress, message: Any, sender: Address) -> bool:
        """`deliver`, from any thread; False if the node's loop has ended."""
        return self.run_soon(self.deliver, target, message, sender)

    def run_soon(self, call: Callable[..., object], *args: Any) -> bool:
        """Make a call in the loop's thread, from any thread; False if the loop has ended."""
        return self._inbox is not None and self._inbox.run_soon(call, *args)

    @property
    def inbox(self) -> Inbox:
        """What other threads want done in the loop's."""
        if self._inbox is None:
            raise NodeStopped("the actor system has not been started")
        return self._inbox

    def open_outside(self, name: str) -> Address:
        """An address for the program outside: what is sent to it is waited for with `listen`."""
        outside = Outside(name)
        self._outsides[outside] = None
        return Address(outside, self)

    def close_outside(self, outside: Outside) -> None:
        """Nobody listens there any more."""
        self._outsides.pop(outside, None)
        outside.close()

    # -- actors -------------------------------------------------------------------------------

    async def create_actor(
        self,
        actor_class: Any,
        requirements: Any = None,
        *,
        global_name: str | None = None,
        source_hash: str | None = None,
    ) -> Address:
        """A new actor without a parent, here or, if it does not fit here, in a system that fits.

        Raises what its `__init__` raises; `NoCompatibleSystemForActor`,
        `InvalidActorSpecification`, `InvalidActorSourceHash` or `ImportError`. If there is an actor
        with this global name, it is the answer, whatever its class.
        """
        from palaver.actors.thespian.system_process import CreateActor

        request = CreateActor(actor_class, requirements, global_name, source_hash)
        address: Address = await self.node.call(self.pid, request, timeout_s=None)
        return address

    def find_name(self, name: str | None) -> Address | None:
        """The living actor with this global name, here or elsewhere in the convention."""
        if name is None:
            return None
        for system in [self, *self.network.peers(self)]:
            found = system.names.get(name)
            if found is not None and system.is_there(found):
                return found
        return None

    def is_there(self, address: Address) -> bool:
        """Whether an actor of this system has not exited; one that is about to begin has not."""
        details = address.addressDetails
        pid = details.pid if isinstance(details, RemoteActor) else details
        return pid is None or self.node.is_alive(pid)

    def adopt(
        self,
        actor_class: type[Any],
        requirements: Any,
        source_hash: str | None,
        global_name: str | None,
        parent: Address,
    ) -> Address:
        """Create an actor for another system, from whose thread this is called."""
        self._adopted_total += 1  # only for show: two threads may count as one
        address = Address(RemoteActor(self._adopted_total), self)
        if source_hash is not None and source_hash not in self.sources.zips:
            self.sources.zips[source_hash] = parent.system.sources.zips[source_hash]
        self.run_soon(
            self.process.adopt, address, actor_class, requirements, source_hash, global_name, parent
        )
        return address

    # -- what actors share ----------------------------------------------------------------------

    def update_capability(self, name: str, value: Any = None) -> None:
        """Set a capability, or remove it if `value` is None.

        Actors that no longer fit get an `ActorExitRequest`.
        """
        if self.capabilities.get(name) == value:
            return
        changed = {key: old for key, old in self.capabilities.items() if key != name}
        if value is not None:
            changed[name] = value
        self.capabilities = changed  # replaced, not changed: other threads read it
        self.process.check_capabilities()

    def handle_dead_letters(self, address: Address, enable: bool) -> None:
        """Make an actor the one that gets dead letters; or no more, if it was the one."""
        if enable:
            self.dead_letter_handler = address
        elif self.dead_letter_handler == address:
            self.dead_letter_handler = None

    def watch_convention(self, address: Address, enable: bool) -> None:
        """Tell an actor which systems come and go; at first, which are there."""
        if not enable:
            self.convention_watchers.pop(address, None)
            return
        self.convention_watchers[address] = None
        for peer in self.network.peers(self):
            self.tell(address, ActorSystemConventionUpdate(peer.address, peer.capabilities, True))

    def convention_changed(self, peer: ThespianSystem, added: bool) -> None:
        """Another system has come or gone; called from any thread."""
        update = ActorSystemConventionUpdate(peer.address, dict(peer.capabilities), added)
        self.run_soon(self._tell_watchers, update)

    def unload_source(self, source_hash: str) -> None:
        """Forget a source, here and in the convention; actors that run it go on."""
        for system in [self, *self.network.peers(self)]:
            if system.sources.zips.pop(source_hash, None) is not None:
                if system is self:
                    self.sources.unloaded(source_hash)
                else:
                    system.run_soon(system.sources.unloaded, source_hash)

    def _tell_watchers(self, update: ActorSystemConventionUpdate) -> None:
        for watcher in list(self.convention_watchers):
            self.tell(watcher, update)

    # -- for the processes of the system ------------------------------------------------------

    def begin(self, process: SystemProcess) -> None:
        """The system's process runs, perhaps anew: the one before it may have been killed."""
        self.end()
        self._process = process
        self._address = Address(process.pid, self)
        if self._inbox is None:
            self._loop = asyncio.get_running_loop()
            self._inbox = Inbox(self._loop)
        self.network.join(self)

    def end(self) -> None:
        """The system's process has ended: nobody waits for it, nothing of it stays."""
        self.network.leave(self)
        for outside in list(self._outsides):
            self.close_outside(outside)
        self.sources.close()
        self.names.clear()
        self.convention_watchers.clear()
        self.dead_letter_handler = None

    def forget(self, address: Address, global_name: str | None, source_hash: str | None) -> None:
        """An actor exits: it handles and watches nothing more."""
        self.handle_dead_letters(address, False)
        self.convention_watchers.pop(address, None)
        self.sources.watchers.pop(address, None)
        if self.sources.authority == address:
            self.sources.authority = None
        if global_name is not None and self.names.get(global_name) == address:
            del self.names[global_name]
        if source_hash is not None:
            self.sources.release(source_hash)

    def _own_capabilities(self) -> dict[str, Any]:
        return {
            "Python Version": tuple(sys.version_info),
            "Thespian Generation": ThespianGeneration,
            "Thespian Version": str(self.node.clock.time_ms()),
            "Thespian ActorSystem Name": "palaverBase",
            "Thespian ActorSystem Version": 1,
            "Thespian Watch Supported": True,
            ALLOWS_SOURCES: "Yes",
        }
