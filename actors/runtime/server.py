"""What a `GenServer` process does beside the usual: see `Scheduler.turns` for the loop itself."""

from __future__ import annotations

from types import CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final, cast

from palaver.actors.runtime.calls import From
from palaver.actors.runtime.errors import BadReturn, ExitProcess
from palaver.actors.runtime.lifecycle import finish
from palaver.actors.runtime.mailbox import (
    CONTINUE,
    INFO,
    INIT,
    SIGNAL,
    STOP,
    TERMINATE,
    Item,
    Tag,
)
from palaver.actors.runtime.messages import (
    NOREPLY,
    TIMEOUT,
    Continue,
    Hibernate,
    Ignore,
    Reply,
    Stop,
    Timeout,
)
from palaver.actors.runtime.parking import FROZEN, SUSPENDED
from palaver.actors.runtime.process import ALIVE, Process
from palaver.actors.runtime.reasons import NORMAL, Crash, is_abnormal

if TYPE_CHECKING:
    from palaver.actors.runtime.gen_server import GenServer

__all__ = ["ServerProcess"]

COROUTINES: Final = frozenset({CoroutineType, GeneratorType})
THEN: Final = frozenset({Continue, Timeout, Hibernate})


class ServerProcess(Process):
    """A process whose context is a `GenServer`."""

    __slots__ = ()

    obeys_parent = True

    @property
    def server(self) -> GenServer:
        """The instance that handles the messages."""
        return cast("GenServer", self.context)

    @property
    def label(self) -> str:
        """The server's class."""
        kind = type(self.context)
        return f"{kind.__module__}.{kind.__qualname__}"

    # -- turns that are not usual ones ------------------------------------------------------------

    def turn(self) -> list[Item] | None:
        """See to what is unusual; the messages that are left for the usual way, if any."""
        if self.exiting is not ALIVE:
            finish(self, self.exiting)
            return None
        if self.held and not self.is_stopping():
            self.wait = SUSPENDED
            return None
        if self.idle is not None:
            self.scheduler.timers.cancel(self.idle)
            self.idle = None
        if self.coroutine is not None:
            if not self.resume_handler():
                return None
            if (
                self.held or self.exiting is not ALIVE or not (self.backlog or self.mailbox)
            ):  # `leave` sees to it
                self.leave()
                return None
        if self.inspection is not None or self.limit is not None:
            self.one_by_one()
            return None
        return self.batch()

    def batch(self) -> list[Item]:
        """At most `budget` items of the backlog, or of the mailbox."""
        backlog = self.backlog
        size = self.budget
        if not backlog:
            mailbox = self.mailbox
            assert isinstance(mailbox, list)
            backlog = mailbox
            self.mailbox = []
            if len(backlog) <= size:
                self.backlog = None
                self.fast = self.context
                return backlog
            backlog.reverse()
            self.backlog = backlog
        self.fast = None
        batch = backlog[: -size - 1 : -1]
        del backlog[-size:]
        if not backlog:
            self.backlog = None
            self.fast = self.context
        return batch

    def one_by_one(self) -> None:
        """Handle up to `budget` items, seeing to what is unusual after each."""
        item: Item | None = None
        inspection = self.inspection
        try:
            for _ in range(self.budget):
                item = self.take() if inspection is None else inspection.take(self)
                if item is None:
                    break
                self.reductions += 1
                if not self.handle(*item):
                    return
                if self.held or self.exiting is not ALIVE:
                    break
                if self.inspection is not inspection:  # `sys` has begun or ended
                    break
        except BaseException as error:
            message, tag = (None, None) if item is None else item
            self.crash(error, message, tag)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            return
        self.leave()

    def handle(self, message: Any, tag: Tag | From | None) -> bool:
        """Handle one item, whatever it is; whether the turn goes on."""
        server = self.server
        if tag is None:
            result = server.handle_cast(message)
        elif tag is INFO or tag is SIGNAL:
            result = server.handle_info(message)
        elif tag is CONTINUE:
            result = server.handle_continue(message)
        elif isinstance(tag, Tag):
            return self.control(message, tag)
        else:
            result = server.handle_call(message, tag)
        inspection = self.inspection
        if inspection is not None and inspection.lookers:
            result = inspection.watch(self, message, tag, result)
        return self.settle(result, message, tag)

    def control(self, message: Any, tag: Tag) -> bool:
        """Handle what is no message of a user's; whether the turn goes on."""
        context: Any = self.context
        if tag is INIT:
            args, options = message
            return self.settle(context.init(*args, **options), message, tag)
        if tag is CONTINUE:
            return self.settle(context.handle_continue(message), message, tag)
        if tag is STOP:
            self.scheduler.dying -= 1
            self.stop(message)
            return False
        message(self)  # SYSTEM
        return True

    def leave(self) -> None:
        """End a turn in which something unusual came up."""
        if self.exiting is not ALIVE or self.is_stopping():
            self.scheduler.enqueue(self)
        elif self.held:
            self.wait = SUSPENDED
        elif self.is_frozen():
            self.wait = FROZEN
        elif self.backlog or self.mailbox:
            self.scheduler.enqueue(self)
        else:
            self.backlog = self.mailbox = None
            if self.inspection is None and self.limit is None and self.idle is None:
                self.fast = self.context

    def is_stopping(self) -> bool:
        """Whether its parent has ended it; it goes on to `terminate` even if it is held."""
        backlog = self.backlog
        return backlog is not None and len(backlog) > 0 and backlog[-1][1] is STOP

    def is_frozen(self) -> bool:
        """Whether `sys` has suspended it, and has nothing to ask now."""
        inspection = self.inspection
        return inspection is not None and inspection.suspended and not inspection.has_control(self)

    def settle(self, result: Any, message: Any, tag: Tag | From | None) -> bool:
        """Do what a handler returned; whether the turn goes on."""
        kind = type(result)
        if kind in COROUTINES:
            self.coroutine = result
            self.current = (message, tag)
            self.resume = None
            return self.drive() and self.handler_done(message, tag)
        if kind is Stop:
            self.settle_stop(result, message, tag)
            return False
        if isinstance(tag, From):
            if kind is Reply:
                tag.deliver(result.value)
                self.settle_next(result.then, message, tag)
            elif result is NOREPLY:
                self.promise(tag)
            elif kind in THEN:  # the reply comes later: OTP's `{noreply, State, {continue, Arg}}`
                self.promise(tag)
                self.settle_next(result, message, tag)
            else:
                tag.deliver(result)
            return True
        if kind is Ignore and tag is INIT:
            self.current = (result, INIT)
            finish(self, NORMAL)
            return False
        if result is not None:
            self.settle_next(result, message, tag)
        if self.starter is not None:
            starter, self.starter = self.starter, None
            starter.deliver(self.pid)
        return True

    def settle_next(self, then: Any, message: Any, tag: Tag | From | None) -> None:
        """Do what is to come after the message."""
        kind = type(then)
        if kind is Continue:
            self.put_first((then.arg, CONTINUE))
        elif kind is Timeout:
            self.await_silence(then.after_s)
        elif kind is Hibernate:
            self.hibernate()
        elif then is not None:
            raise BadReturn(f"{self.label} returned {then!r} from handling {message!r}")

    def await_silence(self, after_s: float) -> None:
        """Handle `TIMEOUT` if no message comes within `after_s`."""
        if self.scheduler.current is self:
            self.put_back(self.scheduler.rest)
        if self.backlog or self.mailbox:
            return  # one is here already
        if after_s <= 0:
            self.put_first((TIMEOUT, INFO))
            return

        def ring() -> None:
            if self.idle is timer:
                self.idle = None
                if self.mailbox is None:
                    self.activate((TIMEOUT, INFO))

        self.fast = None  # so that the next message comes by `turn`, which cancels the timer
        self.idle = timer = self.scheduler.timers.add(after_s, ring)

    def hibernate(self) -> None:
        """Free what the process does not need while nothing happens."""
        if not self.links:
            self.links = None
        if not self.monitors:
            self.monitors = None
        if not self.watchers:
            self.watchers = None
        if not self.pending:
            self.pending = None
        if not self.names:
            self.names = None

    def settle_stop(self, stop: Stop, message: Any, tag: Tag | From | None) -> None:
        """A handler returned `Stop`."""
        if tag is INIT:
            finish(self, stop.reason)
            return
        if is_abnormal(stop.reason):
            self.scheduler.node.report_crash(self, stop.reason, (message, tag))
        if isinstance(tag, From):
            self.stop(stop.reason, tag, stop.reply)
        else:
            self.stop(stop.reason)

    def resume_handler(self) -> bool:
        """Go on with the parked handler; whether it is done and the turn goes on."""
        assert self.current is not None
        message, tag = self.current
        try:
            return self.drive() and self.handler_done(message, tag)
        except BaseException as error:
            self.crash(error, message, tag)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            return False

    def handler_done(self, message: Any, tag: Tag | From | None) -> bool:
        """A handler that was a coroutine has ended; whether the turn goes on."""
        result, self.resume = self.resume, None
        if tag is TERMINATE:
            self.end()
            return False
        self.current = None
        if self.saved:  # the handler called `receive`
            self.saved.reverse()
            self.put_before(self.saved)
            self.saved = None
            self.fast = None
        return self.settle(result, message, tag)

    # -- the end ------------------------------------------------------------------------------

    def crash(self, error: BaseException, message: Any, tag: Tag | From | None) -> None:
        """A handler raised: report it, run `terminate` (unless in `init`), exit."""
        if self.context is None:
            return  # `terminate` raised a KeyboardInterrupt, which is on its way out
        reason = error.reason if isinstance(error, ExitProcess) else Crash.at_handler(error)
        if is_abnormal(reason):
            self.scheduler.node.report_crash(self, reason, (message, tag))
        if isinstance(tag, From):
            self.promise(tag)  # so that it fails when the process exits
        if tag is INIT or tag is TERMINATE:
            self.current = None
            finish(self, reason)
        else:
            self.stop(reason)

    def stop(self, reason: object, call: From | None = None, reply: Any = NOREPLY) -> None:
        """Run `terminate`, then answer `call`, then exit."""
        if call is not None:
            self.promise(call)
        self.current = ((reason, call, reply), TERMINATE)
        try:
            result = self.server.terminate(reason)
        except BaseException as error:
            self.crash(error, reason, TERMINATE)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            return
        if type(result) in COROUTINES:
            self.coroutine = result
            self.resume_handler()
        else:
            self.end()

    def end(self) -> None:
        """`terminate` has run."""
        assert self.current is not None
        reason, call, reply = self.current[0]
        if call is not None and reply is not NOREPLY:
            call.deliver(reply)
        finish(self, reason)
