"""A cluster's keys: its own certificate authority, a certificate for each node, a secret.

Whoever founds a cluster makes its authority once, and keeps that folder away from the nodes; each
node gets a folder of its own, which is copied to its machine over a channel that is trusted.

.. code-block:: text

    AUTHORITY/                    a founder's; needed to add nodes and to renew certificates
        ca.pem                    the authority's certificate, X.509 in PEM
        ca.key                    its private key, PKCS #8 in PEM, not encrypted
        secret                    one line: `palaver-cluster-1 NAME HEX`, 32 random bytes
    NODE/                         a node's: the setting `cluster_keys`
        ca.pem                    as above: the only authority that a node trusts
        node.pem                  the node's certificate; its name, and all its addresses
        node.key                  the node's private key, PKCS #8 in PEM, not encrypted
        secret                    as above

Keys are ECDSA on P-256. All files have mode 0600. Certificates are shown by both sides of every
connection. The passwords of NATS are made from the secret (HMAC-SHA256), one for each use, and
change when it does. The secret and the authority of a cluster belong together.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
import ssl
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "AUTHORITY_DAYS",
    "NODE_DAYS",
    "WARN_DAYS",
    "Authority",
    "ClusterKeysWrong",
    "NodeKeys",
    "Role",
]

AUTHORITY_DAYS: Final = 20 * 365
NODE_DAYS: Final = 2 * 365
"""A node's certificate is valid for so long; `Authority.make_node` renews it."""
WARN_DAYS: Final = 30
"""From so many days before the end on there are warnings."""
_BACKDATED: Final = timedelta(hours=1)
"""Clocks of machines differ: a certificate is valid from a little before it was made."""

Role = Literal["node", "route", "system"]
"""Who shows a password: a node's client, a server to another one, who looks at a server."""

