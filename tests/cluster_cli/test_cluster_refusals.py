"""Nodes that may not be a part of a cluster, or cannot any more: what they say, how they end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_programs import command, environment
from nats_kit import Servers

from palaver.actors.cluster.names import MEMBERSHIP
from palaver.actors.cluster.records import NodeRecord, decoded, encoded, node_key
from palaver.actors.runtime import KILL
from palaver.storage.jetstream import JetStreamRegisters
from palaver.supervisors.cli.cluster.keys import make_keys
from palaver.supervisors.cli.codes import FileCodeSender
from palaver.supervisors.cli.serve import serve
from palaver.supervisors.trees.nats_config import CLIENT_USER
from palaver.supervisors.trees.settings import Settings
from palaver.supervisors.trees.system import ChatSystem

NODE = "a@127.0.0.1"


def settings_of(
    folder: Path, servers: Servers, cluster: str, name: str = NODE, **more: object
) -> Settings:
    """A node that uses a NATS which is there already, and founds a cluster by itself."""
    keys = make_keys(folder / "keys" / cluster, name, ["127.0.0.1"], cluster)
    address = f"127.0.0.1:{servers.client_ports[0]}"
    values: dict[str, object] = {
        "name": name,
        "data_dir": folder / name,
        "port": 0,
        "admin_port": 0,
        "cluster_name": cluster,
        "cluster_keys": keys,
        "cluster_nats": (f"nats://{CLIENT_USER}:secret-node@{address}",),
        "cluster_nats_monitor": (servers.monitor(0),),
        "cluster_founders": 1,
        "cluster_replicas": 1,
        "drain_s": 1.0,
        "cluster_journal_bytes": 64 << 20,
    }
    return Settings(**{**values, **more})  # type: ignore[arg-type]


def started(settings: Settings) -> subprocess.Popen[str]:
    """The same by the command."""
    keys = (
        "name", "data_dir", "port", "admin_port", "cluster_name", "cluster_keys",
        "cluster_founders", "cluster_replicas", "partitions", "cluster_journal_bytes",
    )  # fmt: skip
    pairs = [f"{key}={getattr(settings, key)}" for key in keys]
    pairs += [
        f"{key}={','.join(getattr(settings, key))}"
        for key in ("cluster_nats", "cluster_nats_monitor")
    ]
    return subprocess.Popen(
        command("serve", *(each for pair in pairs for each in ("--set", pair))),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it said to whoever has started it."""
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Traceback" not in err
    return process.returncode, " ".join(err.split())


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("nats"), 1) as servers:
        yield servers


class Careless(Servers):
    """A server that confirms what is not on its disk yet."""

    def adjusted(self, text: str) -> str:
        return text.replace("sync_interval: always", "sync_interval: 2m")


class Forgetful(Servers):
    """A server without JetStream."""

    def adjusted(self, text: str) -> str:
        return re.sub(r"jetstream \{[^}]*\}\n", "", text).replace("jetstream: enabled, ", "")

    def until_ready(self, *_: int) -> None:
        """It has nothing to be ready."""


def test_a_nats_that_would_not_keep_what_is_promised_is_refused(
    nats: Servers, tmp_path: Path
) -> None:
    with Careless(tmp_path / "1", 1) as careless, Forgetful(tmp_path / "2", 1) as forgetful:
        wrong = {
            "set jetstream { sync_interval: always }": started(
                settings_of(tmp_path / "a", careless, "one")
            ),
            "JetStream does not answer": started(settings_of(tmp_path / "b", forgetful, "one")),
            "1 of its servers have JetStream, 3 copies are asked for": started(
                settings_of(tmp_path / "c", nats, "one", cluster_replicas=3, cluster_founders=3)
            ),
            "all monitoring addresses have to answer": started(
                settings_of(
                    tmp_path / "d", nats, "one", cluster_nats_monitor=("http://127.0.0.1:9",)
                )
            ),
        }
        for text, process in wrong.items():
            code, said = end_of(process)
            assert code == 1
            assert text in said
            assert "the node cannot start" in said


