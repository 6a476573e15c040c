"""`GenStatem`: a server whose reaction depends on its state; after OTP's gen_statem.

    class Door(GenStatem[str, str]):
        def init(self, code: str) -> NextState[str, str]:
            return NextState("locked", data=code)

        def locked(self, event: Event, content: object) -> Transition:
            if event == "cast" and content == self.data:
                return NextState("open", StateTimeout(10, "lock"))
            return POSTPONE if content == "push" else None

        def open(self, event: Event, content: object) -> Transition:
            return NextState("locked") if event == "state_timeout" else None

The order of events is that of the gen_statem of OTP 25, event for event:

* A transition happens when the callback has returned: the enter call of a new state is made; what
  was postponed goes before what is queued; events inserted by `NextEvent` go before that, in their
  order.
* Queued events are handled before the timeouts of 0 s, those before anything in the mailbox.
* Any event stops a running event timeout, a change of state a running state timeout. A timeout that
  is stopped or started anew never brings its old event, even if that is in the mailbox already.

See https://www.erlang.org/doc/apps/stdlib/gen_statem.html.
"""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Callable
from types import CoroutineType, GeneratorType
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar, cast

from palaver.actors.behaviours.statem_change import Change, Queued, method_of
from palaver.actors.behaviours.statem_timers import StatemTimer, StatemTimers
from palaver.actors.behaviours.transitions import (
    SAME,
    Event,
    KeepState,
    NextEvent,
    NextState,
    Postpone,
    RepeatState,
    ReplyTo,
    StopAndReply,
    TimeoutAction,
    Transition,
)
from palaver.actors.runtime import (
    HIBERNATE,
    NOREPLY,
    BadReturn,
    Continue,
    ExitProcess,
    From,
    GenServer,
    Hibernate,
    Ignore,
    Overflow,
    Response,
    Stop,
)

__all__ = ["GenStatem"]

S = TypeVar("S")
D = TypeVar("D")

COROUTINES: Final = frozenset({CoroutineType, GeneratorType})
ACTIONS: Final = (ReplyTo, NextEvent, TimeoutAction, Postpone, Hibernate)
PLAIN: Final = frozenset({bool, bytes, dict, float, int, list, str, tuple, type(None)})

BURST: Final = 32
"""Queued events handled in one go; then the other processes have their turn."""


