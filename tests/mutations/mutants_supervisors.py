"""Bugs in the supervisors."""

from __future__ import annotations

from mutation import Edit, Mutation

from palaver.supervisors import starting
from palaver.supervisors.dynamic import DynamicSupervisor
from palaver.supervisors.supervisor import Supervisor
from palaver.supervisors.window import RestartWindow

RESTARTS = "a child that fails is restarted"
TOGETHER = "what depends on each other begins anew together"
GIVES_UP = "more than `intensity` restarts, and a supervisor gives up"

MUTATIONS = [
    Mutation(
        "child-forgotten",
        "A child that was restarted is not entered again: its next end is not noticed.",
        RESTARTS,
        [Edit(Supervisor._restarted, "self._children.started(child, pid)", "child.pid = pid")],
        scenario="supervision",
    ),
    Mutation(
        "failed-restart-forgotten",
        "A restart that fails is not tried again.",
        RESTARTS,
        [Edit(Supervisor._not_started, "self.send(self.pid, _TryAgain(child, reason))", "")],
        scenario="supervision",
    ),
    Mutation(
        "rest-for-one-is-one",
        "rest_for_one restarts only the child that failed.",
        TOGETHER,
        [
            Edit(
                Supervisor._restart_group,
                'group = list(children) if self._flags.strategy == "one_for_all" '
                "else children.since(child)",
                'group = list(children) if self._flags.strategy == "one_for_all" else [child]',
            )
        ],
        scenario="supervision",
    ),
    Mutation(
        "rest-for-one-is-all",
        "rest_for_one restarts those before the child that failed, too.",
        TOGETHER,
        [
            Edit(
                Supervisor._restart_group,
                'group = list(children) if self._flags.strategy == "one_for_all" '
                "else children.since(child)",
                "group = list(children)",
            )
        ],
        scenario="supervision",
    ),
    Mutation(
        "started-too-early",
        "A group is restarted without waiting until it has stopped.",
        TOGETHER,
        [
            Edit(
                Supervisor._restart_group,
                "await self._stop([other for other in group if other is not child])",
                """
                for other in group:
                    pid = None if other is child else children.stopped(other)
                    if pid is not None:
                        self.exit(pid, SHUTDOWN)
                """,
            )
        ],
        scenario="supervision",
    ),
    Mutation(
        "intensity-not-counted",
        "Restarts are counted, but nobody looks at the count.",
        GIVES_UP,
        [Edit(RestartWindow.allows, "return len(times) <= self.intensity", "return True")],
        scenario="supervision",
    ),
    Mutation(
        "restarts-never-forgotten",
        "Restarts count however long ago they were.",
        GIVES_UP,
        [
            Edit(
                RestartWindow.allows,
                """
                while times[0] < oldest_s:
                    times.popleft()
                """,
                "",
            )
        ],
        scenario="supervision",
    ),
    Mutation(
        "temporary-restarted",
        "A temporary child that crashes is restarted.",
        "a temporary child is never restarted",
        [
            Edit(
                DynamicSupervisor._child_exited,
                'if restart == "permanent" or (restart == "transient" and '
                "is_abnormal(exit_.reason)):",
                'if restart == "permanent" or is_abnormal(exit_.reason):',
            )
        ],
        scenario="supervision",
    ),
    Mutation(
        "never-killed",
        "A child that does not stop in its time is waited for.",
        "a stop takes at most the time given for it",
        [
            Edit(
                starting.stop_children,
                """
                for pid in pids:
                    supervisor.exit(pid, KILL)
                """,
                "",
            )
        ],
        scenario="supervision",
    ),
]