def ends(
    settings: Settings, disturb: Callable[[ChatSystem, JetStreamRegisters], object], nats: Servers
) -> tuple[int, str]:
    """Serve in this process, do something to the node once it is up; how and why it ended."""

    async def main() -> tuple[int, str]:
        systems = []

        def make() -> ChatSystem:
            systems.append(ChatSystem(settings, code_sender=FileCodeSender(Path(os.devnull))))
            return systems[0]

        up = settings.data_dir.parent / "up"
        serving = asyncio.ensure_future(serve(settings, make, up))
        while not up.exists() and not serving.done():
            await asyncio.sleep(0.02)
        system = systems[0]
        failing = asyncio.ensure_future(system.wait_failed())
        async with nats.connect() as nc:
            registers = JetStreamRegisters(nc, str(settings.cluster_name), replicas=1)
            await registers.open()
            done = disturb(system, registers)
            if asyncio.iscoroutine(done):
                await done
            code = await asyncio.wait_for(serving, 60)
            await registers.close()
        return code, await failing

    return asyncio.run(main())


def test_a_node_whose_cluster_part_fails_again_and_again_ends(
    nats: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def kill_it_again_and_again(system: ChatSystem, _: JetStreamRegisters) -> None:
        node = system.node
        while node.whereis("cluster") is not None:
            pid = node.whereis(MEMBERSHIP)
            if pid is not None:
                node.exit(pid, KILL)
                await node.wait(pid)
            await asyncio.sleep(0.01)

    code, why = ends(settings_of(tmp_path, nats, "two"), kill_it_again_and_again, nats)
    assert code == 1
    assert "what makes it a node of its cluster has ended" in why
    assert "node failed" in capsys.readouterr().out


def test_a_node_whose_name_another_one_has_taken_ends(nats: Servers, tmp_path: Path) -> None:
    async def take_its_name(_: ChatSystem, registers: JetStreamRegisters) -> None:
        register = await registers.read(node_key(NODE))
        assert register is not None
        record: NodeRecord = decoded(NodeRecord, register.value)
        other = replace(record, creation=record.creation + 1, beat=record.beat + 1)
        await registers.write(node_key(NODE), encoded(other), register.revision)

    code, why = ends(settings_of(tmp_path, nats, "three"), take_its_name, nats)
    assert (code, why) == (1, f"another node has taken the name {NODE}: stop this one")


def test_a_node_that_was_removed_ends_and_it_is_no_failure(nats: Servers, tmp_path: Path) -> None:
    async def remove_it(_: ChatSystem, registers: JetStreamRegisters) -> None:
        register = await registers.read(node_key(NODE))
        assert register is not None
        await registers.delete(node_key(NODE), register.revision)

    code, why = ends(settings_of(tmp_path, nats, "four"), remove_it, nats)
    assert (code, why) == (0, "this node was removed from the cluster: stop it")


def test_a_node_that_belongs_elsewhere_is_refused(nats: Servers, tmp_path: Path) -> None:
    well = started(settings_of(tmp_path, nats, "five", partitions=2))
    try:
        assert well.stderr is not None
        assert any("node up" in line for line in well.stderr)
        others = {
            "of 4 partitions, format 1, but the registers are those of cluster five of 2": started(
                settings_of(tmp_path, nats, "five", "b@127.0.0.1", partitions=4)
            ),
            "is alive: give this one another name": started(
                settings_of(tmp_path, nats, "five", data_dir=tmp_path / "twin", partitions=2)
            ),
        }
        for text, process in others.items():
            code, said = end_of(process)
            assert code == 1
            assert text in said
    finally:
        well.send_signal(signal.SIGTERM)
        well.communicate(timeout=60)
    assert well.returncode == 0
