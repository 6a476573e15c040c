"""The registers of a cluster: a key-value bucket of JetStream, `palaver-<cluster>`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import (
    DiscardPolicy,
    RawStreamMsg,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import (
    APIError,
    KeyWrongLastSequenceError,
    NoStreamResponseError,
    NotFoundError,
)
from nats.js.kv import KeyValue

from palaver.storage.jetstream.consumer import Broken, Delivered, deliver, heed_cancellation
from palaver.storage.jetstream.errors import (
    NO_MESSAGE,
    WRONG_LAST_SEQUENCE,
    api_error,
)
from palaver.storage.jetstream.streams import again, checked_name, is_led, make_stream, refused
from palaver.storage.replicated.ports import (
    JournalUnavailable,
    Register,
    RegisterChanged,
    RegistersUnavailable,
)

__all__ = ["JetStreamRegisters", "RegisterLimits"]

log = structlog.get_logger("palaver.storage.jetstream")

T = TypeVar("T")

_KEY: Final = re.compile(r"[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*")
_MAX_KEY: Final = 128


@dataclass(frozen=True, slots=True)
class RegisterLimits:
    """How long things may take, and how much there may be.

    Attributes:
        request_timeout_s: for a question or a write.
        unheard_s: how long a write is repeated that no server has heard of.
        max_value_bytes: of a register.
        max_bytes: of all registers together, on each server.
        heartbeat_s, silence_s, forget_s: of a watch; see `JournalLimits`.
        pause_s: before a watch that was broken is made anew.
    """

    request_timeout_s: float = 3.0
    unheard_s: float = 1.0
    max_value_bytes: int = 1 << 16
    max_bytes: int = 64 << 20
    heartbeat_s: float = 0.75
    silence_s: float = 2.0
    forget_s: float = 5.0
    pause_s: float = 0.25


class JetStreamRegisters:
    """The registers of a cluster, as one node uses them.

    Args:
        nc: a connection to NATS, kept by somebody else; it must outlive this.
        cluster: the cluster's name: letters, digits, "-" and "_".
        replicas: copies, on as many servers.
        limits: of time and room.
    """

    def __init__(
        self,
        nc: Client,
        cluster: str,
        *,
        replicas: int = 3,
        limits: RegisterLimits | None = None,
    ) -> None:
        self._nc = nc
        self._replicas = replicas
        self._limits = limits or RegisterLimits()
        self._js = nc.jetstream(timeout=self._limits.request_timeout_s)
        bucket = f"palaver-{checked_name(cluster)}"
        self._stream = f"KV_{bucket}"
        self._prefix = f"$KV.{bucket}."
        self._kv = KeyValue(
            name=bucket, stream=self._stream, pre=self._prefix, js=self._js, direct=False
        )
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life --------------------------------------------------------------------------------------

    async def found(self, *, timeout_s: float = 30.0) -> None:
        """Make the bucket if there is none, and wait until it is led; harmless when repeated.

        Raises:
            NotEnoughServers: fewer servers than `replicas`, after `timeout_s`.
            RegistersUnavailable: not within `timeout_s`.
        """
        await self._until(self._make, timeout_s)

    async def open(self, *, timeout_s: float = 30.0) -> None:
        """Wait until the bucket exists and is led.

        Raises:
            RegistersUnavailable: not within `timeout_s`: there is no such cluster, or no quorum.
        """
        await self._until(self._find, timeout_s)

    async def set_replicas(self, replicas: int, *, timeout_s: float = 30.0) -> None:
        """Keep so many copies from now on; harmless when repeated.

        Raises:
            NotEnoughServers: fewer servers than that, after `timeout_s`.
            RegistersUnavailable: no answer, after `timeout_s`.
        """
        self._replicas = replicas
        await self._until(self._change, timeout_s)

    async def close(self) -> None:
        """End all watches; harmless when repeated."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _until(self, step: Callable[[], Awaitable[StreamInfo]], timeout_s: float) -> None:
        """Do a step until it succeeds and the bucket is led."""

        async def led() -> None:
            try:
                info = await step()
            except (NatsError, TimeoutError) as error:
                raise refused(self._config(), error) from error
            if not is_led(info):
                raise JournalUnavailable(f"{self._stream}: nobody leads it")

        try:
            await again(led, timeout_s)
        except JournalUnavailable as error:
            raise RegistersUnavailable(str(error)) from error

    async def _make(self) -> StreamInfo:
        return await make_stream(self._js, self._config())

    async def _find(self) -> StreamInfo:
        return await self._js.stream_info(self._stream)

    async def _change(self) -> StreamInfo:
        info = await self._find()
        if info.config.num_replicas == self._replicas:
            return info
        return await self._js.update_stream(self._config())

    def _config(self) -> StreamConfig:
        return StreamConfig(
            name=self._stream,
            subjects=[f"{self._prefix}>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=self._replicas,
            discard=DiscardPolicy.NEW,
            max_msgs_per_subject=1,
            max_msgs=-1,
            max_bytes=self._limits.max_bytes,
            max_msg_size=self._limits.max_value_bytes + 1024,
            max_consumers=-1,
            duplicate_window=30.0,
            deny_delete=True,
            allow_rollup_hdrs=True,
            # What any copy may answer can be older than what the leader answers.
            allow_direct=False,
        )

    # -- reading and writing -----------------------------------------------------------------------

    async def read(self, key: str) -> Register | None:
        """Return what a register holds; None if there is none. See the port."""
        last = await self._ask(self._last(_checked(key)))
        if last is None or last.seq is None or _is_removed(last.headers):
            return None
        return Register(last.data or b"", last.seq)

    async def _last(self, key: str) -> RawStreamMsg | None:
        """Return what was written to a key last; that may be that it was removed."""
        try:
            return await self._js.get_last_msg(self._stream, self._prefix + key)
        except NotFoundError as error:
            if error.err_code == NO_MESSAGE:
                return None
            raise

    async def write(self, key: str, value: bytes, expected: int | None) -> int:
        """Write if the register is as expected; its new revision. See the port."""
        _checked(key)
        if len(value) > self._limits.max_value_bytes:
            raise ValueError(
                f"{len(value)} bytes; a register holds {self._limits.max_value_bytes} bytes"
            )
        if expected is not None:
            return await self._update(key, value, expected)
        try:
            return await self._update(key, value, 0)
        except RegisterChanged:
            last = await self._ask(self._last(key))
            if last is None or last.seq is None or not _is_removed(last.headers):
                raise
            return await self._update(key, value, last.seq)

    async def _update(self, key: str, value: bytes, revision: int) -> int:
        return await self._ask(self._heard(lambda: self._kv.update(key, value, revision)))

    async def _heard(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write again while nobody has heard of it.

        For a moment after a bucket was made, or its leader changed, the server of this connection
        knows of nobody who takes its writes. One that nobody took can be repeated.
        """
        deadline_s = asyncio.get_running_loop().time() + self._limits.unheard_s
        while True:
            try:
                return await write()
            except NoStreamResponseError:
                if asyncio.get_running_loop().time() >= deadline_s:
                    raise
            await asyncio.sleep(self._limits.pause_s)

    async def delete(self, key: str, expected: int) -> None:
        """Remove a register of this revision. See the port."""
        _checked(key)
        await self._ask(self._heard(lambda: self._kv.delete(key, expected)))

    async def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        """Ask JetStream; its failures become those of the port."""
        try:
            return await question
        except KeyWrongLastSequenceError as error:
            raise RegisterChanged(str(error.description)) from error
        except (NatsError, TimeoutError) as error:
            if isinstance(error, APIError) and error.err_code in WRONG_LAST_SEQUENCE:
                raise RegisterChanged(str(error.description)) from error
            raise RegistersUnavailable(str(api_error(self._stream, error))) from error

    async def items(self, prefix: str) -> Mapping[str, Register]:
        """Return all registers whose key begins so. See the port."""
        found: dict[str, Register] = {}
        complete = asyncio.get_running_loop().create_future()

        def begun(waiting: int) -> None:
            if waiting == 0 and not found and not complete.done():
                complete.set_result(None)

        def tell(batch: list[Delivered]) -> bool:
            for each in batch:
                key, register = self._register_of(each)
                if register is None:
                    found.pop(key, None)
                elif key.startswith(prefix):
                    found[key] = register
            if batch[-1].pending == 0 and not complete.done():
                complete.set_result(None)
            return True

        serving = asyncio.ensure_future(self._serve(tell, begun))
        try:
            await asyncio.wait(
                (serving, complete),
                timeout=self._limits.request_timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not complete.done():
                why = await self._ask(_result(serving)) if serving.done() else "no answer in time"
                raise RegistersUnavailable(f"{self._stream}: {why}")
            return found
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    # -- watching ----------------------------------------------------------------------------------

    def watch(self, prefix: str, changed: Callable[[str, Register | None], None]) -> Watch:
        """Tell what every register with this prefix holds, and of every change. See the port."""
        watch = Watch(prefix, changed)
        task = asyncio.get_running_loop().create_task(self._watch(watch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        watch.task = task
        return watch

    async def _watch(self, watch: Watch) -> None:
        """Serve a watch for ever: a consumer, and another one when that is broken."""
        while True:
            seen: set[str] | None = set()

            def tell(batch: list[Delivered]) -> bool:
                nonlocal seen
                for each in batch:
                    key, register = self._register_of(each)
                    if seen is not None and register is not None:
                        seen.add(key)
                    watch.tell(key, register)
                if seen is not None and batch[-1].pending == 0:
                    watch.forget_all_but(seen)
                    seen = None
                return True

            def begun(waiting: int) -> None:
                nonlocal seen
                if waiting == 0 and seen == set():
                    watch.forget_all_but(set())
                    seen = None

            try:
                why = str(await self._serve(tell, begun))
            except (NatsError, TimeoutError) as error:
                why = str(api_error(self._stream, error))
            heed_cancellation()
            log.debug("a watch begins again", prefix=watch.prefix, why=why)
            await asyncio.sleep(self._limits.pause_s)

    async def _serve(
        self, tell: Callable[[list[Delivered]], bool], begun: Callable[[int], None]
    ) -> Broken:
        limits = self._limits
        return await deliver(
            self._nc,
            self._js,
            self._stream,
            tell,
            latest_of=f"{self._prefix}>",
            heartbeat_s=limits.heartbeat_s,
            silence_s=limits.silence_s,
            forget_s=limits.forget_s,
            begun=begun,
        )

    def _register_of(self, each: Delivered) -> tuple[str, Register | None]:
        msg = each.msg
        key = msg.subject[len(self._prefix) :]
        if _is_removed(msg.headers):
            return key, None
        return key, Register(msg.data, each.position)


class Watch:
    """One watch; ended by `close`.

    Attributes:
        prefix: of the keys that it is told of.
    """

    __slots__ = ("_changed", "_closed", "_known", "prefix", "task")

    def __init__(self, prefix: str, changed: Callable[[str, Register | None], None]) -> None:
        self.prefix = prefix
        self._changed = changed
        self._known: set[str] = set()
        self._closed = False
        self.task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Tell nothing more; harmless when repeated."""
        self._closed = True
        if self.task is not None:
            self.task.cancel()

    def tell(self, key: str, register: Register | None) -> None:
        """Tell of one register, if it concerns this watch."""
        if self._closed or not key.startswith(self.prefix):
            return
        if register is not None:
            self._known.add(key)
        elif key not in self._known:
            return  # what was removed before this watch began
        else:
            self._known.discard(key)
        self._changed(key, register)

    def forget_all_but(self, keys: set[str]) -> None:
        """Tell of those that have gone without a trace while the watch was broken."""
        for key in sorted(self._known - keys):
            self.tell(key, None)


def _is_removed(headers: Mapping[str, str] | None) -> bool:
    return headers is not None and headers.get("KV-Operation") in ("DEL", "PURGE")


def _checked(key: str) -> str:
    if len(key) > _MAX_KEY or _KEY.fullmatch(key) is None:
        raise ValueError(
            f"a register's key has at most {_MAX_KEY} letters, digits, '-', '_', '=', '/' and '.'"
            f" (between two others); {key!r} is none"
        )
    return key


async def _result(task: asyncio.Future[Broken]) -> Broken:
    return await task
