from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent

# The helpers of these tests, of the command's, and a NATS server by itself.
sys.path += [str(TESTS / name) for name in ("cluster_cli", "cli", "jetstream", "replicated")]

from palaver.supervisors.trees.nats_binary import NatsServerMissing, find_nats_server  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A cluster needs the program."""
    try:
        find_nats_server()
    except NatsServerMissing as error:
        skip = pytest.mark.skip(reason=str(error))
        for item in items:
            if item.path.is_relative_to(TESTS / "cluster_cli"):
                item.add_marker(skip)
