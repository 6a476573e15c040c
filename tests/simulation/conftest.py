"""The tests between nodes run twice: messages are copied, and messages are bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from palaver.actors.distribution import Vocabulary
from palaver.actors.simulation import Fabric

sys.path.insert(0, str(Path(__file__).parent))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2].startswith("test_between_"):
        metafunc.parametrize("crossing", ["copied", "encoded"], indirect=True)


@pytest.fixture(autouse=True)
def crossing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How messages of every `Fabric` made in the test cross."""
    if getattr(request, "param", None) == "encoded":
        vocabulary = Vocabulary().add_module(request.module)
        monkeypatch.setitem(Fabric.__init__.__kwdefaults__, "vocabulary", vocabulary)
