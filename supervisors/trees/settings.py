"""The settings of a node: every key, its default, its limits, and where its value came from.

Sources, later ones win: the defaults below, a TOML file, `PALAVER_*` variables of the environment,
flags of the command. A key is spelled the same everywhere: `media_quota_bytes` is
`media_quota_bytes = "10 GiB"` or `[media]` / `quota_bytes = "10 GiB"` in the file,
`PALAVER_MEDIA_QUOTA_BYTES` in the environment, and `--set media_quota_bytes=10GiB` as a flag.

Every value is checked where it enters; all problems are reported together by one `SettingsError`,
each with its source and with what would be accepted.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from palaver.supervisors.trees import settings_values as read
from palaver.supervisors.trees.settings_cluster import ClusterSettings, cluster_problems
from palaver.supervisors.trees.settings_key import ENVIRONMENT_PREFIX, Key

__all__ = [
    "ENVIRONMENT_PREFIX",
    "Key",
    "Problem",
    "Settings",
    "SettingsError",
    "explain",
    "keys",
]


class SettingsError(Exception):
    """Settings cannot be used; `problems` says for each what, where and what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings: where it stands and what would be right."""

    source: str
    text: str

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"


_GIB = 1 << 30
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Settings(ClusterSettings):
    """Everything that an operator may decide about a node; sizes in bytes, times in seconds."""

    # -- the node
    name: Annotated[str, Key(read.node_name, "the node's name, name@host", section="Node")] = (
        "palaver@local"
    )
    data_dir: Annotated[
        Path, Key(read.path, "folder of everything that is kept; made if missing")
    ] = Path("data")
    host: Annotated[str, Key(read.host, "address where clients connect (0.0.0.0 for all)")] = (
        "127.0.0.1"
    )
    port: Annotated[
        int, Key(read.integer(0, 65535), "port where clients connect; 0 takes a free one")
    ] = 4400
    admin_host: Annotated[str, Key(read.host, "address of the metrics and health port")] = (
        "127.0.0.1"
    )
    admin_port: Annotated[
        int, Key(read.integer(0, 65535), "port of metrics and health; 0 takes a free one")
    ] = 4401
    observer_state: Annotated[
        str,
        Key(
            read.choice("hidden", "shown"),
            "whether /observer shows local clients bare states, secrets included",
        ),
    ] = "hidden"
    tls_cert: Annotated[
        Path | None,
        Key(read.optional(read.path), "certificate chain (PEM); with tls_key: wss and https"),
    ] = None
    tls_key: Annotated[
        Path | None, Key(read.optional(read.path), "private key of tls_cert (PEM)")
    ] = None
    log_level: Annotated[
        str, Key(read.choice("debug", "info", "warning", "error"), "least level that is logged")
    ] = "info"
    log_format: Annotated[
        str,
        Key(
            read.choice("auto", "human", "json"),
            "auto is human on a terminal and JSON lines otherwise",
        ),
    ] = "auto"
    drain_s: Annotated[
        float,
        Key(read.seconds(0, 3600), "longest time that a drain may take before the node stops"),
    ] = 10.0
    reconnect_spread_s: Annotated[
        float,
        Key(read.seconds(0, 3600), "a draining node spreads its clients' return over this time"),
    ] = 5.0

    # -- connections
    gateways: Annotated[
        int,
        Key(
            read.integer(1, 64),
            "gateway actors among which connections are dealt",
            section="Connections",
        ),
    ] = 1
    max_connections: Annotated[
        int,
        Key(
            read.integer(1, 10_000_000),
            "open connections at most; the next one is answered 503",
        ),
    ] = 100_000
    max_connections_per_address: Annotated[
        int, Key(read.integer(1, 10_000_000), "open connections at most from one network address")
    ] = 10_000
    head_timeout_s: Annotated[
        float, Key(read.seconds(0.05, 600), "time for a connection's HTTP request head")
    ] = 10.0
    auth_timeout_s: Annotated[
        float, Key(read.seconds(0.05, 600), "time from the upgrade to AUTH; then closed with 4408")
    ] = 30.0
    ping_s: Annotated[
        float,
        Key(read.seconds(0.05, 3600), "time between the server's pings of a silent connection"),
    ] = 30.0
    pong_timeout_s: Annotated[
        float, Key(read.seconds(0.05, 3600), "time for the answer to a ping")
    ] = 15.0
    half_message_timeout_s: Annotated[
        float, Key(read.seconds(0.05, 3600), "time for the rest of a message that was begun")
    ] = 20.0
    write_high_bytes: Annotated[
        int,
        Key(
            read.size(4096, _GIB), "unsent bytes above which nothing more is pushed to a connection"
        ),
    ] = 64 << 10
    write_hard_bytes: Annotated[
        int,
        Key(
            read.size(8192, _GIB),
            "unsent bytes above which a connection is cut at once",
        ),
    ] = 4 << 20
    write_timeout_s: Annotated[
        float,
        Key(read.seconds(0.05, 3600), "time above write_high_bytes before a connection is cut"),
    ] = 30.0

    # -- storage
    partitions: Annotated[
        int,
        Key(
            read.power_of_two(256),
            "partitions of the tables; fixed when the folder is made",
            section="Storage",
        ),
    ] = 1
    max_map_bytes: Annotated[
        int, Key(read.size(64 << 20, 64 * 1024 * _GIB), "largest size of one partition's tables")
    ] = 1024 * _GIB
    max_batch: Annotated[
        int, Key(read.integer(1, 65536), "commands in one durable commit at most")
    ] = 512
    max_backlog: Annotated[
        int,
        Key(
            read.integer(1, 1_000_000),
            "commands that may wait for a commit; more are answered 'overloaded'",
        ),
    ] = 20_000

    # -- accounts
    code_ttl_s: Annotated[
        float, Key(read.seconds(1, _DAY_S), "a sign-up code's life", section="Accounts")
    ] = 600.0
    code_attempts: Annotated[int, Key(read.integer(1, 100), "wrong tries before a code dies")] = 5
    codes_per_hour: Annotated[
        int, Key(read.integer(1, 100_000), "codes sent to one number within an hour")
    ] = 5
    codes_per_hour_per_address: Annotated[
        int, Key(read.integer(1, 10_000_000), "codes asked for from one network address in an hour")
    ] = 100

    # -- media
    blob_url: Annotated[
        str | None,
        Key(
            read.optional(read.blob_url),
            "where media lie, such as s3://bucket/prefix; empty: data_dir/blobs",
            section="Media",
        ),
    ] = None
    media_max_bytes: Annotated[int, Key(read.size(1, 1024 * _GIB), "size of one file at most")] = (
        4 * _GIB
    )
    media_quota_bytes: Annotated[
        int, Key(read.size(1, 1 << 60), "size of all files of one account at most")
    ] = 20 * _GIB
    media_max_uploads: Annotated[
        int, Key(read.integer(1, 10_000), "unfinished uploads of one account at most")
    ] = 16
    upload_expiry_s: Annotated[
        float,
        Key(
            read.seconds(1, 365 * _DAY_S),
            "an unfinished upload is removed after this time without progress",
        ),
    ] = _DAY_S
    token_ttl_s: Annotated[float, Key(read.seconds(10, 7 * _DAY_S), "life of a media token")] = (
        3600.0
    )

    def __post_init__(self) -> None:
        """Check each value, and what the values must be to each other."""
        problems = []
        for info in keys():
            try:
                value = info.read(getattr(self, info.name))
            except ValueError as error:
                problems.append(str(Problem(info.name, explain(info.name, error))))
            else:
                object.__setattr__(self, info.name, value)
        problems = problems or [str(p) for p in _related(self)]
        if problems:
            raise SettingsError(problems)

    @property
    def tls(self) -> bool:
        """Whether clients connect over TLS."""
        return self.tls_cert is not None

    @property
    def socket_path(self) -> Path:
        """The operator's Unix socket."""
        return self.data_dir / "admin.sock"

    def replace(self, **changes: Any) -> Settings:
        """The same settings with some of them changed; checked again."""
        return dataclasses.replace(self, **changes)


