"""TLS to an archive: its certificate, ours, and the lack of either."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cli.conftest import Clinic
from tests.pacs.conftest import Archive, needs_orthanc

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A certificate authority that signs for the address of this machine."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls, folder: Path) -> Authority:
        folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        made = cls(folder, key, _certificate("authority", key, None, key, "authority"))
        made.file.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
        return made

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def sign(self, name: str, address: str = "127.0.0.1") -> tuple[Path, Path]:
        """A certificate and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = _certificate(name, key, address, self.key, "authority")
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    address: str | None,
    signer: ec.EllipticCurvePrivateKey,
    issuer: str,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
    )
    if address is None:
        usage = x509.KeyUsage(*([True] * 7), False, False)
        made = made.add_extension(usage, critical=True)
    else:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        made = made.add_extension(names, critical=False)
    return made.sign(signer, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.new(tmp_path_factory.mktemp("tls") / "ca")


@contextmanager
def gateway(to: int, certificate: Path, key: Path, clients: Path | None) -> Iterator[int]:
    """A port that speaks TLS before one that does not, as clinics have it.

    clients: the authority of the certificates that it asks for; None: it asks for none.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=clients)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_NONE if clients is None else ssl.CERT_REQUIRED

    def relay(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as near,
                socket.create_connection(("127.0.0.1", to)) as far,
            ):
                back = threading.Thread(target=relay, args=(far, near))
                back.start()
                relay(near, far)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Relay) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@needs_orthanc
def test_an_archive_is_believed_by_its_certificate_and_believes_ours(
    clinic: Clinic, archive: Archive, authority: Authority, tmp_path: Path
) -> None:
    ours = as_client(authority)
    with gateway(archive.http_port, *authority.sign("archive"), authority.file) as port:
        asked = ("pull", f"https://127.0.0.1:{port}/dicom-web", "-d", "d", "--limit", "1")
        right = clinic(*asked, "--ca", authority.file, *ours, ok=False)
        assert right.code == 7, right.err  # let in, and nothing is there
        # Its certificate is of no authority that the system knows, or of another than ours.
        for more in ((), ("--ca", Authority.new(tmp_path / "other").file)):
            unknown = clinic(*asked, *more, *ours, ok=False)
            assert unknown.code == 5
            assert "cannot be verified" in unknown.err
        # We prove nothing, or by a certificate that it does not know.
        assert clinic(*asked, "--ca", authority.file, ok=False).code == 5
        stranger = as_client(Authority.new(tmp_path / "stranger"))
        assert clinic(*asked, "--ca", authority.file, *stranger, ok=False).code == 5


def as_client(authority: Authority) -> tuple[str | Path, ...]:
    certificate, key = authority.sign("clinic")
    return "--client-cert", certificate, "--client-key", key


@needs_orthanc
def test_a_certificate_of_another_machine_is_refused(
    clinic: Clinic, archive: Archive, authority: Authority
) -> None:
    signed = authority.sign("elsewhere", address="127.0.0.2")
    with gateway(archive.http_port, *signed, None) as port:
        address = f"https://127.0.0.1:{port}/dicom-web"
        got = clinic("pull", address, "-d", "d", "--limit", "1", "--ca", authority.file, ok=False)
    assert (got.code, "cannot be verified" in got.err) == (5, True)


def test_files_that_are_no_certificates_are_one_sentence(
    clinic: Clinic, authority: Authority, tmp_path: Path
) -> None:
    asked = ("pull", "https://127.0.0.1:1/web", "-d", "d", "--limit", "1")
    certificate, key = authority.sign("someone")
    (tmp_path / "text").write_text("no certificate")
    for words, code in (
        (("--ca", tmp_path / "none"), 5),
        (("--ca", tmp_path / "text"), 5),
        (("--client-cert", certificate), 2),
        (("--client-key", key), 2),
        (("--client-cert", certificate, "--client-key", certificate), 5),
    ):
        got = clinic(*asked, *words, ok=False)
        assert got.code == code, (words, got.err)
        assert len(got.err.splitlines()) == 1


def test_a_plain_server_is_no_tls(clinic: Clinic, authority: Authority, liar: object) -> None:
    address = liar.web.replace("http://", "https://")  # type: ignore[attr-defined]
    got = clinic("pull", address, "-d", "d", "--limit", "1", "--ca", authority.file, ok=False)
    assert (got.code, "no TLS could be agreed on" in got.err) == (5, True)