class GenStatem(GenServer, Generic[S, D]):
    """The base of state machines with states of the type `S` and data of the type `D`.

    By default (``state_functions``) each state has a method, called with each event and its
    content: the state is the method's name, or a member of an enumeration of strings (its value is
    the name), or of any other enumeration (its name in lower case is). With ``callback_mode =
    "handle_event_function"`` a state is anything, and `handle_event` gets every event.

    Callbacks may be plain or `async def`; what they may return says `transitions`. An exception in
    one ends the process.
    """

    __slots__ = (
        "_change",
        "_function",
        "_hibernates",
        "_postponed",
        "_queue",
        "_timers",
        "data",
        "state",
    )

    callback_mode: ClassVar[Literal["state_functions", "handle_event_function"]] = "state_functions"

    state_enter: ClassVar[bool] = False
    """Whether a new state's callback first gets the event ``enter``, with the old state.

    The first state gets it too, with itself as the old one. An enter call cannot change the state,
    postpone or insert events.
    """

    max_postponed: ClassVar[int | None] = None
    """How many events may be postponed; one more ends the process with `Overflow`. None: any."""

    state: S
    """The state; only a transition changes it."""

    data: D
    """What else the machine knows; a transition, or the callback itself, may change it."""

    def __init__(self) -> None:
        self._function = ""
        self._hibernates = False
        # What is not in use is None: an idle machine that does nothing special holds nothing.
        self._queue: deque[Queued] | None = None
        self._postponed: list[Queued] | None = None
        self._timers: StatemTimers | None = None
        self._change: Change | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "init" in cls.__dict__:
            cls.init = _starting(cls.__dict__["init"])  # type: ignore[method-assign]

    # -- to be overridden ---------------------------------------------------------------------

    def init(self, *args: Any, **options: Any) -> Any:
        """Return the first state, data and actions as `NextState(state, *actions, data=data)`.

        Or `Ignore()` or `Stop(reason)`. Who used `start_link` waits until this is done; the first
        enter call and events come after.
        """
        raise BadReturn(f"{type(self).__qualname__} has no init")

    def handle_event(self, event: Event, content: Any) -> Any:
        """Handle an event in the mode ``handle_event_function``; the state is `self.state`."""
        raise BadReturn(f"{type(self).__qualname__} has no handle_event, but got {event!r}")

    # -- for callbacks ------------------------------------------------------------------------

    def unexpected(self, event: Event, content: Any) -> Transition:
        """End the process because of an event that should not come: for the last line of a match.

        Raises `BadReturn`.
        """
        kind = "a call" if isinstance(event, From) else repr(event)
        raise BadReturn(
            f"{type(self).__qualname__} does not expect {kind} with {content!r} "
            f"in the state {self.state!r}"
        )

    # -- for `sys` ----------------------------------------------------------------------------

    def system_get_state(self) -> tuple[S, D]:
        """The state and the data: what OTP's `sys:get_state` shows of a gen_statem."""
        return self.state, self.data

    def system_replace_state(self, change: Callable[[Any], Any]) -> tuple[S, D]:
        """Put what `change` makes of (state, data) in their place, as OTP's `sys:replace_state`.

        That is no transition: nothing is entered, nothing postponed comes back. The state's
        callback is looked up again, which a change of `callback_mode` needs too.
        """
        state, data = change((self.state, self.data))
        self._function = self._function_of(state)
        self.state, self.data = state, data
        return state, data

    def system_code_change(self, old_version: Any, state: dict[str, Any], extra: Any) -> Any:
        """Call `code_change`, then look the state's callback up in the new class."""
        result = super().system_code_change(old_version, state, extra)
        self.system_replace_state(lambda pair: pair)
        return result

    # -- events -------------------------------------------------------------------------------

    def handle_cast(self, message: Any) -> Any:
        """An event of the type ``cast``."""
        # By name each time: a bound method kept here would tie the process into a cycle.
        result = getattr(self, self._function)("cast", message)
        if result is None and not self._timers:
            return None
        return self._run("cast", message, result, None)

    def handle_call(self, request: Any, from_: From) -> Any:
        """An event whose type is the call's `From`."""
        result = getattr(self, self._function)(from_, request)
        if type(result) is ReplyTo and not self._timers:
            value = result.value
            if result.from_ is from_ and type(value) in PLAIN:
                return value  # the shortest way; others the runtime might take for an instruction
            result.from_.deliver(value)
            return NOREPLY
        return self._run(from_, request, result, NOREPLY)

    def handle_info(self, message: Any) -> Any:
        """An event of the type ``info``, or one of the timeouts."""
        if type(message) is Response and type(message.ref) is StatemTimer:
            timer = message.ref
            if self._timers is None or not self._timers.take(timer):
                return None  # stopped or started anew while this was in the mailbox
            event, content = timer.kind, timer.content
            result = getattr(self, self._function)(event, content)
            return self._run(event, content, result, None)
        result = getattr(self, self._function)("info", message)
        if result is None and not self._timers:
            return None
        return self._run("info", message, result, None)

    def handle_continue(self, arg: Any) -> Any:
        """The machine has started: the first transition."""
        change = Change(self.state, "internal", None)
        for action in arg:
            self._do(action, change, "internal")
        change.postpone = False  # there is no event that could be
        if self.state_enter:
            self._change = change
        else:
            self._complete(change)
        upcoming = self._next()
        if upcoming is None:
            return None
        event, content = upcoming
        return self._run(event, content, getattr(self, self._function)(event, content), None)

    # -- the engine ---------------------------------------------------------------------------

    def _run(self, event: Event, content: Any, result: Any, done: Any) -> Any:
        """Do what a callback returned, then handle what is queued; `done` if it is all done."""
        for _ in range(BURST):
            if type(result) in COROUTINES:
                break
            stop = self._settle(event, content, result)
            if stop is not None:
                return stop
            upcoming = self._next()
            if upcoming is None:
                return self._hibernate(done) if self._hibernates else done
            event, content = upcoming
            result = getattr(self, self._function)(event, content)
        return self._run_parked(event, content, result, done)

    async def _run_parked(self, event: Event, content: Any, result: Any, done: Any) -> Any:
        """`_run`, for callbacks that are coroutines and for long queues."""
        handled = 0
        while True:
            if type(result) in COROUTINES:
                result = await result
            stop = self._settle(event, content, result)
            if stop is not None:
                return stop
            upcoming = self._next()
            if upcoming is None:
                return self._hibernate(done) if self._hibernates else done
            handled += 1
            if handled % BURST == 0:
                await self.sleep(0)
            event, content = upcoming
            result = getattr(self, self._function)(event, content)

    def _settle(self, event: Event, content: Any, result: Any) -> Stop | None:
        """Do what a callback returned for an event; what to return to the runtime if it ends."""
        change = self._change
        entering = event == "enter"
        if change is None:
            change = Change(self.state, event, content)
        kind = type(result)
        repeat = False
        if kind is NextState:
            if result.state != self.state:
                if entering:
                    raise BadReturn(f"{self._where()} cannot change the state in an enter call")
                self._function = self._function_of(result.state)
                self.state = result.state
                repeat = True
        elif kind is RepeatState:
            repeat = True
        elif kind is Stop or kind is StopAndReply:
            return self._stop(result, event)
        elif result is None:
            result = _KEEP
        elif kind is not KeepState:
            result = self._only_actions(result)
        if result.data is not SAME:
            self.data = result.data
        for action in result.actions:
            self._do(action, change, event)
        if repeat and self.state_enter:
            self._change = change
        else:
            self._change = None
            self._complete(change)
        return None

    def _only_actions(self, result: Any) -> KeepState[Any]:
        if isinstance(result, ACTIONS):
            return KeepState(result)
        if isinstance(result, (list, tuple)):
            return KeepState(*result)
        raise BadReturn(f"{self._where()} returned {result!r}, which is no transition")

    def _do(self, action: Any, change: Change, event: Event) -> None:
        """Do an action, or note it for when the transition is complete."""
        if type(action) is ReplyTo:
            action.from_.deliver(action.value)
        elif isinstance(action, TimeoutAction):
            if change.timeouts is None:
                change.timeouts = []
            change.timeouts.append(action)
        elif type(action) is Hibernate:
            self._hibernates = True
        elif event == "enter":
            raise BadReturn(f"{self._where()} cannot do {action!r} in an enter call")
        elif type(action) is NextEvent:
            if change.inserted is None:
                change.inserted = []
            change.inserted.append((action.kind, action.content))
        elif type(action) is Postpone:
            change.postpone = True
        else:
            raise BadReturn(f"{self._where()} returned {action!r}, which is no action")

    def _complete(self, change: Change) -> None:
        """The enter calls have been made: bring the queues and timeouts in order."""
        if change.postpone:
            self._postpone(change.event, change.content)
        timers = self._timers
        if change.old != self.state:
            postponed, self._postponed = self._postponed, None
            if postponed:
                self._put_first(postponed)
            if timers:
                timers.stop("state_timeout")
        if timers:
            timers.stop("timeout")
        if change.timeouts:
            if timers is None:
                self._timers = timers = StatemTimers(self.pid, self.node.timers)
            timers.start(change.timeouts)
        if change.inserted:
            self._put_first(change.inserted)

    def _put_first(self, events: list[Queued]) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.extendleft(reversed(events))

    def _postpone(self, event: Event, content: Any) -> None:
        if self._postponed is None:
            self._postponed = []
        limit = self.max_postponed
        if limit is not None and len(self._postponed) >= limit:
            raise ExitProcess(Overflow(limit))
        self._postponed.append((event, content))

    def _next(self) -> Queued | None:
        """What is to be handled before anything else is taken out of the mailbox."""
        if self._change is not None:
            return ("enter", self._change.old)
        if self._queue:
            return self._queue.popleft()
        if self._timers:
            timer = self._timers.take_zero()
            if timer is not None:
                return (timer.kind, timer.content)
        return None

    def _stop(self, result: Stop | StopAndReply[D], event: Event) -> Stop:
        if isinstance(result, StopAndReply):
            if result.data is not SAME:
                self.data = cast("D", result.data)
            for reply in result.replies:
                reply.from_.deliver(reply.value)
        elif result.reply is not NOREPLY:
            if not isinstance(event, From):
                raise BadReturn(f"{self._where()} returned {result!r}, but there is no call")
            event.deliver(result.reply)
        return Stop(result.reason)

    def _hibernate(self, done: Any) -> Any:
        """Free what is empty; `done`, or what lets the runtime do that too."""
        self._hibernates = False
        if not self._queue:
            self._queue = None
        if not self._timers:
            self._timers = None
        return HIBERNATE if done is None else done

    def _function_of(self, state: Any) -> str:
        """The name of the method that handles the events of a state."""
        if self.callback_mode == "handle_event_function":
            return "handle_event"
        return method_of(self, state, _TAKEN)

    def _where(self) -> str:
        return type(self).__qualname__

    def _begin(self, first: Any) -> Any:
        """What `init` returned, as the runtime wants it."""
        if type(first) is Ignore or type(first) is Stop:
            return first
        if not isinstance(first, NextState):
            raise BadReturn(f"{self._where()} returned {first!r} from init, not the first state")
        if first.data is SAME:
            if not hasattr(self, "data"):
                self.data = cast("D", None)
        else:
            self.data = cast("D", first.data)
        self._function = self._function_of(first.state)
        self.state = first.state
        return Continue(first.actions) if first.actions or self.state_enter else None


_KEEP: Final = KeepState[Any]()
_TAKEN: Final = frozenset(dir(GenStatem))


def _starting(init: Callable[..., Any]) -> Callable[..., Any]:
    """A user's `init` that may return the first state, for the runtime, which knows no states."""

    async def later(self: GenStatem[Any, Any], result: Any) -> Any:
        return self._begin(await result)

    @functools.wraps(init)
    def begin(self: GenStatem[Any, Any], *args: Any, **options: Any) -> Any:
        if self._function:  # called by the `init` of a subclass: what it returns is for that
            return init(self, *args, **options)
        self._function = "init"
        result = init(self, *args, **options)
        if inspect.iscoroutine(result):
            return later(self, result)
        return self._begin(result)

    return begin
