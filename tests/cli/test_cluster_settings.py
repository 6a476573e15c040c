"""The settings of a node that belongs to a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from palaver.supervisors.trees.settings import Settings, SettingsError
from palaver.supervisors.trees.settings_sources import load_settings


def whole(tmp_path: Path, **changes: object) -> Settings:
    given: dict[str, object] = {
        "cluster_name": "shop",
        "cluster_keys": tmp_path,
        "cluster_join": "10.0.0.1:6222, 10.0.0.2:6222,10.0.0.3:6222",
    }
    return load_settings(environ={}, flags=given | changes)


def test_a_node_stands_alone_unless_told() -> None:
    assert not Settings().clustered


def test_addresses_are_given_as_a_list_or_with_commas(tmp_path: Path) -> None:
    settings = whole(tmp_path)
    assert settings.clustered
    assert settings.cluster_join == ("10.0.0.1:6222", "10.0.0.2:6222", "10.0.0.3:6222")
    assert whole(tmp_path, cluster_join=["a:1", "[::1]:2"]).cluster_join == ("a:1", "[::1]:2")


def test_a_file_has_a_table_for_the_cluster(tmp_path: Path) -> None:
    file = tmp_path / "palaver.toml"
    file.write_text(f'[cluster]\nname = "shop"\nkeys = "{tmp_path}"\njoin = ["a:6222"]\n')
    assert load_settings(config=file, environ={}).cluster_name == "shop"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"cluster_join": "nowhere"}, "host:port"),
        ({"cluster_join": "a:b"}, "host:port"),
        ({"cluster_join": 7}, "host:port"),
        ({"cluster_name": "a b"}, "letters"),
        ({"cluster_name": ""}, "needs cluster_name too"),
        ({"cluster_keys": ""}, "needs cluster_keys"),
        ({"cluster_keys": "/nowhere"}, "palaver cluster keys"),
        ({"cluster_join": ""}, "needs cluster_join"),
        ({"cluster_nats": "nats://a:4222"}, "excludes cluster_join"),
        ({"cluster_nats": "http://a:4222"}, "nats://host:port"),
        ({"cluster_founders": 2}, "at least cluster_replicas"),
        ({"cluster_island": 2}, "at least cluster_replicas"),
        ({"cluster_registry_url": "mysql://a"}, "redis://"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, changes: dict[str, object], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        whole(tmp_path, **changes)
    assert text in str(refused.value)


def test_one_node_may_be_a_cluster(tmp_path: Path) -> None:
    settings = whole(tmp_path, cluster_join="", cluster_founders=1, cluster_replicas=1)
    assert settings.clustered
