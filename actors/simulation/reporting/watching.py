"""Watching one run closely: each message, signal, link, spawn and exit is a line of its trace.

A run pays nothing for the possibility: the runtime's methods are replaced for the time of one run,
and put back. What is put in their place only tells, and calls the method: the schedule is the same,
and so is the trace's hash, of which these lines are no part.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from palaver.actors.distribution.addresses import Remote
from palaver.actors.runtime import GenServer, Node, Pid, ProcessContext
from palaver.actors.runtime.calls import From, RequestCall
from palaver.actors.runtime.lifecycle import Monitor
from palaver.actors.runtime.mailbox import INFO
from palaver.actors.runtime.observer import shorten
from palaver.actors.runtime.population import Population
from palaver.actors.runtime.process import Process
from palaver.actors.runtime.timers import Timers
from palaver.actors.simulation.reporting.labels import Labels
from palaver.actors.simulation.reporting.tree import TreeLine, trees
from palaver.actors.simulation.reporting.words import Words
from palaver.actors.simulation.world.run_queue import TapeQueue
from palaver.actors.simulation.world.tape import Address
from palaver.actors.simulation.world.transports import SimulatedTransport
from palaver.actors.simulation.world.world import World

if TYPE_CHECKING:
    from palaver.actors.runtime import CrashReport

__all__ = ["Watch"]

MAX_TEXT: Final = 400
"""Characters of a message's text."""

Wrap = Callable[..., Any]


