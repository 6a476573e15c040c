"""The XMPP load client: what it reads from bytes, and (marked `peer`) a real ejabberd."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from palaver.supervisors.cli.bench.chat import Bench, Plan
from palaver.supervisors.cli.bench.ejabberd import Ejabberd, find_ejabberd
from palaver.supervisors.cli.bench.load import Flow, LoadFault, Meter, message_body
from palaver.supervisors.cli.bench.procfs import Cores, raise_file_limit
from palaver.supervisors.cli.bench.xmpp import XmppSession

INSTALLED = find_ejabberd()
BODY = message_body(1000).decode()
MESSAGE = (
    "<message xml:lang='en' to='u1@localhost/bench' from='u0@localhost/bench' type='chat' "
    f"id='1000'><body>{BODY}</body></message>"
).encode()
ENABLED = b"<enabled xmlns='urn:xmpp:sm:3'/>"
PRESENCE = b"<presence xml:lang='en' to='u1@localhost/bench' from='u1@localhost/bench'/>"
ASK = b"<r xmlns='urn:xmpp:sm:3'/>"


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        pass


def receiver(meter: Meter) -> tuple[XmppSession, Wire, Flow]:
    flow = Flow(0, 1, 1000, meter, sent_count=3)
    session, wire = XmppSession(1, flow, receipts=False), Wire()
    session.connection_made(wire)
    session.data_received(ENABLED)
    return session, wire, flow


@pytest.mark.parametrize("cut", range(1, len(PRESENCE + MESSAGE + ASK), 7))
def test_stanzas_are_counted_wherever_the_bytes_break(cut: int) -> None:
    async def scenario() -> None:
        meter = Meter()
        session, wire, flow = receiver(meter)
        data = PRESENCE + MESSAGE + ASK
        session.data_received(data[:cut])
        session.data_received(data[cut:])
        meter.check()
        assert flow.arrived_count == flow.confirmed_count == 1
        assert wire.written == b"<a xmlns='urn:xmpp:sm:3' h='2'/>"

    asyncio.run(scenario())


def test_an_ack_answers_all_stanzas_up_to_its_count() -> None:
    async def scenario() -> None:
        meter = Meter()
        flow = Flow(0, 1, 1000, meter)
        session, wire = XmppSession(0, None, receipts=False), Wire()
        session.connection_made(wire)
        session.data_received(ENABLED)
        session.outbox, flow.sender = flow, session
        flow.send(3, 0.0)
        assert wire.written.count(b"<message ") == 3
        assert wire.written.endswith(ASK)
        session.data_received(b"<a xmlns='urn:xmpp:sm:3' h='2'/>")
        assert flow.answered_count == 2
        session.data_received(b"<a h='3' xmlns='urn:xmpp:sm:3'/>")
        assert flow.answered_count == 3
        meter.check()
        session.data_received(b"<a h='4' xmlns='urn:xmpp:sm:3'/>")
        with pytest.raises(LoadFault, match="ack of 4 stanzas where 3 were sent"):
            meter.check()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "bad",
    [MESSAGE * 2, b"<stream:error xmlns='x'>", b"</stream:stream>", b"x" * 70_000],
)
def test_what_a_server_must_not_send(bad: bytes) -> None:
    async def scenario() -> None:
        meter = Meter()
        session, _, _ = receiver(meter)
        session.data_received(bad)
        with pytest.raises(LoadFault):
            meter.check()

    asyncio.run(scenario())


@pytest.mark.peer
@pytest.mark.skipif(isinstance(INSTALLED, str), reason=str(INSTALLED))
def test_a_real_ejabberd_goes_through_everything(tmp_path: Path) -> None:
    assert not isinstance(INSTALLED, str)
    raise_file_limit()
    plan = Plan(
        steady_rounds=1,
        steady_round_s=0.3,
        warmup_s=0.2,
        idle_steps=(20,),
        idle_rounds=1,
        offline_messages=100,
        offline_rounds=1,
        logins=20,
        login_rounds=1,
        kill_messages=100,
        settle_s=0.1,
        quiet_s=0.5,
    )
    cores = Cores.choose()
    server = Ejabberd(INSTALLED, tmp_path, plan.users, cores.server)
    bench = Bench(plan, tmp_path, cores, lambda _: None, pairs=5, offline_pairs=10)
    try:
        samples, batch = bench.measure(server)
    finally:
        server.kill()
    assert batch is None
    assert samples["messages_per_s"][0] > 0
    assert 0 <= samples["acked_lost_on_kill"][0] <= 100
    assert {"offline_drain_per_s", "logins_per_s", "idle_connection_kb"} <= set(samples)
