"""What a type checker finds at the call site, by asking mypy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four packages as one tree, as they are installed."""
    tree = tmp_path_factory.mktemp("tree")
    (tree / "palaver").mkdir()
    for part in ("actors", "supervisors", "storage", "transport"):
        (tree / "palaver" / part).symlink_to(ROOT / part)
    return tree


@pytest.mark.parametrize("case", ["names.py", "protocols.py", "queries.py"])
def test_mypy_finds_the_wrong_lines_and_no_others(
    case: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYPYPATH", str(tree))
    monkeypatch.chdir(ROOT)
    source = HERE / case
    report, problems, _ = api.run(
        ["--strict", "--no-incremental", "--follow-imports=silent", str(source)]
    )
    assert not problems
    found = {int(line) for line in re.findall(rf"{re.escape(case)}:(\d+): error", report)}
    wrong = {
        number
        for number, line in enumerate(source.read_text().splitlines(), 1)
        if line.endswith("# wrong")
    }
    assert found == wrong, report
    assert wrong
