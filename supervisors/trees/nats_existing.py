"""An existing NATS: whether it keeps what Palaver promises, before anything is put into it.

Its servers are asked, all of them: at their monitoring addresses, or over a connection to the
system account. What an ordinary connection tells is not enough: nobody can see with it whether a
server writes to its disk what it confirms.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from palaver.storage.jetstream.errors import UnfitEngine
from palaver.supervisors.trees.nats_binary import MIN_VERSION, parse_version
from palaver.supervisors.trees.nats_config import MAX_PAYLOAD_BYTES
from palaver.supervisors.trees.nats_monitor import MonitorFailed, fetch

__all__ = ["ServerFacts", "check_existing_nats", "problems_of"]

_MIN_PAYLOAD_BYTES: Final = MAX_PAYLOAD_BYTES // 4
"""An entry of a journal, and a packet between nodes, with what is around them."""
_QUIET_S: Final = 0.5
"""So long after the last answer nobody else is waited for."""

_HOW_TO_SHOW: Final = (
    "nobody can tell whether its servers write to their disks what they confirm: name the"
    " monitoring address of each (cluster_nats_monitor = http://host:8222, ...; in the servers'"
    ' configuration: http: "host:8222")'
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What matters of one server.

    Attributes:
        name: as it calls itself.
        version: of nats-server, None if it says none.
        jetstream: whether JetStream is on.
        sync_always: whether what it confirms is on its disk.
        max_payload: of a message, in bytes.
        cluster: the name of the servers' cluster, None if it stands alone.
        cluster_size: how many servers JetStream counts, itself too.
    """

    name: str
    version: tuple[int, int, int] | None
    jetstream: bool
    sync_always: bool
    max_payload: int
    cluster: str | None
    cluster_size: int

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> ServerFacts:
        """Read what `/varz` says."""
        jetstream = said.get("jetstream") or {}
        config = jetstream.get("config")
        meta = jetstream.get("meta") or {}
        return cls(
            name=str(said.get("server_name") or said.get("server_id")),
            version=parse_version(str(said.get("version", ""))),
            jetstream=config is not None,
            sync_always=bool((config or {}).get("sync_always")),
            max_payload=int(said.get("max_payload", 0)),
            cluster=(said.get("cluster") or {}).get("name"),
            cluster_size=int(meta.get("cluster_size", 1)),
        )


async def check_existing_nats(
    nc: Client,
    *,
    replicas: int,
    monitors: Sequence[str] = (),
    system: Client | None = None,
    timeout_s: float = 5.0,
) -> list[ServerFacts]:
    """See whether a NATS can be the engine of a cluster; what was found out about its servers.

    Args:
        nc: an ordinary connection, as the nodes will use.
        replicas: copies of each journal that are asked for.
        monitors: the monitoring addresses of all its servers, `http://host:port`.
        system: a connection to the system account, instead.
        timeout_s: for each question.

    Raises:
        UnfitEngine: it cannot be used, or it cannot be told whether it can; all reasons are in it.
    """
    problems = await _account_problems(nc, timeout_s)
    if not monitors and system is None:
        raise UnfitEngine([*problems, _HOW_TO_SHOW])
    facts: list[ServerFacts] = []
    for url in monitors:
        try:
            said = await asyncio.to_thread(fetch, url, "/varz", timeout_s)
            facts.append(ServerFacts.read(said))
        except MonitorFailed as error:
            problems.append(f"{error}; all monitoring addresses have to answer")
    if system is not None:
        facts += await _ask_all(system, timeout_s)
    known = {each.name: each for each in facts}
    problems += problems_of(list(known.values()), replicas)
    own = (nc._server_info or {}).get("server_name")  # noqa: SLF001 - it has no other name
    if known and own not in known:
        problems.append(f"the addresses are those of other servers: {own} is none of them")
    if problems:
        raise UnfitEngine(problems)
    return list(known.values())


async def _account_problems(nc: Client, timeout_s: float) -> list[str]:
    try:
        await nc.jetstream(timeout=timeout_s).account_info()
    except (NatsError, TimeoutError) as error:
        text = (
            f"JetStream does not answer ({error or type(error).__name__}): set jetstream {{ }} on"
        )
        return [f"{text} its servers, and jetstream: enabled for the account"]
    return []


async def _ask_all(system: Client, timeout_s: float) -> list[ServerFacts]:
    """Ask every server over the system account, until no more of them answer."""
    answers: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = system.new_inbox()
    sub = await system.subscribe(inbox, cb=answers.put)
    facts = []
    try:
        await system.publish("$SYS.REQ.SERVER.PING.VARZ", reply=inbox)
        wait_s = timeout_s
        while True:
            async with asyncio.timeout(wait_s):
                msg = await answers.get()
            said = json.loads(msg.data or b"{}")
            if "data" in said:
                facts.append(ServerFacts.read(said["data"]))
            wait_s = _QUIET_S
    except TimeoutError:
        return facts
    finally:
        await sub.unsubscribe()


def problems_of(facts: Sequence[ServerFacts], replicas: int) -> list[str]:
    """Return all that keeps servers from being a cluster's engine, with what to do about it."""
    if not facts:
        return ["none of its servers says how it is set up; is this the system account?"]
    problems = []
    least = ".".join(map(str, MIN_VERSION))
    for each in facts:
        if each.version is None or each.version < MIN_VERSION:
            is_ = ".".join(map(str, each.version)) if each.version else "unknown"
            problems.append(f"{each.name} is version {is_}: {least} or newer is needed")
        if each.max_payload < _MIN_PAYLOAD_BYTES:
            problems.append(
                f"{each.name} takes messages of {each.max_payload} bytes: set max_payload: 8MB"
            )
        if each.jetstream and not each.sync_always:
            problems.append(
                f"{each.name} confirms what is not on its disk yet, and loses it in a power cut:"
                " set jetstream { sync_interval: always }"
            )
    with_jetstream = [each for each in facts if each.jetstream]
    if len(with_jetstream) < replicas:
        problems.append(
            f"{len(with_jetstream)} of its servers have JetStream, {replicas} copies are asked for:"
            " start more servers, or set fewer cluster_replicas"
        )
    size = max((each.cluster_size for each in with_jetstream), default=0)
    if len(with_jetstream) < size:
        problems.append(
            f"{len(with_jetstream)} of its {size} servers with JetStream were seen: any of them may"
            " keep a journal, so name the monitoring address of each"
        )
    clusters = {each.cluster for each in with_jetstream}
    if len(clusters) > 1:
        names = ", ".join(sorted(str(cluster) for cluster in clusters))
        problems.append(f"its servers are of different clusters ({names}): name those of one")
    return problems
