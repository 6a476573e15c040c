"""A node's logs: coloured lines for a person at a terminal, JSON lines for a machine.

Everything goes through one stream (stderr): this project's structlog events and what libraries
write with `logging`. Secrets and contents never pass: a fixed set of field names is blanked out
wherever they stand, tracebacks show no local variables, and long values are cut.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["auto", "human", "json"]

MAX_VALUE_CHARS = 2000
# Names of fields whose values are contents or secrets.
SECRET_FIELDS = frozenset(
    {
        "body", "text_body", "code", "codes", "key", "private_key", "pubkey", "password", "secret",
        "token", "bearer", "authorization", "signature", "nonce", "payload", "frame",
    }
)  # fmt: skip
_BLANK = "[not logged]"


def configure_logging(
    level: str = "info",
    log_format: str = "auto",
    *,
    stream: TextIO | None = None,
    node: str | None = None,
) -> None:
    """Send all logs of this process to `stream` (stderr) from now on.

    `level` is debug, info, warning or error; `log_format` is auto, human or json, where auto means
    human when the stream is a terminal. `node` is added to every JSON line. Calling it again
    replaces what was configured.
    """
    out = sys.stderr if stream is None else stream
    human = log_format == "human" or (log_format == "auto" and _is_terminal(out))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        _blank_secrets,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if human else "iso", utc=not human),
        structlog.processors.StackInfoRenderer(),
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _blank_secrets],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_human(out) if human else _json(node)),
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # aiohttp's access log repeats what the metrics count; asyncio's debug lines say nothing here.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(max(logging.INFO, root.level))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _human(out: TextIO) -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=_is_terminal(out),
            pad_event_to=36,
            # A traceback with local variables would print the messages that were handled.
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _json(node: str | None) -> list[Processor]:
    def in_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        first = {
            "timestamp": event.pop("timestamp", None),
            "level": event.pop("level", None),
            "message": event.pop("event", None),
            "node": node,
        }
        return {**{k: v for k, v in first.items() if v is not None}, **event}

    return [
        structlog.processors.format_exc_info,
        in_order,
        structlog.processors.JSONRenderer(default=_readable),
    ]


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _blank_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if not name.startswith("_") and name not in _UNTOUCHED:
            event[name] = _safe(name, value, depth=0)
    return event


_UNTOUCHED = frozenset({"exc_info", "level", "logger", "timestamp"})


def _safe(name: object, value: Any, depth: int) -> Any:
    if isinstance(name, str) and name.lower() in SECRET_FIELDS:
        return _BLANK
    if isinstance(value, str):
        return value if len(value) <= MAX_VALUE_CHARS else value[:MAX_VALUE_CHARS] + "..."
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if depth < 3:
        if isinstance(value, Mapping):
            return {k: _safe(k, v, depth + 1) for k, v in list(value.items())[:100]}
        if type(value) in (list, tuple):
            return [_safe(None, v, depth + 1) for v in value[:100]]
    return value


def _readable(value: object) -> str:
    return str(value)[:MAX_VALUE_CHARS]