_SECRET: Final = re.compile(r"palaver-cluster-1 ([A-Za-z0-9_-]{1,64}) ([0-9a-f]{64})\n?")
_CLUSTER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class ClusterKeysWrong(Exception):
    """A cluster's keys are missing, unsafe, of another cluster or no longer valid.

    The text says which file, and what to do.
    """


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority of a cluster: who has it can add nodes.

    Attributes:
        folder: where it is kept.
        cluster: the cluster's name.
    """

    folder: Path
    cluster: str
    _secret: str = field(repr=False)
    _certificate: x509.Certificate = field(repr=False)
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def make(cls, folder: Path, cluster: str, *, now: datetime | None = None) -> Authority:
        """Make the authority and the secret of a new cluster in a folder that has none.

        Raises:
            ClusterKeysWrong: the folder has keys already, or the name is none.
        """
        if _CLUSTER.fullmatch(cluster) is None:
            raise ClusterKeysWrong(
                f"a cluster's name has 1 to 64 letters, digits, '-' and '_'; {cluster!r} has not"
            )
        for file in ("ca.pem", "ca.key", "secret"):
            if (folder / file).exists():
                raise ClusterKeysWrong(f"{folder / file} exists; name a new folder")
        now = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"palaver cluster {cluster}")])
        builder = _builder(name, name, key, key, now, AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(_usage(signs_certificates=True), True)
        certificate = builder.sign(key, hashes.SHA256())
        secret = f"palaver-cluster-1 {cluster} {secrets.token_hex(32)}\n"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(folder / "ca.key", _pem_of(key))
        _write(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM))
        _write(folder / "secret", secret.encode())
        return cls(folder, cluster, secret, certificate, key)

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """Open what `make` has made.

        Raises:
            ClusterKeysWrong: a file is missing, can be read by others, or is not what it was.
        """
        certificate = _certificate(folder / "ca.pem")
        key = _private_key(folder / "ca.key", certificate)
        secret = _read(folder / "secret").decode(errors="replace")
        return cls(folder, _parse_secret(folder / "secret", secret)[0], secret, certificate, key)

    def make_node(
        self, folder: Path, node: str, hosts: Iterable[str], *, now: datetime | None = None
    ) -> NodeKeys:
        """Make a node's folder, or renew the certificate in it.

        Args:
            folder: of the node's keys.
            node: its name, `name@host`.
            hosts: the host names and addresses under which other nodes reach it; those of the
                machine itself (`localhost`, 127.0.0.1, ::1) are always in.
            now: when the certificate begins; the present time if None.

        Raises:
            ClusterKeysWrong: the folder has keys of another cluster.
        """
        now = now or datetime.now(UTC)
        if (folder / "secret").exists() and _read(folder / "secret") != self._secret.encode():
            raise ClusterKeysWrong(f"{folder} has the keys of another cluster; name a new folder")
        names = list(dict.fromkeys([*hosts, *_LOCAL]))
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node[:64])])
        issuer = self._certificate.subject
        builder = _builder(subject, issuer, key, self._key, now, NODE_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        builder = builder.add_extension(_usage(signs_certificates=False), True)
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), False)
        builder = builder.add_extension(x509.SubjectAlternativeName(map(_general, names)), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(folder / "ca.pem", _read(self.folder / "ca.pem"))
        _write(folder / "node.key", _pem_of(key))
        _write(folder / "node.pem", certificate.public_bytes(serialization.Encoding.PEM))
        _write(folder / "secret", self._secret.encode())
        return NodeKeys.open(folder, now=now)


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The keys of one node.

    Attributes:
        folder: where they are kept.
        cluster: the cluster's name.
        node: the node's name.
        expires: when the first of its certificates ends.
    """

    folder: Path
    cluster: str
    node: str
    expires: datetime
    _secret: bytes = field(repr=False)

    @classmethod
    def open(cls, folder: Path, *, now: datetime | None = None) -> NodeKeys:
        """Read and check a node's keys.

        Raises:
            ClusterKeysWrong: a file is missing, can be read by others, does not belong to the
                others, or a certificate is not valid at this time.
        """
        now = now or datetime.now(UTC)
        authority = _certificate(folder / "ca.pem")
        certificate = _certificate(folder / "node.pem")
        _private_key(folder / "node.key", certificate)
        try:
            certificate.verify_directly_issued_by(authority)
        except Exception as error:  # of several kinds, which have nothing in common
            raise ClusterKeysWrong(
                f"{folder / 'node.pem'} was not made by the authority in {folder / 'ca.pem'}: copy"
                " the whole folder that `palaver cluster keys` made"
            ) from error
        for each in (authority, certificate):
            if not each.not_valid_before_utc <= now <= each.not_valid_after_utc:
                raise ClusterKeysWrong(
                    f"a certificate in {folder} is valid from {each.not_valid_before_utc:%Y-%m-%d}"
                    f" to {each.not_valid_after_utc:%Y-%m-%d} and not now ({now:%Y-%m-%d}): renew"
                    " it with `palaver cluster keys`, or set the machine's clock"
                )
        name = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        secret = _read(folder / "secret").decode(errors="replace")
        cluster, value = _parse_secret(folder / "secret", secret)
        return cls(
            folder,
            cluster,
            str(name[0].value) if name else "",
            min(authority.not_valid_after_utc, certificate.not_valid_after_utc),
            bytes.fromhex(value),
        )

    @property
    def authority(self) -> Path:
        """The certificate of the only authority that is trusted."""
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The node's certificate."""
        return self.folder / "node.pem"

    @property
    def key(self) -> Path:
        """The node's private key."""
        return self.folder / "node.key"

    def password(self, role: Role) -> str:
        """Return the password of a use, the same on all nodes of the cluster."""
        return hmac.digest(self._secret, f"palaver {role}".encode(), "sha256").hex()

    def media_key(self) -> bytes:
        """Return the key of media tokens, 32 bytes, the same on all nodes of the cluster."""
        return hmac.digest(self._secret, b"palaver media", "sha256")

    def warning(self, *, now: datetime | None = None) -> str | None:
        """Return what to tell an operator when a certificate ends soon, else None."""
        left = self.expires - (now or datetime.now(UTC))
        if left > timedelta(days=WARN_DAYS):
            return None
        return (
            f"the certificate of {self.node} in {self.folder} ends on {self.expires:%Y-%m-%d}, in"
            f" {max(0, left.days)} days: renew it with `palaver cluster keys`, then restart the"
            " node"
        )

    def client_tls(self) -> ssl.SSLContext:
        """Return a client's TLS 1.3 context: this cluster's authority only, its own certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cafile=str(self.authority))
        context.load_cert_chain(certfile=str(self.certificate), keyfile=str(self.key))
        return context


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime,
    days: int,
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read; it is whole or not there."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _read(path: Path) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077 and path.suffix != ".pem":  # a certificate is no secret
            raise ClusterKeysWrong(
                f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}"
            )
        return path.read_bytes()
    except OSError as error:
        raise ClusterKeysWrong(
            f"{path} cannot be read ({error.strerror}); `palaver cluster keys` makes it"
        ) from error


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as error:
        raise ClusterKeysWrong(f"{path} is no certificate in PEM: {error}") from error


def _private_key(path: Path, certificate: x509.Certificate) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise ClusterKeysWrong(f"{path} is no private key in PEM: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or (
        key.public_key() != certificate.public_key()
    ):
        raise ClusterKeysWrong(f"{path} is not the key of the certificate beside it")
    return key


def _parse_secret(path: Path, text: str) -> tuple[str, str]:
    found = _SECRET.fullmatch(text)
    if found is None:
        raise ClusterKeysWrong(
            f"{path} is no secret of a cluster; copy it from the folder that `palaver cluster keys`"
            " made"
        )
    return found[1], found[2]
