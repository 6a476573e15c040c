"""What OTP's supervisor does, as a model that reads along: https://www.erlang.org/doc/man/supervisor

A `Reader` follows one supervisor through what can be seen of it: the starts, ends and `terminate`s
of its children, and what it tells the observer. It is a coroutine that says at each point what may
come next; whatever else comes is an error, told with what came before.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from palaver.actors.runtime import KILLED, NORMAL, SHUTDOWN, Pid, Shutdown, is_abnormal
from palaver.supervisors import ChildSpec, FailedToStart, SupervisorFlags

ORIGIN_S = 1000.0
"""When a world begins, by its clock. Times are those of the clock, or their sums would differ."""

LATE_S = 2.0
"""How much later than it should a timer may be, on a host that is late now and then."""


@dataclass(slots=True)
class Event:
    """Something that was seen.

    `kind` is init, up, ignored, terminate or exit, of a child; own up, own terminate or own exit,
    of the supervisor; else what it has told the observer: one of the contexts of its reports,
    restarted, or gave up.
    """

    kind: str
    at_s: float
    child: Any = None
    pid: Pid | None = None
    reason: Any = None

    def __str__(self) -> str:
        rest = [str(each) for each in (self.child, self.pid, self.reason) if each is not None]
        return f"{self.at_s - ORIGIN_S:10.3f}  {self.kind:<17} {' '.join(rest)}"


@dataclass(slots=True)
class Child:
    spec: ChildSpec
    pid: Pid | None = None
    restarting: bool = False


@dataclass(slots=True)
class Facts:
    """What is known of processes, whoever reads."""

    ends: dict[Pid, Any] = field(default_factory=dict)
    killed: set[Pid] = field(default_factory=set)
    """Those that the test itself has killed."""


Reading = Generator[None, Event, Any]


class Mismatch(AssertionError):
    """The supervisor has done something that the model does not know."""


class Reader:
    """Follows one supervisor."""

    def __init__(
        self, pid: Pid, flags: SupervisorFlags, specs: list[ChildSpec], facts: Facts
    ) -> None:
        self.pid = pid
        self.flags = flags
        self.facts = facts
        self.children: dict[Any, Child] = {spec.id: Child(spec) for spec in specs}
        self.window: list[float] = []
        self.again: list[Child] = []
        self.forgotten: list[Child] = []  # temporary ones that have ended, and were reported
        self.seen: list[Event] = []
        self.now_s = 0.0
        self.idle = False
        # When a supervisor among the children began to stop, while this one had nothing to do: it
        # may be the first sign of a restart that is tried again, which then began at that time.
        self.signs_s: float | None = None
        self.over = False
        self.gave_up = False
        self.stops: Pid | None = None  # the child that is being stopped
        # Children whose end the supervisor may have come too late for: it may report it, or not.
        self.tolerated: set[Any] = set()
        self.reading = self.read()
        next(self.reading)

    def take(self, event: Event) -> None:
        """Read on."""
        self.seen.append(event)
        self.now_s = event.at_s
        if self.over:
            return
        if event.kind == "own exit" and event.reason is KILLED:
            self.over = True  # at any moment
            return
        try:
            self.reading.send(event)
        except StopIteration:
            self.over = True

    def wrong(self, what: str) -> Mismatch:
        lines = [f"supervisor {self.pid}, {self.flags}: {what}"]
        lines += [f"  {child.spec.id}: {child}" for child in self.children.values()]
        return Mismatch("\n".join(lines + [str(event) for event in self.seen[-25:]]))

    # -- the whole life ------------------------------------------------------------------------

    def read(self) -> Reading:
        for child in list(self.children.values()):
            started = yield from self.start(child)
            if started == "failed":
                yield from self.stop(list(self.children.values()))
                end = yield from self.next("own exit")
                reason = end.reason
                if not isinstance(reason, Shutdown) or not isinstance(reason.detail, FailedToStart):
                    raise self.wrong(f"it did not start, and exited with {reason}")
                return
            if started == "ignored" and child.spec.restart == "temporary":
                del self.children[child.spec.id]
        yield from self.next("own up")
        while True:
            self.idle, self.signs_s = True, None
            event = yield from self.next(
                "child_terminated", "shutdown", "init", "terminate", "exit", "start_error",
                "shutdown_error", "own terminate",
            )  # fmt: skip
            self.idle = event.kind == "shutdown_error" and bool(self.again)
            if self.idle:
                continue  # the first sign of a restart that is tried again
            if event.kind == "child_terminated":
                yield from self.ended(event)
            elif event.kind == "own terminate":
                yield from self.end(event.reason)
                return
            else:
                yield from self.try_again(event)
            if self.gave_up:
                own = yield from self.next("own terminate")
                yield from self.end(own.reason)
                return

    def end(self, reason: Any) -> Reading:
        """`terminate` runs."""
        if reason is SHUTDOWN and not self.gave_up and not self.may_stop():
            raise self.wrong("it stops by itself, for no reason")
        yield from self.stop(list(self.children.values()))
        own = yield from self.next("own exit")
        if own.reason is not reason and own.reason != reason:
            raise self.wrong(f"it stopped for {reason}, and exited with {own.reason}")

    ordered_to_stop = False
    """Whether its parent has told it to stop, or has ended."""

    def may_stop(self) -> bool:
        """Whether somebody told it to, or a significant child has ended."""
        return self.ordered_to_stop or bool(self.flags.auto_shutdown != "never" and self.silent())

    def silent(self) -> list[Child]:
        """The significant children that have ended by themselves and are not restarted."""
        return [
            child
            for child in (*self.children.values(), *self.forgotten)
            if child.spec.significant
            and child.pid in self.facts.ends
            and (child.spec.restart == "temporary" or not is_abnormal(self.facts.ends[child.pid]))
        ]

    # -- restarts ------------------------------------------------------------------------------

    def ended(self, event: Event) -> Reading:
        """A child has ended, and the supervisor sees to it."""
        child = self.children.get(event.child)
        if child is None or child.pid is not event.pid:
            raise self.wrong(f"{event.child} has no process {event.pid}")
        end = self.facts.ends.get(event.pid, "it lives")
        if end is not event.reason and end != event.reason:
            raise self.wrong(f"{event.child} was reported with {event.reason}: {end}")
        restart = child.spec.restart
        if restart == "permanent" or (restart == "transient" and is_abnormal(event.reason)):
            yield from self.restart(child)
        elif restart == "temporary":
            del self.children[event.child]
            self.forgotten.append(child)

    def restart(self, child: Child, began_s: float | None = None) -> Reading:
        now_s = self.now_s if began_s is None else began_s
        self.window = [each for each in self.window if each >= now_s - self.flags.period_s]
        self.window.append(now_s)
        if len(self.window) > self.flags.intensity:
            child.pid, child.restarting = None, False
            yield from self.next("shutdown", child=child)
            yield from self.next("gave up")
            self.gave_up = True
            return
        group = [child]
        if self.flags.strategy != "one_for_one":
            group = list(self.children.values())
            if self.flags.strategy == "rest_for_one":
                group = group[group.index(child) :]
            child.pid, child.restarting = None, False
            yield from self.stop([each for each in group if each is not child])
        for each in group:
            if each.spec.id not in self.children:
                continue  # a temporary one
            started = yield from self.start(each)
            if started == "failed":
                each.restarting = True
                self.again.append(each)
                return
            if started == "up":
                yield from self.next("restarted", child=each)

    def try_again(self, event: Event) -> Reading:
        """Something has happened that only a restart that is tried again explains."""
        while self.again and not (
            self.again[0].restarting and self.children.get(self.again[0].spec.id) is self.again[0]
        ):
            self.again.pop(0)  # it was stopped, or restarted with others
        if not self.again:
            raise self.wrong(f"nothing explains this: {event}")
        trying = self.restart(self.again.pop(0), self.signs_s)
        next(trying)
        yield from self.rest_of(trying, event)

    def rest_of(self, reading: Reading, event: Event) -> Reading:
        """Go on with a reading, whose first event was taken already."""
        while True:
            try:
                reading.send(event)
            except StopIteration:
                return
            event = yield

    # -- steps ---------------------------------------------------------------------------------

    def next(self, *kinds: str, child: Child | None = None) -> Generator[None, Event, Event]:
        """The next thing that the supervisor does, which has to be one of these."""
        while True:
            event = yield
            if event.kind in ("exit", "terminate"):
                if not self.is_ordered(event):
                    if self.idle and event.reason is SHUTDOWN and self.signs_s is None:
                        self.signs_s = event.at_s
                    continue  # by itself, or killed
                if event.kind in kinds and self.flags.strategy != "one_for_one":
                    return event
                raise self.wrong(f"{event.child} was stopped: {event}")
            if event.kind == "shutdown_error" and event.child in self.tolerated:
                self.tolerated.remove(event.child)
                continue
            if event.kind not in kinds:
                raise self.wrong(f"not one of {', '.join(kinds)}: {event}")
            if child is not None and event.child != child.spec.id:
                raise self.wrong(f"{child.spec.id} was expected: {event}")
            return event

    def is_ordered(self, event: Event) -> bool:
        """Whether a child's end is what the supervisor has ordered: only then it is `SHUTDOWN`."""
        child = self.children.get(event.child)
        if child is None or child.pid is not event.pid or child.spec.kind == "supervisor":
            return False  # a supervisor stops with `SHUTDOWN` by itself, too
        return event.reason is SHUTDOWN and event.pid is not self.stops

    def start(self, child: Child) -> Generator[None, Event, str]:
        """How a start goes: up, ignored or failed."""
        child.restarting = False
        child.pid = None
        event = yield from self.next("init", "start_error", child=child)
        self.tolerated.discard(child.spec.id)  # it would have reported that by now
        if event.kind == "start_error":
            return "failed"  # killed before its `init`
        event = yield from self.next("up", "ignored", "start_error", child=child)
        if event.kind == "up":
            child.pid = event.pid
            return "up"
        return "ignored" if event.kind == "ignored" else "failed"

    def stop(self, children: list[Child]) -> Reading:
        """Stop children in reverse, each when the one after it has ended."""
        for child in reversed(children):
            pid, child.pid = child.pid, None
            child.restarting = False
            if pid is not None and pid not in self.facts.ends:
                self.stops = pid
                child.pid = pid
                yield from self.stop_one(child, pid)
                child.pid = self.stops = None
            if child.spec.restart == "temporary":
                self.children.pop(child.spec.id, None)

    def stop_one(self, child: Child, pid: Pid) -> Reading:
        began_s = self.now_s
        limit_s = child.spec.shutdown_s
        told = False
        while pid not in self.facts.ends:
            event = yield
            if event.kind == "terminate" and event.pid is pid and event.reason is SHUTDOWN:
                told = True
            if event.kind == "shutdown_error" and event.child in self.tolerated:
                self.tolerated.remove(event.child)
                continue
            if event.kind in ("exit", "terminate"):
                if self.is_ordered(event):
                    raise self.wrong(f"{event.child} was stopped before {child.spec.id} had ended")
                continue
            raise self.wrong(f"it went on before {child.spec.id} had ended: {event}")
        reason = self.facts.ends[pid]
        took_s = self.now_s - began_s
        if limit_s is not None and took_s > limit_s + LATE_S:
            raise self.wrong(f"{child.spec.id} took {took_s} s to stop, and was not killed")
        if (
            reason is KILLED
            and pid not in self.facts.killed
            and (limit_s is None or took_s < limit_s - 1e-6)
            and limit_s != 0
        ):
            raise self.wrong(f"{child.spec.id} was killed after {took_s} s, and had {limit_s}")
        if limit_s == 0:
            fine = reason is KILLED
        else:
            fine = not is_abnormal(reason) and (
                reason is not NORMAL or child.spec.restart != "permanent"
            )
        if not fine and (told or took_s > LATE_S):
            yield from self.next("shutdown_error", child=child)
        elif not fine:  # it ended at this moment by itself, perhaps before it was to be stopped
            self.tolerated.add(child.spec.id)

    # -- in the end ----------------------------------------------------------------------------

    def check_rest(self) -> None:
        """Nothing happens any more: everything that should run does."""
        if self.over:
            return
        if not self.idle:
            raise self.wrong("it is in the middle of something")
        for child in self.children.values():
            runs = child.pid is not None and child.pid not in self.facts.ends
            if child.restarting:
                raise self.wrong(f"{child.spec.id} was not restarted")
            if child.pid is None or runs:
                continue  # it said `Ignore()`, or runs
            reason = self.facts.ends[child.pid]
            if child.spec.restart == "permanent" or (
                child.spec.restart == "transient" and is_abnormal(reason)
            ):
                raise self.wrong(f"{child.spec.id} has ended with {reason}, and nobody saw to it")
        auto = self.flags.auto_shutdown
        significant = [child for child in self.children.values() if child.spec.significant]
        silent = self.silent()
        if (auto == "any_significant" and silent) or (
            auto == "all_significant" and silent and all(each in silent for each in significant)
        ):
            raise self.wrong(f"significant children have ended, and it goes on: {silent}")


