"""`palaver cluster keys`: what nodes know each other by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from palaver.supervisors.cli.cluster.keys import make_keys
from palaver.supervisors.trees.cluster import open_keys
from palaver.supervisors.trees.cluster_keys import ClusterKeysWrong
from palaver.supervisors.trees.settings import Settings


def settings(keys: Path, name: str = "a@127.0.0.1", cluster: str = "shop") -> Settings:
    return Settings(
        name=name,
        cluster_name=cluster,
        cluster_keys=keys,
        cluster_founders=1,
        cluster_replicas=1,
    )


def test_nodes_of_a_cluster_have_one_secret_and_keys_of_their_own(tmp_path: Path) -> None:
    first = make_keys(tmp_path, "a@127.0.0.1", [], "shop")
    second = make_keys(tmp_path, "b@127.0.0.1", [])
    one, other = open_keys(settings(first)), open_keys(settings(second, "b@127.0.0.1"))
    assert one.media_key() == other.media_key()
    assert one.password("node") == other.password("node")
    assert (first / "node.key").read_bytes() != (second / "node.key").read_bytes()


def test_the_first_keys_need_the_name_of_the_cluster(tmp_path: Path) -> None:
    with pytest.raises(ClusterKeysWrong, match="--cluster"):
        make_keys(tmp_path, "a@127.0.0.1", [])
    make_keys(tmp_path, "a@127.0.0.1", [], "shop")
    with pytest.raises(ClusterKeysWrong, match="another folder"):
        make_keys(tmp_path, "a@127.0.0.1", [], "other")


@pytest.mark.parametrize(("name", "cluster"), [("b@127.0.0.1", "shop"), ("a@127.0.0.1", "mill")])
def test_a_node_takes_no_keys_of_another(tmp_path: Path, name: str, cluster: str) -> None:
    keys = make_keys(tmp_path, "a@127.0.0.1", [], "shop")
    with pytest.raises(ClusterKeysWrong, match="belongs together"):
        open_keys(settings(keys, name, cluster))


def test_a_node_with_keys_of_another_says_so_and_does_not_start(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys", "a@127.0.0.1", [], "shop")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "palaver.supervisors.cli", "serve"),
            *("--data", str(tmp_path / "data")),
            *("--port", "0", "--admin-port", "0", "--set", "name=b@127.0.0.1"),
            *("--set", "cluster_name=shop", "--set", f"cluster_keys={keys}"),
            *("--set", "cluster_founders=1", "--set", "cluster_replicas=1"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "belongs together" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
