"""Random histories of one connection: what both ends see is the same, for real and simulated.

Whatever the two ends do to their transports, one thing after the other with time enough between, a
real connection on the loopback and one in a quiet world give the same callbacks, the same bytes and
the same kind of end.

`EXAMPLES` in the environment sets how many histories are tried.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from endpoints import Endpoint, Listening
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nets import Net, RealNet, SimulatedNet

EXAMPLES = int(os.environ.get("EXAMPLES", "60"))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["client", "server"]),
        st.sampled_from(["write", "write", "write_eof", "close", "abort", "pause", "resume"]),
    ),
    max_size=10,
)


def act(end: Endpoint, what: str) -> str:
    """Do something; what it raised."""
    transport = end.transport
    if end.has_eof and what in ("pause", "resume"):
        return ""  # asyncio says the end again, uvloop does not.
    try:
        match what:
            case "write":
                transport.write(b"0123456789")
            case "write_eof":
                transport.write_eof()
            case "close":
                transport.close()
            case "abort":
                transport.abort()
            case "pause":
                transport.pause_reading()
            case "resume":
                transport.resume_reading()
    except (RuntimeError, OSError) as error:
        return type(error).__name__
    return ""


def seen(end: Endpoint) -> tuple[Any, ...]:
    """What an end has seen; of an error only that it is one: there are two for the same thing."""
    lost = end.is_lost and (end.lost_with is not None)
    return tuple(end.calls), bytes(end.data), lost, end.transport.is_closing()


def history(net: Net, steps: list[tuple[str, str]], keep_open: bool) -> list[Any]:
    found: list[Any] = []

    async def main() -> None:
        listening: Listening = net.listening(keep_open=keep_open)
        port = await net.there(listening.open(net.bind))
        ends = {"client": await net.connect(port, keep_open=keep_open)}
        ends["server"] = await listening.end()
        await net.a_moment()
        for who, what in steps:
            end = ends[who]
            # After the end, loops differ, and nobody does anything to a transport.
            raised = "" if end.is_lost else act(end, what)
            await net.a_moment()
            found.append((who, what, raised, *(seen(each) for each in ends.values())))
        await net.close_all()

    net.run(main)
    return found


def alike(kind: str, steps: list[tuple[str, str]], keep_open: bool) -> None:
    real = history(RealNet(kind), steps, keep_open)
    simulated = history(SimulatedNet(seeds=0), steps, keep_open)
    if kind == "uvloop":
        # To end a way that was reset meanwhile raises with asyncio, and ends with uvloop.
        odd = next((n for n, step in enumerate(simulated) if step[2] == "OSError"), None)
        real, simulated = real[:odd], simulated[:odd]
    assert simulated == real


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
@settings(max_examples=EXAMPLES)
@given(steps=STEPS, keep_open=st.booleans())
@example([("client", "close"), ("server", "write"), ("server", "write")], True)
@example([("client", "close"), ("server", "write"), ("server", "write_eof")], True)
@example([("client", "pause"), ("server", "write"), ("client", "close")], True)
@example([("client", "pause"), ("server", "abort"), ("client", "write_eof")], True)
def test_a_real_and_a_simulated_connection_do_the_same(
    kind: str, steps: list[tuple[str, str]], keep_open: bool
) -> None:
    alike(kind, steps, keep_open)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
@settings(max_examples=20_000)
@given(steps=STEPS, keep_open=st.booleans())
def test_they_do_the_same_for_very_many_histories(
    kind: str, steps: list[tuple[str, str]], keep_open: bool
) -> None:
    alike(kind, steps, keep_open)