class DynamicReader(Reader):
    """Follows a dynamic supervisor: no order, and children that are asked for."""

    def __init__(self, pid: Pid, flags: SupervisorFlags, facts: Facts) -> None:
        self.requested: dict[Any, ChildSpec] = {}
        super().__init__(pid, flags, [], facts)

    def read(self) -> Reading:
        yield from self.next("own up")
        while True:
            self.idle, self.signs_s = True, None
            event = yield from self.next(
                "child_terminated", "shutdown", "init", "start_error", "own terminate"
            )
            self.idle = False
            if event.kind == "init" and event.child in self.requested:
                yield from self.add(event)
            elif event.kind == "child_terminated":
                yield from self.ended(event)
            elif event.kind == "own terminate":
                yield from self.end(event.reason)
                return
            else:
                yield from self.try_again(event)
            if self.gave_up:
                own = yield from self.next("own terminate")
                yield from self.end(own.reason)
                return

    def add(self, event: Event) -> Reading:
        child = Child(self.requested.pop(event.child))
        pid = event.pid
        while event.kind not in ("up", "ignored") and pid not in self.facts.ends:
            event = yield
        if event.kind == "up":
            child.pid = event.pid
            self.children[child.spec.id] = child

    def start(self, child: Child) -> Generator[None, Event, str]:
        outcome = yield from super().start(child)
        if outcome == "ignored":
            del self.children[child.spec.id]
        return outcome

    def is_ordered(self, event: Event) -> bool:
        return self.stops is None and super().is_ordered(event)

    def stop(self, children: list[Child]) -> Reading:
        """All at the same time, each within its own patience."""
        began_s = self.now_s
        running = [each for each in children if each.pid and each.pid not in self.facts.ends]
        self.stops = self.pid  # any of them
        while any(child.pid not in self.facts.ends for child in running):
            yield
            for child in running:
                limit_s = child.spec.shutdown_s
                late = limit_s is not None and self.now_s - began_s > limit_s + LATE_S
                if late and child.pid not in self.facts.ends:
                    raise self.wrong(f"{child.spec.id} did not stop in {limit_s} s")
        self.stops = None

    def next(self, *kinds: str, child: Child | None = None) -> Generator[None, Event, Event]:
        while True:
            event = yield from super().next(*kinds, "shutdown_error", child=child)
            if event.kind != "shutdown_error":
                return event
