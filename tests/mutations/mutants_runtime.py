"""Bugs in the runtime: signals, calls, timers, names and groups."""

from __future__ import annotations

from mutation import Edit, Mutation

from palaver.actors.names.registry import Registry
from palaver.actors.runtime import lifecycle, links, receiving
from palaver.actors.runtime.calls import ProcessCall
from palaver.actors.runtime.process import Process
from palaver.actors.runtime.timers import Timers

ORDER = "signals of a pair arrive in the order sent"
DOWN = "each monitor tells of the end, once, when the names are free"
CALLS = "a late reply goes nowhere"
TIMERS = "a timer never fires early"
NAMES = "nothing names the dead"

MUTATIONS = [
    Mutation(
        "put-back-backwards",
        "What is left of a batch is put back in the order of the batch, though the next is last.",
        ORDER,
        [Edit(Process.put_back, "items.reverse()", "")],
        scenario="signals",
    ),
    Mutation(
        "passed-over-backwards",
        "What a selective receive has passed over is kept on a stack.",
        ORDER,
        [
            Edit(
                receiving._take_new,
                """
                process.saved.append(item)  # first, so that it is not lost if `match` raises
                if match(body):
                    process.saved.pop()
                    return (body,)
                """,
                """
                if match(body):
                    return (body,)
                process.saved.insert(0, item)
                """,
            )
        ],
        scenario="signals",
    ),
    Mutation(
        "monitor-of-the-dying",
        "Who is about to exit takes no more monitors.",
        DOWN,
        [
            Edit(
                lifecycle.monitor,
                "watchers_of(target)[ref] = ref if target.exiting is ALIVE else _TooLate(ref)",
                """
                if target.exiting is ALIVE:
                    watchers_of(target)[ref] = ref
                """,
            )
        ],
        scenario="signals",
    ),
    Mutation(
        "down-before-names",
        "Monitors are told first, and the names are released when there is time.",
        DOWN,
        [
            Edit(
                lifecycle.finish,
                "node.remove(process)",
                """
                assert scheduler.call_soon is not None
                scheduler.call_soon(lambda: node.remove(process))
                """,
            )
        ],
        scenario="signals",
    ),
    Mutation(
        "link-of-one-side",
        "A link is entered where it was asked for.",
        "who is linked ends together",
        [Edit(links.link, "_add(other, process)", "")],
        scenario="signals",
    ),
    Mutation(
        "late-reply-wakes",
        "A call that has timed out stays open: its answer wakes whatever the caller does then.",
        CALLS,
        [
            Edit(
                ProcessCall.expire,
                "self.fail(CallTimeout(lane.length_s))",
                """
                process = self.process
                self.fail(CallTimeout(lane.length_s))
                self.process = process
                """,
            )
        ],
        scenario="signals",
    ),
    Mutation(
        "callers-of-the-dead",
        "Who waits for an answer of a process that dies waits until the timeout.",
        "a call of a process that exits fails at once",
        [Edit(lifecycle.fail_callers, "if call.open:", "if False:")],
        scenario="signals",
    ),
    Mutation(
        "deadlines-rounded",
        "A deadline is rounded to a hundredth of a second, so that timers are due together.",
        TIMERS,
        [
            Edit(
                Timers.add,
                "return self.add_at(self.monotonic() + delay_s, action)",
                "return self.add_at(round(self.monotonic() + delay_s, 2), action)",
            )
        ],
        scenario="signals",
    ),
    Mutation(
        "cancelled-timer-fires",
        "A timer that is cancelled is only counted as cancelled.",
        "a cancelled timer does not fire",
        [
            Edit(
                Timers.cancel,
                "timer.action = None",
                "",
            )
        ],
        scenario="signals",
    ),
    Mutation(
        "registry-keeps-the-dead",
        "A registration ends when it is taken back.",
        NAMES,
        [Edit(Registry._member_gone, "keys = self._table.drop(pid)", "keys = []")],
        scenario="names",
    ),
]
