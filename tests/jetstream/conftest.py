"""Real NATS servers, one and three, shared by the tests of a module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "replicated"))

from nats_kit import Servers

from palaver.supervisors.trees.nats_binary import NatsServerMissing, find_nats_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here that needs the program is skipped without it."""
    try:
        find_nats_server()
    except NatsServerMissing as error:
        skip = pytest.mark.skip(reason=str(error))
        for item in items:
            if item.get_closest_marker("peer") and "jetstream" in str(item.path):
                item.add_marker(skip)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One server."""
    with Servers(tmp_path_factory.mktemp("one"), 1) as servers:
        yield servers


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Three servers in one cluster."""
    with Servers(tmp_path_factory.mktemp("three"), 3) as servers:
        yield servers
