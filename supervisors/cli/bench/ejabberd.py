"""ejabberd as a peer: a private node of ours, apart from any service of the system.

The Erlang VM is started directly, not distributed (no node name, no epmd, no cookie), with a
configuration, a Mnesia folder and a log of its own in a temporary folder, one listener on the
loopback, and only the modules that the same work needs: messages, offline storage without a
limit, stream management. Its users are registered by the VM itself as it starts.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palaver.supervisors.cli.bench.children import BenchFailed, Child
from palaver.supervisors.cli.bench.servers import free_port, takes_connections
from palaver.supervisors.cli.bench.xmpp import DOMAIN, PASSWORD

_CONFIG = """\
loglevel: warning
hosts:
  - {domain}
listen:
  -
    port: {port}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 262144
    shaper: none
    access: all
    starttls: false
    backlog: 4096
auth_method: internal
auth_password_format: plain
cache_size: 100000
disable_sasl_mechanisms:
  - digest-md5
  - X-OAUTH2
s2s_access: none
shaper_rules:
  max_user_sessions: infinity
  max_user_offline_messages: infinity
modules:
  mod_offline:
    access_max_user_messages: max_user_offline_messages
  mod_ping: {{}}
  mod_stream_mgmt:
    max_ack_queue: infinity
    resend_on_timeout: true
"""

_REGISTER = (
    "[ok = ejabberd_auth:try_register("
    '<<"u", (integer_to_binary(N))/binary>>, <<"{domain}">>, <<"{password}">>) '
    "|| N <- lists:seq(0, {last})], "
)
_READY = 'ok = file:write_file("{ready}", "ready").'

_START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Installed:
    """Where an installed ejabberd is."""

    erl: str
    libraries: str
    version: str


def find_ejabberd() -> Installed | str:
    """Return the installed ejabberd, or a sentence why there is none to use."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    script = shutil.which("ejabberdctl", path=places)
    erl = shutil.which("erl", path=places)
    if script is None or erl is None:
        return "ejabberd is not installed (Debian: apt install ejabberd)"
    found = re.search(r"^ERL_LIBS=['\"]?([^'\"\n]+)", Path(script).read_text(), re.MULTILINE)
    libraries = found[1] if found else ""
    for folder in libraries.split(":"):
        for application in sorted(Path(folder).glob("ejabberd-*/ebin/ejabberd.app")):
            vsn = re.search(r'\{vsn,\s*"([^"]+)"', application.read_text())
            return Installed(erl, libraries, vsn[1] if vsn else "unknown")
    return f"{script} is there, but not the library it starts"


class Ejabberd:
    """A private ejabberd node; see the module."""

    name = "ejabberd"
    engine = "xmpp"

    def __init__(
        self,
        installed: Installed,
        folder: Path,
        users: int,
        cores: frozenset[int],
        *,
        receipts: bool = False,
    ) -> None:
        """Prepare a node with users u0 .. u(users - 1); `receipts` is for the load (XEP-0184)."""
        self.receipts = receipts
        self._installed = installed
        self._folder = folder
        self._users = users
        self._cores = cores
        self._port = 0
        self._child: Child | None = None
        self._registered = False

    @property
    def endpoint(self) -> dict[str, Any]:
        """The port of the client listener."""
        return {"port": self._port, "receipts": self.receipts}

    @property
    def pid(self) -> int:
        """The Erlang VM's process."""
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        """Start the VM; BenchFailed when it is not up within a minute."""
        spool = self._folder / "spool"
        spool.mkdir(parents=True, exist_ok=True)
        ready = self._folder / "ready"
        ready.unlink(missing_ok=True)
        self._port = free_port()
        config = self._folder / "ejabberd.yml"
        config.write_text(_CONFIG.format(domain=DOMAIN, port=self._port))
        (self._folder / "inetrc").write_text('{lookup, ["file", "native"]}.\n')
        then = _READY.format(ready=ready)
        if not self._registered:
            last = self._users - 1
            then = _REGISTER.format(domain=DOMAIN, password=PASSWORD, last=last) + then
        schedulers = str(len(self._cores))
        self._child = Child(
            [
                self._installed.erl,
                *("-noinput", "+K", "true", "+P", "250000", "+Q", "65536"),
                *("+S", f"{schedulers}:{schedulers}"),
                *("-mnesia", "dir", f'"{spool}"', "-s", "ejabberd", "-eval", then),
            ],
            cores=self._cores,
            log_path=self._folder / "output.log",
            env=self._environment(config),
            cwd=self._folder,
        )
        self._child.wait_until(ready.exists, timeout_s=_START_TIMEOUT_S, what="ejabberd")
        if not takes_connections(self._port):
            raise BenchFailed(f"ejabberd does not listen: {self._child.tail()}")
        self._registered = True

    def _environment(self, config: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}}
        return kept | {
            "HOME": str(self._folder),
            "EJABBERD_CONFIG_PATH": str(config),
            "EJABBERD_LOG_PATH": str(self._folder / "ejabberd.log"),
            "ERL_LIBS": self._installed.libraries,
            "ERL_INETRC": str(self._folder / "inetrc"),
            "ERL_CRASH_DUMP_BYTES": "0",
        }

    def stop(self) -> None:
        """Let the VM shut down in order."""
        if self._child is not None:
            child, self._child = self._child, None
            child.stop()

    def kill(self) -> None:
        """End the VM with -9."""
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()

    def median_batch(self) -> int | None:
        """Nothing: ejabberd commits nothing before it acknowledges."""
        return None