class Watch:
    """What is to be seen of one run; given to `run` as `prepare`, within its own `with`.

        with Watch() as watch:
            outcome = run(scenario, source, prepare=watch.prepare)

    Args:
        secrets: Show the contents of messages to servers that define `format_status`, and states
            of those that do not; such servers have something to hide.

    Attributes:
        said: Each deviation in words.
        trees: The processes of each node, as they were when the run ended.
        crashes: The crash reports, in order.
    """

    def __init__(self, *, secrets: bool = False) -> None:
        self.said: dict[Address, str] = {}
        self.trees: dict[str, list[TreeLine]] = {}
        self.crashes: list[CrashReport] = []
        self.world: World | None = None
        self.labels = Labels()
        self._words = Words(self.labels)
        self._secrets = secrets
        self._firing = False
        self._replaced: list[tuple[type, str, Any]] = []

    def prepare(self, world: World) -> None:
        """Look at this world from now on."""
        self.world = self.labels.world = world
        before = world.tape.on_deviation

        def deviated(name: str, number: int, options: int, value: int) -> None:
            self.said[name, number] = self._words.of(world, name, options, value)
            if before is not None:
                before(name, number, options, value)

        world.tape.on_deviation = deviated

    # -- putting it in place ------------------------------------------------------------------

    def __enter__(self) -> Self:
        for owner, name, wrapper in (
            (ProcessContext, "send", self._send),
            (ProcessContext, "cast", self._cast),
            (ProcessContext, "call", self._call),
            (ProcessContext, "send_request", self._request),
            (ProcessContext, "link", self._link),
            (ProcessContext, "monitor", self._monitor),
            (Node, "_post", self._post),
            (Node, "call", self._outside_call),
            (RequestCall, "_respond", self._response),
            (Process, "exit_signal", self._exit_signal),
            (Monitor, "down", self._down),
            (Population, "start_process", self._start),
            (Population, "remove", self._remove),
            (Timers, "_fire", self._fire),
            (TapeQueue, "popleft", self._turn),
            (SimulatedTransport, "arrived", self._arrived),
            (World, "close", self._close),
        ):
            original = getattr(owner, name)
            self._replaced.append((owner, name, owner.__dict__[name]))
            setattr(owner, name, wrapper(original))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._replaced:
            owner, name, original = self._replaced.pop()
            setattr(owner, name, original)

    def _tell(self, kind: str, who: str, text: str, to: str | None = None) -> None:
        if self.world is not None:
            self.world.trace.tell(kind, who, text, to)

    # -- messages -----------------------------------------------------------------------------

    def _send(self, original: Wrap) -> Wrap:
        def send(context: ProcessContext, dest: Any, message: Any) -> None:
            self._message("send", context.process_, dest, message)
            original(context, dest, message)

        return send

    def _cast(self, original: Wrap) -> Wrap:
        def cast(context: ProcessContext, dest: Any, message: Any) -> None:
            self._message("cast", context.process_, dest, message)
            original(context, dest, message)

        return cast

    def _request(self, original: Wrap) -> Wrap:
        def send_request(context: ProcessContext, dest: Any, request: Any) -> Any:
            self._message("request", context.process_, dest, request)
            return original(context, dest, request)

        return send_request

    def _call(self, original: Wrap) -> Wrap:
        async def call(context: ProcessContext, dest: Any, request: Any, **options: Any) -> Any:
            who = self.labels.process(context.process_)
            whom, hidden = self._message("call", context.process_, dest, request)
            try:
                answer = await original(context, dest, request, **options)
            except Exception as error:
                self._tell("failed", whom, _of_error(error), who)
                raise
            self._tell("reply", whom, _shown(answer, hidden), who)
            return answer

        return call

    def _outside_call(self, original: Wrap) -> Wrap:
        async def call(node: Node, dest: Any, request: Any, **options: Any) -> Any:
            who = self.labels.host(node)
            whom, hidden = self._addressed(node, dest)
            self._tell("call", who, _shown(request, hidden), whom)
            try:
                answer = await original(node, dest, request, **options)
            except Exception as error:
                self._tell("failed", whom, _of_error(error), who)
                raise
            self._tell("reply", whom, _shown(answer, hidden), who)
            return answer

        return call

    def _post(self, original: Wrap) -> Wrap:
        def post(node: Node, dest: Any, item: Any) -> None:
            message, tag = item
            whom, hidden = self._addressed(node, dest)
            current = node.scheduler.current
            if current is not None:
                who = self.labels.process(current)
            elif self._firing:
                who = whom  # its own timer, as far as one can tell
            else:
                who = self.labels.host(node)
            kind = "timer" if self._firing else ("send" if tag is INFO else "cast")
            self._tell(kind, who, _shown(message, hidden), whom)
            original(node, dest, item)

        return post

    def _response(self, original: Wrap) -> Wrap:
        def respond(call: RequestCall, value: Any, error: BaseException | None) -> None:
            asker = call.asker
            if asker is not None:
                callee = None if call.callee is None else call.callee
                current = None
                if asker.process_ is not None:
                    current = callee or asker.process_.scheduler.current
                who = self.labels.process(current) if current else self.labels.pid(asker)
                hidden = current is not None and self._hides(current)
                text = _shown(value, hidden) if error is None else _of_error(error)
                self._tell("response", who, text, self.labels.pid(asker))
            original(call, value, error)

        return respond

    def _message(self, kind: str, sender: Process, dest: Any, message: Any) -> tuple[str, bool]:
        node = sender.scheduler.node
        whom, hidden = self._addressed(node, dest)
        lost = " (nobody is there)" if node.whereis(dest) is None else ""
        self._tell(kind, self.labels.process(sender), _shown(message, hidden) + lost, whom)
        return whom, hidden

    def _addressed(self, node: Node, dest: Any) -> tuple[str, bool]:
        """Whom a destination means, and whether what is said to it is hidden."""
        pid = node.whereis(dest)
        if pid is None:
            name = dest if isinstance(dest, str) else type(dest).__name__
            return f"{self.labels.host(node)}/{name}", not self._secrets
        process = pid.process_
        return self.labels.pid(pid), process is not None and self._hides(process)

    def _hides(self, process: Process) -> bool:
        if self._secrets:
            return False
        if isinstance(process, Remote):
            found = self.labels.behind(process)
            return found is None or _has_status(found)
        return _has_status(process)

    def _fire(self, original: Wrap) -> Wrap:
        def fire(timers: Timers) -> None:
            self._firing = True
            try:
                original(timers)
            finally:
                self._firing = False

        return fire

    # -- life and death -----------------------------------------------------------------------

    def _start(self, original: Wrap) -> Wrap:
        def start_process(node: Node, what: Any, *args: Any, **options: Any) -> Process:
            process: Process = original(node, what, *args, **options)
            parent = options.get("parent")
            who = self.labels.host(node) if parent is None else self.labels.process(parent)
            kind = "spawn_link" if options.get("linked") else "spawn"
            text = process.label.rpartition(".")[2]
            self._tell(kind, who, text, self.labels.process(process))
            return process

        return start_process

    def _remove(self, original: Wrap) -> Wrap:
        def remove(node: Node, process: Process) -> None:
            # `finish` has put the reason there.
            self._tell("exits", self.labels.process(process), shorten_reason(process.exiting))
            original(node, process)

        return remove

    def _link(self, original: Wrap) -> Wrap:
        def link(context: ProcessContext, pid: Pid) -> None:
            self._tell("link", self.labels.process(context.process_), "", self.labels.pid(pid))
            original(context, pid)

        return link

    def _monitor(self, original: Wrap) -> Wrap:
        def monitor(context: ProcessContext, dest: Any, **options: Any) -> Monitor:
            whom, _ = self._addressed(context.node, dest)
            self._tell("monitor", self.labels.process(context.process_), "", whom)
            ref: Monitor = original(context, dest, **options)
            return ref

        return monitor

    def _exit_signal(self, original: Wrap) -> Wrap:
        def exit_signal(
            process: Process, sender: Pid | None, reason: object, *, linked: bool
        ) -> None:
            whom = self.labels.process(process)
            host = self.labels.host(process.scheduler.node)
            who = host if sender is None else self.labels.pid(sender)
            text = shorten_reason(reason) + (" (linked)" if linked else "")
            self._tell("exit", who, text, whom)
            original(process, sender, reason, linked=linked)

        return exit_signal

    def _down(self, original: Wrap) -> Wrap:
        def down(monitor: Monitor, pid: Any, reason: object) -> None:
            if monitor.owner is not None:
                owner = self.labels.process(monitor.owner)
                who = self.labels.pid(pid) if isinstance(pid, Pid) else f"{pid} (nobody)"
                self._tell("down", who, shorten_reason(reason), owner)
            original(monitor, pid, reason)

        return down

    # -- the world ----------------------------------------------------------------------------

    def _turn(self, original: Wrap) -> Wrap:
        def popleft(queue: TapeQueue) -> Any:
            self._words.queue = queue
            try:
                return original(queue)
            finally:
                self._words.queue = None

        return popleft

    def _arrived(self, original: Wrap) -> Wrap:
        def arrived(end: SimulatedTransport, piece: bytes) -> None:
            text = f"{len(piece):,} bytes" if piece else "end of stream"
            self._tell("bytes", end.peer.place.name, text, end.place.name)
            original(end, piece)

        return arrived

    def _close(self, original: Wrap) -> Wrap:
        def close(world: World) -> None:
            if world is self.world:
                self.trees = trees(world, self.labels, secrets=self._secrets)
                self.crashes = [one for host in world.hosts.values() for one in host.crashes]
                self.world = None  # what is closed now says nothing any more
            original(world)

        return close


def _has_status(process: Process) -> bool:
    kind = type(process.context)
    return isinstance(process.context, GenServer) and (
        kind.format_status is not GenServer.format_status  # type: ignore[union-attr]
    )


def _shown(message: object, hidden: bool) -> str:
    """A message's text; of one that is hidden only what kind of message it is."""
    if not hidden:
        return shorten(message, MAX_TEXT)
    if isinstance(message, tuple) and message and isinstance(message[0], str):
        return f"({shorten(message[0], 40)}, …)" if len(message) > 1 else shorten(message, 40)
    if message is None or isinstance(message, bool):
        return repr(message)
    return f"<{type(message).__name__}>"


def _of_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {shorten_reason(error)}"


def shorten_reason(reason: object) -> str:
    """A reason as OTP prints it, in one line."""
    if isinstance(reason, From):
        return type(reason).__name__
    try:
        text = str(reason)
    except Exception as error:  # noqa: BLE001 - a report must not fail on what it reports
        text = f"<{type(reason).__name__} whose str raises {type(error).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
