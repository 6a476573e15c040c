"""The option `--long`, which also runs what searches for a long time."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="also run the tests marked `long`: long searches"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        skip = pytest.mark.skip(reason="a long search; runs with --long")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)
