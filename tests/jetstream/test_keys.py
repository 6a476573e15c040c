"""A cluster's keys: made, checked, refused."""

from __future__ import annotations

import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from palaver.supervisors.trees.cluster_keys import (
    NODE_DAYS,
    WARN_DAYS,
    Authority,
    ClusterKeysWrong,
    NodeKeys,
)

NOW = datetime(2030, 5, 1, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "authority", "town", now=NOW)


def _node(authority: Authority, folder: Path) -> NodeKeys:
    return authority.make_node(folder, "a@host", ["host.example", "10.0.0.1", "::2"], now=NOW)


def test_nobody_but_the_owner_can_read_them(authority: Authority, tmp_path: Path) -> None:
    _node(authority, tmp_path / "a")
    for folder in (tmp_path / "authority", tmp_path / "a"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    (tmp_path / "a" / "secret").chmod(0o640)
    with pytest.raises(ClusterKeysWrong, match="chmod 600"):
        NodeKeys.open(tmp_path / "a", now=NOW)


def test_a_certificate_names_all_addresses_of_its_node(
    authority: Authority, tmp_path: Path
) -> None:
    keys = _node(authority, tmp_path / "a")
    certificate = x509.load_pem_x509_certificate(keys.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["host.example", "localhost"]
    addresses = [str(each) for each in names.get_values_for_type(x509.IPAddress)]
    assert addresses == ["10.0.0.1", "::2", "127.0.0.1", "::1"]
    assert (keys.node, keys.cluster) == ("a@host", "town")
    assert keys.client_tls().get_ca_certs()[0]["subject"] == (
        (("commonName", "palaver cluster town"),),
    )


def test_all_nodes_of_a_cluster_have_the_same_passwords_one_for_each_use(
    authority: Authority, tmp_path: Path
) -> None:
    one = _node(authority, tmp_path / "a")
    two = Authority.open(tmp_path / "authority").make_node(tmp_path / "b", "b@host", [], now=NOW)
    other = Authority.make(tmp_path / "other", "town", now=NOW)
    three = _node(other, tmp_path / "c")
    assert one.password("node") == two.password("node")
    assert len({one.password("node"), one.password("route"), one.password("system")}) == 3
    assert one.password("node") != three.password("node")
    assert one.password("node") not in repr(one)


def test_the_end_of_a_certificate_is_told_before_and_refused_after(
    authority: Authority, tmp_path: Path
) -> None:
    keys = _node(authority, tmp_path / "a")
    end = NOW + timedelta(days=NODE_DAYS)
    assert keys.expires == end
    assert keys.warning(now=end - timedelta(days=WARN_DAYS, hours=1)) is None
    warning = keys.warning(now=end - timedelta(days=WARN_DAYS - 1))
    assert warning is not None
    assert "in 29 days" in warning
    NodeKeys.open(tmp_path / "a", now=end - timedelta(days=1))
    for when in (end + timedelta(days=1), NOW - timedelta(days=1)):
        with pytest.raises(ClusterKeysWrong, match="renew"):
            NodeKeys.open(tmp_path / "a", now=when)
    later = end + timedelta(days=1)
    renewed = authority.make_node(tmp_path / "a", "a@host", [], now=later)
    assert renewed.warning(now=later) is None
    assert renewed.password("node") == keys.password("node")


def test_what_does_not_belong_together_is_refused(authority: Authority, tmp_path: Path) -> None:
    _node(authority, tmp_path / "a")
    other = Authority.make(tmp_path / "other", "town", now=NOW)
    _node(other, tmp_path / "b")
    with pytest.raises(ClusterKeysWrong, match="another cluster"):
        _node(other, tmp_path / "a")
    shutil.copy2(tmp_path / "b" / "ca.pem", tmp_path / "a" / "ca.pem")
    with pytest.raises(ClusterKeysWrong, match="not made by the authority"):
        NodeKeys.open(tmp_path / "a", now=NOW)
    shutil.copy2(tmp_path / "b" / "node.key", tmp_path / "a" / "node.key")
    with pytest.raises(ClusterKeysWrong, match="not the key"):
        NodeKeys.open(tmp_path / "a", now=NOW)


def test_what_is_missing_or_damaged_is_named(authority: Authority, tmp_path: Path) -> None:
    for name in ("ca.pem", "node.pem", "node.key", "secret"):
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        _node(authority, tmp_path / "a")
        file = tmp_path / "a" / name
        file.write_bytes(b"nonsense")
        with pytest.raises(ClusterKeysWrong, match=name):
            NodeKeys.open(tmp_path / "a", now=NOW)
        file.unlink()
        with pytest.raises(ClusterKeysWrong, match=f"{name} cannot be read"):
            NodeKeys.open(tmp_path / "a", now=NOW)


def test_an_authority_is_never_overwritten(authority: Authority, tmp_path: Path) -> None:
    assert authority.cluster == "town"
    with pytest.raises(ClusterKeysWrong, match="exists"):
        Authority.make(tmp_path / "authority", "town")
    for name in ("", "a b", "a.b", "x" * 65):
        with pytest.raises(ClusterKeysWrong, match="letters"):
            Authority.make(tmp_path / "new", name)
