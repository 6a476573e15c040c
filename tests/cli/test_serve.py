from __future__ import annotations

import json
import signal
import socket
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_programs import Node, Program, inside, palaver
from prometheus_client.parser import text_string_to_metric_families

ANNA, BEN = "+491701234567", "+491701234568"
KEY = "11" * 32


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    running = Node(tmp_path_factory.mktemp("node"))
    yield running
    running.close()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def as_json(*arguments: str) -> object:
    done = inside(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_says_where_it_is(node: Node) -> None:
    assert node.where["pid"] == node.process.pid
    assert node.where["ws"].startswith("ws://127.0.0.1:")
    assert node.where["ws"].endswith("/ws")
    assert stat.S_IMODE((node.data / "admin.sock").stat().st_mode) == 0o600


def test_metrics_and_health_of_a_real_node(node: Node) -> None:
    admin = node.where["admin"]
    assert get(admin + "/healthz") == (200, "ok\n")
    assert get(admin + "/readyz") == (200, "ready\n")
    status, text = get(admin + "/metrics")
    assert status == 200
    families = {f.name: f for f in text_string_to_metric_families(text)}
    for name in ("palaver_connections", "palaver_messages_in", "palaver_ack_seconds",
                 "palaver_queue_depth", "palaver_commit_batch_commands", "palaver_commit_seconds",
                 "palaver_cache_hits", "palaver_actor_restarts", "palaver_mailbox_length_max",
                 "palaver_bad_input"):  # fmt: skip
        assert name in families, name


def test_users_of_a_running_node(node: Node) -> None:
    data = ["--data", str(node.data)]
    line = json.dumps({"account": BEN, "device_name": "robot", "pubkey_hex": KEY})
    assert inside("user", "add", "+49 170 1234567", *data).stdout == f"added {ANNA}\n"
    again = inside("user", "add", ANNA, *data)
    assert (again.returncode, again.stdout) == (1, "")
    assert "error: " in again.stderr
    other = json.dumps({"account": BEN, "device_name": "b", "pubkey_hex": "22" * 32})
    done = inside("user", "import", "-", *data, stdin=f"{line}\n\n{other}\n{line}\n")
    assert done.stdout == "imported 2 devices of 1 accounts\n", done.stderr
    users = as_json("user", "list", *data)
    assert isinstance(users, list)
    assert [(u["account"], u["devices"]) for u in users] == [(ANNA, 0), (BEN, 2)]
    assert inside("user", "revoke", BEN, "1", *data).returncode == 0
    assert inside("user", "revoke", BEN, "99", *data).returncode == 1
    devices = as_json("user", "devices", BEN, *data)
    assert isinstance(devices, list)
    assert [d["name"] for d in devices] == ["b"]
    code = as_json("user", "code", ANNA, *data)
    assert isinstance(code, dict)
    assert code["account"] == ANNA
    assert code["code"].isdigit()
    assert code["code"] not in node.output  # codes are in no log
    shown = inside("user", "show", BEN, *data)
    assert BEN in shown.stdout
    refused = inside("user", "delete", BEN, *data)
    assert (refused.returncode, "--yes" in refused.stderr) == (1, True)
    assert inside("user", "delete", BEN, "--yes", *data).returncode == 0
    assert as_json("user", "devices", BEN, *data) == []
    assert inside("user", "show", "+491701239999", *data).returncode == 1


def test_a_hot_backup_is_checked_and_restored(node: Node, tmp_path: Path) -> None:
    data = ["--data", str(node.data)]
    inside("user", "add", "+491701230000", *data)
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    record = as_json("backup", str(backup), *data)
    assert isinstance(record, dict)
    assert record["path"] == str(backup)
    assert inside("backup", str(backup), *data).returncode == 1  # it exists
    in_use = inside("check", str(node.data))
    assert (in_use.returncode, "a node runs" in in_use.stderr) == (1, True)
    assert inside("check", str(backup)).returncode == 0
    done = inside("restore", str(backup), "--data", str(restored))
    assert done.returncode == 0, done.stderr
    assert inside("restore", str(backup), "--data", str(restored)).returncode == 1  # it exists
    assert as_json("check", str(restored)) == {"data": str(restored), "ok": True, "findings": []}
    users = as_json("user", "list", "--data", str(restored))  # no node: directly on the folder
    assert isinstance(users, list)
    assert "+491701230000" in [u["account"] for u in users]
    code = inside("user", "code", ANNA, "--data", str(restored))
    assert (code.returncode, "running node" in code.stderr) == (1, True)


def test_a_damaged_backup_is_found_and_not_restored(node: Node, tmp_path: Path) -> None:
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    assert inside("backup", str(backup), "--data", str(node.data)).returncode == 0
    largest = max((p for p in backup.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)
    found = inside("check", str(backup), "--json")
    assert found.returncode == 1
    assert json.loads(found.stdout)["findings"]
    assert inside("restore", str(backup), "--data", str(restored)).returncode == 1
    assert not restored.exists()


def test_a_second_node_on_the_folder_is_refused_and_named(node: Node) -> None:
    done = palaver("serve", "--data", str(node.data), "--port", "0", "--admin-port", "0")
    assert done.returncode == 1
    assert str(node.process.pid) in done.stderr


def test_a_taken_port_is_explained(node: Node, tmp_path: Path) -> None:
    port = node.where["ws"].split(":")[2].split("/")[0]
    done = palaver("serve", "--data", str(tmp_path / "d"), "--port", port, "--admin-port", "0")
    assert done.returncode == 1
    assert "error: the node cannot start" in done.stderr
    assert "in use" in done.stderr
    assert "try: another node may run there" in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_0(tmp_path: Path, signum: signal.Signals) -> None:
    socket_path = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(str(socket_path))
        service_manager.settimeout(20)
        node = Node(tmp_path, NOTIFY_SOCKET=str(socket_path))
        try:
            assert service_manager.recv(100) == b"READY=1"
            node.signal(signum)
            assert node.wait() == 0
            assert service_manager.recv(100) == b"STOPPING=1"
            lines = [json.loads(line) for line in node.output.splitlines()]
            assert [x["message"] for x in lines][-2:] == ["draining", "stopped"]
            assert not (tmp_path / "announce.json").exists()
            assert not (node.data / "admin.sock").exists()
        finally:
            node.close()


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    node = Node(tmp_path, "--set", "reconnect_spread_s=600", "--set", "drain_s=600")
    client = None
    try:
        host, port = node.where["ws"][5:].split("/")[0].split(":")
        # Somebody who is connected and does not go: the drain waits for them.
        client = socket.create_connection((host, int(port)))
        client.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert b" 101 " in client.recv(1000)
        node.signal(signal.SIGTERM)
        node.expect('"message": "draining"')
        node.signal(signal.SIGTERM)
        assert node.wait() == 143
    finally:
        if client is not None:
            client.close()
        node.close()


def test_settings_that_cannot_be_used_are_told_and_exit_with_2(tmp_path: Path) -> None:
    file = tmp_path / "palaver.toml"
    file.write_text("porrt = 1\n")
    done = palaver("serve", "--config", str(file), "--partitions", "3", PALAVER_DRAIN_S="never")
    assert done.returncode == 2
    assert "did you mean 'port'?" in done.stderr
    assert "--partitions: partitions must be a power of two" in done.stderr
    assert "environment PALAVER_DRAIN_S" in done.stderr


def test_it_is_a_module_too_and_says_its_version() -> None:
    assert palaver("--version").stdout.startswith("palaver ")
    assert inside("version").stdout.startswith("palaver ")
    assert inside().returncode == 2
    assert inside("nonsense").returncode == 2


def test_human_logs_and_codes_go_to_the_terminal(tmp_path: Path) -> None:
    program = Program(
        "serve", "--data", str(tmp_path / "d"), "--port", "0", "--admin-port", "0",
        "--log-format", "human",
    )  # fmt: skip
    try:
        program.expect(r"node up +\[palaver\.serve\]")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    finally:
        program.close()
