"""Selective receive: the first message that matches, the others kept in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from palaver.actors.runtime.calls import From
from palaver.actors.runtime.errors import ReceiveTimeout
from palaver.actors.runtime.mailbox import INFO, SIGNAL, STOP, Item, Tag
from palaver.actors.runtime.messages import Request
from palaver.actors.runtime.parking import PREEMPTED, RECEIVING, Alarm, park
from palaver.actors.runtime.process import Process

__all__ = ["receive"]


async def receive(
    process: Process, match: Callable[[Any], bool] | None, timeout_s: float | None
) -> Any:
    """The first message that `match` accepts; see `ProcessContext.receive`."""
    if process.scheduler.current is process:
        process.put_back(process.scheduler.rest)
    found = _take_saved(process, match)
    if found is not None:
        return found[0]
    alarm: Alarm | None = None
    try:
        while True:
            found = _take_new(process, match)
            if found is not None:
                if process.charge():
                    await PREEMPTED
                return found[0]
            if timeout_s is not None and alarm is None:
                if timeout_s <= 0:
                    raise ReceiveTimeout("no matching message is there")
                alarm = Alarm(process, timeout_s)
            if alarm is not None and alarm.rang:
                raise ReceiveTimeout(f"no matching message within {timeout_s:g} s")
            process.wait = RECEIVING if alarm is None else alarm
            process.mailbox = None  # as an idle process: the next message wakes it
            await park(process)
    finally:
        if alarm is not None:
            alarm.cancel()


def _take_saved(process: Process, match: Callable[[Any], bool] | None) -> tuple[Any] | None:
    """A message that an earlier `receive` has passed over, if one matches now."""
    saved = process.saved or []
    for index, (message, tag) in enumerate(saved):
        if not _is_control(tag):
            body = Request(message, tag) if isinstance(tag, From) else message
            if match is None or match(body):
                del saved[index]
                return (body,)
    return None


def _take_new(process: Process, match: Callable[[Any], bool] | None) -> tuple[Any] | None:
    """The first matching message of those not looked at yet; those before it are saved."""
    while True:
        item = process.take()
        if item is None:
            return None
        message, tag = item
        body = message
        if isinstance(tag, From):
            process.promise(tag)
            body = Request(message, tag)
        elif _is_control(tag):
            _save_control(process, item)
            continue
        if match is None:
            return (body,)
        if process.saved is None:
            process.saved = []
        process.saved.append(item)  # first, so that it is not lost if `match` raises
        if match(body):
            process.saved.pop()
            return (body,)


def _save_control(process: Process, item: Item) -> None:
    """It comes first once the handler is done; of several, the end, then in their order."""
    saved = process.saved = process.saved or []
    index = 0
    if item[1] is not STOP:
        while index < len(saved) and _is_control(saved[index][1]):
            index += 1
    saved.insert(index, item)


def _is_control(tag: Tag | From | None) -> bool:
    return type(tag) is Tag and tag is not INFO and tag is not SIGNAL
