from __future__ import annotations

import json
from pathlib import Path

from cli_programs import inside, palaver


def test_the_demo_keeps_its_promises(tmp_path: Path) -> None:
    done = palaver("demo", "--json", "--keep", str(tmp_path / "demo"))
    report = json.loads(done.stdout)
    broken = [p for p in report["promises"] if not p["kept"]]
    assert (done.returncode, broken) == (0, []), done.stderr
    assert len(report["promises"]) >= 12
    for word in ("✓✓", "last seen", "SHA-256", "killed with -9"):
        assert word in done.stderr
    assert inside("check", str(tmp_path / "demo" / "data")).returncode == 0
    assert inside("demo", "--keep", str(tmp_path / "demo")).returncode == 1  # it exists
