"""A real image archive (Orthanc), and one that lies."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.cli.conftest import clinic  # noqa: F401  a fresh tenant

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
needs_orthanc = pytest.mark.skipif(
    ORTHANC is None or not PLUGIN.exists(), reason="Orthanc and its DICOMweb plugin are missing"
)
START_SECONDS = 30


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass(frozen=True)
class Archive:
    """A running Orthanc; `web` its DICOMweb address, `dimse` its other one."""

    http_port: int
    dicom_port: int

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    @property
    def dimse(self) -> str:
        return f"ORTHANC@127.0.0.1:{self.dicom_port}"

    def add(self, slices: list[Dataset], folder: Path) -> None:
        """Store instances by Orthanc's own interface."""
        for number, data in enumerate(slices):
            path = folder / f"{number}.dcm"
            data.save_as(path, enforce_file_format=True)
            self.ask("/instances", path.read_bytes())

    def ask(self, path: str, body: bytes | None = None) -> Any:
        url = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=20) as answer:
            return json.loads(answer.read())


@contextmanager
def orthanc(folder: Path, **settings: Any) -> Iterator[Archive]:
    """Orthanc on free ports of this machine, its store in `folder`."""
    folder.mkdir(parents=True)
    http, dicom = free_port(), free_port()
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "Plugins": [str(PLUGIN)],
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowFind": True,
        "DicomWeb": {"Enable": True},
        **settings,
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), str(file)], stdout=log, stderr=log)
    try:
        _await(http, process, folder / "log")
        yield Archive(http, dicom)
    finally:
        process.terminate()
        process.wait(20)


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_SECONDS * 10):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])


Reply = Callable[["Liar"], None]


@dataclass
class Lies:
    """A server of which each path answers as a test says; `asked`: what it was asked."""

    port: int
    replies: dict[str, Reply] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.port}/web"


class Liar(BaseHTTPRequestHandler):
    """One request to a lying server."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        lies: Lies = self.server.lies  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        lies.asked.append((self.path, dict(self.headers)))
        self.close_connection = True
        with suppress(BrokenPipeError, ConnectionResetError):
            lies.replies[path](self)

    def do_POST(self) -> None:
        self.do_GET()

    def answer(self, kind: str, body: bytes, status: int = 200, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def liar() -> Iterator[Lies]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    server.daemon_threads = True
    server.lies = Lies(server.server_address[1])  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.lies  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """A real archive of the module's own."""
    with orthanc(tmp_path_factory.mktemp("orthanc") / "store") as running:
        yield running