@functools.cache
def keys() -> tuple[Key, ...]:
    """Every key, in the order of the documentation."""
    hints = get_type_hints(Settings, include_extras=True)
    found: list[Key] = []
    for f in dataclasses.fields(Settings):
        key: Key = hints[f.name].__metadata__[0]
        section = key.section or found[-1].section
        found.append(dataclasses.replace(key, name=f.name, default=f.default, section=section))
    # A dataclass puts the fields of its base first; for people the cluster comes last.
    return tuple(sorted(found, key=lambda key: key.section == "Cluster"))


def _related(s: Settings) -> Iterator[Problem]:
    if (s.tls_cert is None) != (s.tls_key is None):
        given, missing = ("tls_cert", "tls_key") if s.tls_cert else ("tls_key", "tls_cert")
        yield Problem(given, f"needs {missing} too; give both, or neither for plain ws and http")
    for name in ("tls_cert", "tls_key"):
        file: Path | None = getattr(s, name)
        if file is not None and not os.access(file, os.R_OK):
            yield Problem(name, f"{file} does not exist or cannot be read")
    if s.data_dir.exists() and not s.data_dir.is_dir():
        yield Problem("data_dir", f"{s.data_dir} is not a folder; name a folder or a new path")
    if s.write_hard_bytes <= s.write_high_bytes:
        yield Problem("write_hard_bytes", "must be greater than write_high_bytes")
    if s.port and s.port == s.admin_port and s.host == s.admin_host:
        yield Problem("admin_port", f"must differ from port ({s.port}); choose another or 0")
    if s.max_connections_per_address > s.max_connections:
        yield Problem(
            "max_connections_per_address", f"must be at most max_connections ({s.max_connections})"
        )
    for name, text in cluster_problems(s):
        yield Problem(name, text)


def explain(name: str, error: ValueError, raw: object = None) -> str:
    """The sentence for a value that its reader refused."""
    text = f"{name} must be {error}"
    if raw is not None:
        text += f", not {str(raw)[:80]!r}"
    if isinstance(raw, str) and name in ("port", "admin_port") and raw.startswith("tcp://"):
        text += " (Kubernetes sets this variable for a Service named palaver: set"
        text += " enableServiceLinks to false in the pod, or name the service otherwise)"
    return text
