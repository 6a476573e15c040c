"""An existing NATS is taken or refused, with what is to be done about it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats_kit import Servers, free_ports

from palaver.storage.jetstream import UnfitEngine
from palaver.supervisors.trees.nats_config import SYSTEM_USER
from palaver.supervisors.trees.nats_existing import ServerFacts, check_existing_nats, problems_of

GOOD = ServerFacts("n", (2, 15, 1), True, True, 8 << 20, "town", 1)


def _refused(servers: Servers, replicas: int, monitors: list[str]) -> str:
    async def main() -> None:
        async with servers.connect() as client:
            await check_existing_nats(client, replicas=replicas, monitors=monitors, timeout_s=1.0)

    with pytest.raises(UnfitEngine) as caught:
        asyncio.run(main())
    return str(caught.value)


@pytest.mark.peer
class TestReal:
    def test_a_good_one_is_taken_by_its_monitors_or_its_system_account(
        self, three: Servers
    ) -> None:
        async def main() -> None:
            async with three.connect() as client, three.connect(user=SYSTEM_USER) as system:
                monitors = [three.monitor(n) for n in range(3)]
                seen = await check_existing_nats(client, replicas=3, monitors=monitors)
                assert {each.name for each in seen} == {"n0", "n1", "n2"}
                asked = await check_existing_nats(client, replicas=3, system=system)
                assert {each.name for each in asked} == {"n0", "n1", "n2"}

        asyncio.run(main())

    def test_one_that_cannot_be_looked_into_is_refused_with_how_to_show_it(
        self, three: Servers
    ) -> None:
        assert "cluster_nats_monitor" in _refused(three, 3, [])

    def test_one_of_which_not_all_servers_are_seen_is_refused(self, three: Servers) -> None:
        assert "2 of its 3 servers" in _refused(three, 1, [three.monitor(0), three.monitor(1)])
        (port,) = free_ports(1)
        silent = f"http://127.0.0.1:{port}"
        assert "all monitoring addresses have to answer" in _refused(three, 1, [silent])

    def test_one_that_confirms_what_is_not_on_its_disk_is_refused(self, tmp_path: Path) -> None:
        class Careless(Servers):
            def adjusted(self, text: str) -> str:
                return text.replace("sync_interval: always", "")

        with Careless(tmp_path / "careless", 1) as servers:
            said = _refused(servers, 1, [servers.monitor(0)])
            assert "sync_interval: always" in said

    def test_other_servers_than_those_that_are_used_are_noticed(
        self, tmp_path: Path, three: Servers
    ) -> None:
        class Others(Servers):
            name = "other"

        with Others(tmp_path / "others", 1) as others:
            assert "those of other servers" in _refused(three, 1, [others.monitor(0)])


def test_a_good_server_has_no_problems() -> None:
    assert problems_of([GOOD], 1) == []


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (ServerFacts("n", (2, 9, 10), True, True, 8 << 20, "t", 1), "2.11 or newer"),
        (ServerFacts("n", None, True, True, 8 << 20, "t", 1), "version unknown"),
        (ServerFacts("n", (2, 15, 1), True, False, 8 << 20, "t", 1), "sync_interval: always"),
        (ServerFacts("n", (2, 15, 1), True, True, 1 << 20, "t", 1), "max_payload: 8MB"),
        (ServerFacts("n", (2, 15, 1), False, False, 8 << 20, "t", 1), "0 of its servers"),
        (ServerFacts("n", (2, 15, 1), True, True, 8 << 20, "t", 3), "1 of its 3 servers"),
    ],
)
def test_each_problem_says_what_to_do(facts: ServerFacts, says: str) -> None:
    (problem,) = problems_of([facts], 1)
    assert says in problem


def test_too_few_servers_and_several_clusters_are_problems() -> None:
    other = ServerFacts("m", (2, 15, 1), True, True, 8 << 20, "village", 1)
    few, several = problems_of([GOOD, other], 3)
    assert "3 copies" in few
    assert "town, village" in several
    assert "system account" in problems_of([], 1)[0]
