"""What a supervisor does, as simply as it can be said: a list, and no processes."""

from __future__ import annotations

from typing import Any

from supervision_kit import downs, ups


class Entry:
    def __init__(self, restart: str, significant: bool) -> None:
        self.restart = restart
        self.significant = significant
        self.runs = False


class Model:
    """Time stands still, so all restarts are within the period."""

    def __init__(self, strategy: str, intensity: int, auto: str) -> None:
        self.strategy, self.intensity, self.auto = strategy, intensity, auto
        self.order: dict[str, Entry] = {}
        self.plans: dict[str, list[str]] = {}
        self.events: list[Any] = []
        self.restarts = 0
        self.alive = True

    def take(self) -> list[Any]:
        events, self.events = self.events, []
        return events

    def shown(self) -> list[tuple[str, bool]]:
        return [(name, entry.runs) for name, entry in self.order.items()]

    # -- the parts ----------------------------------------------------------------------------

    def start(self, name: str) -> bool:
        plan = self.plans.get(name)
        step = plan.pop(0) if plan else "up"
        entry = self.order[name]
        if step == "up":
            entry.runs = True
            self.events += ups(name)
        elif step == "ignore" and entry.restart == "temporary":
            del self.order[name]
        return step in ("up", "ignore")

    def stop(self, names: list[str]) -> None:
        for name in reversed(names):
            entry = self.order[name]
            if entry.runs:
                self.events += downs(name)
            entry.runs = False
            if entry.restart == "temporary":
                del self.order[name]

    def give_up(self) -> None:
        self.alive = False
        self.stop(list(self.order))

    def restart(self, name: str) -> None:
        while True:
            self.restarts += 1
            if self.restarts > self.intensity:
                self.give_up()
                return
            names = list(self.order)
            group = {
                "one_for_one": [name],
                "one_for_all": names,
                "rest_for_one": names[names.index(name) :],
            }[self.strategy]
            self.stop([other for other in group if other != name])
            failed = None
            for each in group:
                if each in self.order and not self.start(each):
                    failed = each
                    break
            if failed is None:
                return
            name = failed

    # -- what happens to it -------------------------------------------------------------------

    def child_ends(self, name: str, *, abnormal: bool, cleans_up: bool) -> None:
        entry = self.order[name]
        entry.runs = False
        if cleans_up:
            self.events += downs(name)
        if entry.restart == "permanent" or (entry.restart == "transient" and abnormal):
            self.restart(name)
            return
        if entry.restart == "temporary":
            del self.order[name]
        if entry.significant:
            others = any(each.significant and each.runs for each in self.order.values())
            if self.auto == "any_significant" or (self.auto == "all_significant" and not others):
                self.give_up()

    def add(self, name: str, restart: str, significant: bool) -> str:
        if significant and self.auto == "never":
            return "BadSpecification"
        if name in self.order:
            return "AlreadyStarted" if self.order[name].runs else "AlreadyPresent"
        self.order[name] = Entry(restart, significant)
        if self.start(name):
            return "ok"
        del self.order[name]
        return "StartError"

    def terminate(self, name: str) -> str:
        if name not in self.order:
            return "ChildNotFound"
        self.stop([name])
        return "ok"

    def start_again(self, name: str) -> str:
        if name not in self.order:
            return "ChildNotFound"
        if self.order[name].runs:
            return "ChildRunning"
        return "ok" if self.start(name) else "StartError"

    def delete(self, name: str) -> str:
        if name not in self.order:
            return "ChildNotFound"
        if self.order[name].runs:
            return "ChildRunning"
        del self.order[name]
        return "ok"

    def change(
        self, strategy: str, intensity: int, auto: str, specs: list[tuple[str, str, bool]]
    ) -> str:
        names = [name for name, _, _ in specs]
        if len(set(names)) < len(names):
            return "BadSpecification"
        if auto == "never" and any(significant for _, _, significant in specs):
            return "BadSpecification"
        self.strategy, self.intensity, self.auto = strategy, intensity, auto
        old, self.order = self.order, {}
        for name, restart, significant in specs:
            self.order[name] = Entry(restart, significant)
            if name in old:
                self.order[name].runs = old.pop(name).runs
        self.order |= old
        return "ok"
