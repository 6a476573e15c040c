"""The real `palaver cluster demo`: told to its end, every promise kept."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from cli_programs import command, environment

#: How long the machine takes is no promise; a story that does not end is a fault.
PATIENCE_S = 240.0


def test_the_demo_keeps_its_promises(tmp_path: Path) -> None:
    done = subprocess.run(
        command("cluster", "demo", "--json", "--keep", str(tmp_path / "demo")),
        capture_output=True, text=True, timeout=PATIENCE_S, env=environment(), check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    broken = [promise for promise in report["promises"] if not promise["kept"]]
    assert (done.returncode, broken, report["kept"]) == (0, [], True), done.stderr
    assert len(report["promises"]) >= 8
    told = " ".join(line["what"] for line in report["happened"])
    assert "killed with -9" in told
    assert "first tick of a message sent after the kill" in told
    for word in ("up again on its folder", "0 lost, 0 doubled", "What happened when"):
        assert word in done.stderr
