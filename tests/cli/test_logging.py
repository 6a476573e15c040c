from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from palaver.supervisors.trees.logging import MAX_VALUE_CHARS, configure_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_pipe_gets_json_lines_and_a_terminal_colours() -> None:
    pipe, terminal = io.StringIO(), Terminal()
    configure_logging(stream=pipe, node="a@b")
    structlog.get_logger("palaver.test").info("node up", port=4400)
    (line,) = lines(pipe)
    assert list(line)[:4] == ["timestamp", "level", "message", "node"]
    assert (line["message"], line["level"], line["port"]) == ("node up", "info", 4400)
    assert (line["node"], line["logger"]) == ("a@b", "palaver.test")
    configure_logging(stream=terminal)
    structlog.get_logger().info("node up", port=4400)
    assert "node up" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()


def test_human_lines_in_a_file_have_no_colours() -> None:
    out = io.StringIO()
    configure_logging(log_format="human", stream=out)
    structlog.get_logger().warning("slow", seconds=1)
    assert "\x1b[" not in out.getvalue()
    assert "seconds=1" in out.getvalue()


def test_libraries_and_warnings_come_the_same_way() -> None:
    out = io.StringIO()
    configure_logging(stream=out)
    logging.getLogger("aiohttp.server").error("broke %s", "here", extra={"peer": "x"})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    first, second = lines(out)
    assert (first["message"], first["peer"], first["level"]) == ("broke here", "x", "error")
    assert "old" in second["message"]


def test_the_level_holds_and_can_be_changed() -> None:
    out = io.StringIO()
    log = structlog.get_logger()
    configure_logging("warning", stream=out)
    log.info("no")
    logging.getLogger("x").info("no")
    configure_logging("debug", stream=out)
    log.debug("yes")
    assert [line["message"] for line in lines(out)] == ["yes"]


def crash(log: Any, secret: bytes) -> None:
    try:
        _ = len(secret) / 0
    except ZeroDivisionError:
        log.exception("crashed")
        logging.getLogger("x").exception("crashed")


def test_contents_and_secrets_never_pass() -> None:
    for log_format in ("json", "human"):
        out = io.StringIO()
        configure_logging(log_format=log_format, stream=out)
        log = structlog.get_logger()
        log.info("m", body="sesame", detail={"token": "sesame", "list": [{"code": "sesame"}]})
        log.info("m", anything=b"sesame", Key="sesame", deep=({"signature": "sesame"},))
        logging.getLogger("x").info("m", extra={"password": "sesame"})
        crash(log, b"sesame")
        text = out.getvalue()
        assert "sesame" not in text
        assert "[not logged]" in text
        assert "[6 bytes]" in text
        assert "ZeroDivisionError" in text


def test_long_values_are_cut_and_odd_ones_do_not_break_the_line() -> None:
    out = io.StringIO()
    configure_logging(stream=out)
    structlog.get_logger().info("m", long="x" * 10_000, odd=object(), keys={1: 2})
    (line,) = lines(out)
    assert len(line["long"]) == MAX_VALUE_CHARS + 3
    assert line["keys"] == {"1": 2}
