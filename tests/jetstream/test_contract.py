"""The contract of journals and registers, over one real server and over three."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from journal_contract import JournalContract, RegistersContract
from nats_kit import Servers, Town

pytestmark = pytest.mark.peer


class _OverOne:
    servers: Servers

    @pytest.fixture(autouse=True)
    def _use(self, one: Servers) -> None:
        self.servers = one

    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[Town]:
        async with Town(self.servers, "contract", self.servers.count) as town:
            yield town


class _OverThree(_OverOne):
    @pytest.fixture(autouse=True)
    def _use(self, three: Servers) -> None:
        self.servers = three


class TestJournalsOverOneServer(_OverOne, JournalContract):
    keeps_last = True


class TestRegistersOverOneServer(_OverOne, RegistersContract):
    pass


class TestJournalsOverThreeServers(_OverThree, JournalContract):
    keeps_last = True


class TestRegistersOverThreeServers(_OverThree, RegistersContract):
    pass
