from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.supervisors.trees import settings_values as read
from palaver.supervisors.trees.settings import Settings, SettingsError, keys
from palaver.supervisors.trees.settings_sources import load_settings


def problems(**sources: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(**{"environ": {}, **sources})  # type: ignore[arg-type]
    return caught.value.problems


def test_the_defaults_stand_and_every_key_says_what_it_is() -> None:
    settings = load_settings(environ={})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.admin_port) == ("127.0.0.1", 4400, 4401)
    assert settings.data_dir == Path("data")
    assert settings.socket_path == Path("data/admin.sock")
    assert {k.name for k in keys()} == {f.name for f in dataclasses.fields(Settings)}
    assert all(k.help and k.section for k in keys())


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "palaver.toml"
    file.write_text("port = 1\nadmin_port = 11\nhost = '::1'\ndrain_s = 1\n")
    settings = load_settings(
        config=file,
        environ={"PALAVER_PORT": "2", "PALAVER_ADMIN_PORT": "12", "PALAVER_DRAIN_S": "2s"},
        flags={"port": 3, "admin_port": None, "drain_s": 3},
        assignments=["drain-s=4s"],
    )
    assert (settings.host, settings.admin_port) == ("::1", 12)
    assert (settings.port, settings.drain_s) == (3, 4)


def test_a_file_may_group_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "palaver.toml"
    file.write_text(
        "[node]\nport = 5\n[media]\nquota-bytes = '2 GiB'\nmax_uploads = 3\n"
        "[storage]\npartitions = 4\n[code]\nttl_s = '2m'\n"
    )
    settings = load_settings(environ={"PALAVER_CONFIG": str(file)})
    assert (settings.port, settings.partitions, settings.code_ttl_s) == (5, 4, 120)
    assert (settings.media_quota_bytes, settings.media_max_uploads) == (2 << 30, 3)


def test_all_problems_are_told_at_once_each_with_its_source(tmp_path: Path) -> None:
    file = tmp_path / "palaver.toml"
    file.write_text("port = 'x'\npartitons = 2\n")
    found = problems(
        config=file,
        environ={"PALAVER_DRAIN_S": "soon", "PALAVER_PARTITIONS": "3"},
        flags={"data_dir": "", "log_level": "loud"},
        assignments=["max_batch", "nothing=1"],
    )
    text = "\n".join(found)
    assert f"file {file}, key port: port must be a whole number from 0 to 65535, not 'x'" in text
    assert "there is no setting 'partitons'; did you mean 'partitions'?" in text
    assert "environment PALAVER_DRAIN_S: drain_s must be a time from 0 to 3600 seconds" in text
    assert "environment PALAVER_PARTITIONS: partitions must be a power of two" in text
    assert "--data: data_dir must be a path" in text
    assert "--log-level: log_level must be one of debug, info, warning, error" in text
    assert "--set max_batch: must have the form KEY=VALUE" in text
    assert "--set nothing: there is no setting 'nothing'; `palaver settings` lists all" in text
    assert len(found) == 8


def test_a_file_that_cannot_be_used_is_one_problem(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert "does not exist" in problems(config=missing)[0]
    assert "cannot be read" in problems(config=tmp_path)[0]
    bad = tmp_path / "bad.toml"
    bad.write_text("port = = 1")
    assert "is not TOML" in problems(config=bad)[0]
    bad.write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in problems(config=bad)[0]
    bad.write_bytes(b"#" * (2 << 20))
    assert "larger than 1 MiB" in problems(config=bad)[0]


def test_values_that_contradict_each_other_name_where_they_come_from(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    needs, missing = problems(environ={"PALAVER_TLS_CERT": str(cert)})
    assert needs.startswith("environment PALAVER_TLS_CERT: needs tls_key too; give both")
    assert missing == f"environment PALAVER_TLS_CERT: {cert} does not exist or cannot be read"
    cert.write_text("x")
    assert load_settings(environ={}, flags={"tls_cert": cert, "tls_key": cert}).tls
    assert "must differ from port" in problems(flags={"port": 99, "admin_port": 99})[0]
    assert load_settings(environ={}, flags={"port": 0, "admin_port": 0}).port == 0
    assert "not a folder" in problems(flags={"data_dir": cert})[0]
    assert "greater than" in problems(flags={"write_high_bytes": "8 MiB"})[0]
    assert "at most max_connections" in problems(flags={"max_connections": 5})[0]


def test_variables_of_the_platform_are_told_from_misspelled_keys() -> None:
    assert load_settings(environ={"PALAVER_PORT_4400_TCP_ADDR": "10.0.0.1", "OTHER": "1"})
    assert "did you mean 'partitions'?" in problems(environ={"PALAVER_PARTITONS": "2"})[0]
    assert "enableServiceLinks" in problems(environ={"PALAVER_PORT": "tcp://10.0.0.1:4400"})[0]


def test_settings_cannot_be_made_wrong_in_code_either() -> None:
    with pytest.raises(SettingsError, match="partitions must be a power of two"):
        Settings(partitions=3)
    with pytest.raises(SettingsError, match="port must be"):
        Settings().replace(port=70_000)
    assert Settings(data_dir="~/x").data_dir == Path.home() / "x"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("12", 12), ("1 KiB", 1024), ("1.5kb", 1500), ("2GiB", 2 << 30), ("1_000", 1000)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert read.size(0, 1 << 40)(text) == size


@pytest.mark.parametrize("raw", [float("inf"), float("nan"), "1e999", "9" * 400 + ".5", True])
def test_amounts_that_are_no_amounts_are_refused(raw: object) -> None:
    for reader in (read.size(0, 1 << 40), read.seconds(0, 60)):
        with pytest.raises(ValueError, match=r"a (size|time) from"):
            reader(raw)


@given(st.integers(0, 1 << 60))
def test_a_size_s_text_reads_back_exactly(size: int) -> None:
    assert read.size(0, 1 << 60)(read.size_text(size)) == size


@given(
    st.one_of(
        st.none(), st.booleans(), st.text(), st.floats(), st.integers(), st.lists(st.integers())
    )
)
def test_a_reader_gives_a_value_or_says_what_it_must_be(raw: object) -> None:
    for key in keys():
        said = ""
        try:
            value = key.read(raw)
        except ValueError as error:
            said = str(error)
        assert len(said) > 3 or key.read(value) == value


def test_the_documentation_names_every_key_and_metric() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    for key in keys():
        assert f"| `{key.name}` |" in text, key.name
