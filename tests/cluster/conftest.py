from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def folder_of_the_towns() -> Iterator[None]:
    from cluster_kit import FOLDER

    yield
    shutil.rmtree(FOLDER, ignore_errors=True)
