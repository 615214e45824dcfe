"""Certificates of one training by several machines, of an authority that lives for one call.

Both ends know each other by these and by nothing else: no authority of the system is asked. The
authority's key is gone when `issue` returns, so that nobody can be let in later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Clocks of two machines may differ by it.
_SKEW: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Certificates:
    """PEM of an authority's certificate, and of the certificate and key of each end."""

    authority: bytes
    server: bytes
    server_key: bytes
    client: bytes
    client_key: bytes


def issue(valid: timedelta) -> Certificates:
    """Fresh ones for a server and its clients, good from now on for as long as `valid`."""
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    until = now + valid
    name = _name("authority")
    root = (
        _builder(name, name, key, now, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )

    def leaf(role: str, use: x509.ObjectIdentifier) -> tuple[bytes, bytes]:
        own = ec.generate_private_key(ec.SECP256R1())
        made = (
            _builder(_name(role), name, own, now, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False
            )
            .sign(key, hashes.SHA256())
        )
        return _pem(made), own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    server, server_key = leaf("first process", ExtendedKeyUsageOID.SERVER_AUTH)
    client, client_key = leaf("other process", ExtendedKeyUsageOID.CLIENT_AUTH)
    return Certificates(_pem(root), server, server_key, client, client_key)


def _name(role: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"medvae training, {role}")])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(until + _SKEW)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
