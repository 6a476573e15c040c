from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_programs import inside
from typer.main import get_command

from palaver.supervisors.cli.app import app
from palaver.supervisors.trees.settings import keys

NAMES = ["serve", "chat", "demo", "user", "settings", "check", "backup", "restore", "estimate",
         "bench", "tables", "version"]  # fmt: skip


def test_every_command_explains_itself() -> None:
    top = inside("--help")
    assert top.returncode == 0
    command: Any = get_command(app)
    assert set(NAMES) <= set(command.commands)
    for name, each in command.commands.items():
        assert name in top.stdout
        assert inside(name, "--help").returncode == 0
        for sub in getattr(each, "commands", {}).values():
            assert sub.help, sub.name
        for parameter in each.params:
            assert parameter.help or parameter.name == "help", (name, parameter.name)


def test_estimate_prints_every_assumption_and_takes_every_one() -> None:
    shown = inside("estimate", "--users", "2e6", "--assume", "peak=5", "-a", "logins-per-s=100")
    assert shown.returncode == 0
    answer = json.loads(
        inside("estimate", "--json", "--assume", "daily_users=2e6", "--assume", "peak=5").stdout
    )
    for name in answer["assumptions"]:
        assert name in shown.stdout
    for name in answer["figures"]:
        assert name == "source" or name in shown.stdout
    assert "2,000,000" in shown.stdout
    assert answer["assumptions"]["peak"] == 5
    assert answer["estimate"]["nodes"] >= 1


def test_estimate_reads_a_bench_report(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    rows = [{"name": "logins_per_s", "value": 321.0, "unit": "1/s"}]
    file.write_text(json.dumps({"machine": {"cores": 2}, "figures": rows}))
    answer = json.loads(inside("estimate", "--json", "--figures", str(file)).stdout)
    assert answer["figures"]["logins_per_s"] == 321.0
    file.write_text("[]")
    refused = inside("estimate", "--figures", str(file))
    assert (refused.returncode, "palaver bench chat --json" in refused.stderr) == (2, True)
    assert inside("estimate", "--figures", str(tmp_path / "missing")).returncode == 1


@pytest.mark.parametrize("text", ["nothing=1", "peak", "peak=x", "peak=0.5", "logins_per_s=0"])
def test_estimate_refuses_what_it_does_not_know(text: str) -> None:
    assert inside("estimate", "--assume", text).returncode == 2


def test_settings_are_shown_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "palaver.toml"
    file.write_text("[media]\nquota_bytes = '1 GiB'\n")
    shown = inside("settings", "--config", str(file))
    for key in keys():
        assert key.name in shown.stdout
    assert "1 GiB" in shown.stdout
    values = json.loads(inside("settings", "--json", "--set", "port=5").stdout)
    assert values["port"] == 5
    assert inside("settings", "--set", "porrt=5").returncode == 2


def test_users_through_the_socket_of_a_fake_node(served: Any) -> None:
    data = ["--data", str(served.folder)]
    assert inside("user", "list", *data).stdout == "no accounts\n"
    for n in range(3):
        assert inside("user", "add", f"+49170123456{n}", *data).returncode == 0
    page = inside("user", "list", "--limit", "2", *data)
    assert "palaver user list --after +491701234561" in page.stdout
    rest = json.loads(inside("user", "list", "--after", "+491701234561", "--json", *data).stdout)
    assert [u["account"] for u in rest] == ["+491701234562"]
    code = inside("user", "code", "+491701234560", *data)
    assert "123456" in code.stdout
    missing = inside("user", "show", "+1", *data)
    assert (missing.returncode, missing.stderr) == (1, "error: there is no account +1\n")
    assert inside("user", "revoke", "+491701234560", "0", *data).returncode == 2
    full = inside("backup", str(served.folder / "full"), *data)
    assert (full.returncode, "no space left" in full.stderr) == (1, True)


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "is not JSON"), ("[]", "must be an object"), ("{}", "account must be text"),
     ('{"account": "+1", "device_name": "x", "pubkey_hex": "0"}', "64 hexadecimal digits"),
     ("x" * 70_000, "too long")],
)  # fmt: skip
def test_an_import_is_checked_before_anything_is_registered(
    served: Any, line: str, said: str
) -> None:
    good = json.dumps({"account": "+1", "device_name": "x", "pubkey_hex": "11" * 32})
    file = served.folder / "devices.jsonl"
    file.write_text(f"{good}\n{line}\n")
    done = inside("user", "import", str(file), "--data", str(served.folder))
    assert done.returncode == 1
    assert f"{file}, line 2: " in done.stderr
    assert said in done.stderr
    assert not served.node.accounts


def test_a_missing_folder_is_told_and_what_to_do(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for arguments in (["user", "list", "--data", missing], ["backup", "x", "--data", missing],
                      ["check", missing], ["restore", missing, "--data", "x"]):  # fmt: skip
        done = inside(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: there is no ")
    empty = inside("user", "list", "--data", str(tmp_path))
    assert empty.returncode == 1
    assert empty.stderr.startswith("error: ")
