"""What journals and registers have in common: names, and streams that are made once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import APIError

from palaver.storage.jetstream.errors import (
    NO_PEERS,
    STREAM_NAME_IN_USE,
    NotEnoughServers,
    api_error,
    unavailable,
)
from palaver.storage.replicated.ports import JournalUnavailable

__all__ = ["again", "checked_name", "is_led", "make_stream", "refused"]

T = TypeVar("T")

log = structlog.get_logger("palaver.storage.jetstream")

_POLL_S: Final = 0.25
_QUIET_S: Final = 5.0
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def checked_name(cluster: str) -> str:
    """Return a cluster's name if it can be part of the names of streams and subjects.

    Raises:
        ValueError: it is no such name.
    """
    if _NAME.fullmatch(cluster) is None:
        raise ValueError(
            f"a cluster's name has 1 to 64 letters, digits, '-' and '_'; {cluster!r} has not"
        )
    return cluster


async def again(step: Callable[[], Awaitable[T]], timeout_s: float) -> T:
    """Do a step again until it succeeds, for so long; then its last failure is raised.

    `NotEnoughServers` too may pass: a server that came up just now counts as missing.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    quiet_until, told = began + _QUIET_S, ""
    while True:
        try:
            return await step()
        except (JournalUnavailable, NotEnoughServers) as error:
            now = loop.time()
            if now >= began + timeout_s:
                raise
            # Whoever waits for a node to start has to see what it waits for.
            if now >= quiet_until and str(error) != told:
                told = str(error)
                log.warning("waiting for NATS", why=told, for_s=round(now - began, 1))
        await asyncio.sleep(_POLL_S)


async def make_stream(js: JetStreamContext, config: StreamConfig) -> StreamInfo:
    """Make a stream, or find the one that somebody else has made meanwhile.

    Raises:
        NotEnoughServers: fewer servers than replicas.
        JournalUnavailable: no answer: it may be made or not; ask again.
    """
    assert config.name is not None
    try:
        return await js.add_stream(config)
    except APIError as error:
        if error.err_code != STREAM_NAME_IN_USE:
            raise refused(config, error) from error
    except (NatsError, TimeoutError) as error:
        raise refused(config, error) from error
    try:
        return await js.stream_info(config.name)
    except (NatsError, TimeoutError) as error:
        raise refused(config, error) from error


def refused(
    config: StreamConfig, error: NatsError | TimeoutError
) -> NotEnoughServers | JournalUnavailable:
    """Say why a stream was not made or changed."""
    if isinstance(error, APIError) and error.err_code in NO_PEERS:
        return NotEnoughServers(
            f"the stream {config.name} is to have {config.num_replicas} copies, and NATS has not as"
            f" many servers with JetStream and room for it ({error.description}): start more of"
            " them, or set fewer replicas"
        )
    return unavailable(api_error(config.name or "", error))


def is_led(info: StreamInfo) -> bool:
    """Whether a stream has a leader; one server alone needs none."""
    return info.cluster is None or info.cluster.name is None or bool(info.cluster.leader)
