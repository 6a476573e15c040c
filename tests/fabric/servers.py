"""Real nats-servers on loopback: started, killed, paused; and certificates for them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import standing


def program() -> str | None:
    """A nats-server that is new enough: beside this Python first."""
    for place in (str(Path(sys.executable).parent), None):
        found = shutil.which("nats-server", path=place)
        if found is not None:
            text = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
            version = re.search(r"v(\d+)\.(\d+)", text.stdout)
            if version is not None and (int(version[1]), int(version[2])) >= (2, 11):
                return found
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One nats-server; it keeps its port when it is started again."""

    def __init__(self, path: str, config: Path, port: int) -> None:
        self.path = path
        self.config = config
        self.port = port
        self.url = f"nats://127.0.0.1:{port}"
        self.lines: list[str] = []
        self.process: subprocess.Popen[str]
        self._ready = threading.Event()
        self._reader: threading.Thread
        self.start()

    def start(self) -> None:
        self._ready.clear()
        self.process = subprocess.Popen(
            [self.path, "-c", str(self.config)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(20):
            raise RuntimeError("nats-server does not start:\n" + "\n".join(self.lines))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            if "Server is ready" in line:
                self._ready.set()

    def kill(self) -> None:
        """As by `kill -9`."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def pause(self) -> None:
        standing.stop(self.process.pid)

    def resume(self) -> None:
        standing.go_on(self.process.pid)

    def close(self) -> None:
        if self.process.poll() is None:
            self.resume()
            self.kill()


class Servers:
    """All servers of one test."""

    def __init__(self, path: str, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.all: list[Server] = []

    def start(self, extra: str = "", port: int | None = None) -> Server:
        """Start one; `extra` goes into its configuration."""
        port = port or free_port()
        config = self.folder / f"nats-{port}.conf"
        config.write_text(f"listen: 127.0.0.1:{port}\nserver_name: s{port}\n{extra}\n")
        server = Server(self.path, config, port)
        self.all.append(server)
        return server

    def start_cluster(self, count: int, extra: str = "") -> list[Server]:
        """Start several that know each other."""
        routes = [free_port() for _ in range(count)]
        urls = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
        return [
            self.start(
                f"cluster {{ name: test, listen: 127.0.0.1:{route}, routes: [{urls}] }}\n{extra}"
            )
            for route in routes
        ]

    def close(self) -> None:
        for server in self.all:
            server.close()


class Authority:
    """A certificate authority of a cluster, and what it has signed."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        certificate = (
            self._builder(self._subject, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            self._builder(subject, key)
            .add_extension(here, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        paths = self.folder / f"{self.name}-{name}.pem", self.folder / f"{self.name}-{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths
