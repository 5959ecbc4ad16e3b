"""What a container engine asks."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from servers.certificates import Authority

from api.cli import healthcheck


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/v1/healthy" else 404)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.status = 200  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def speak_tls(server: ThreadingHTTPServer, folder: Path) -> None:
    certificate, key = Authority().issue()
    (folder / "both.pem").write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(("status", "code"), [(200, 0), (500, 1)])
def test_its_exit_code_is_the_agents_health(server, tmp_path, monkeypatch, tls, status, code):
    if tls:
        speak_tls(server, tmp_path)
    server.status = status
    monkeypatch.setenv("DEVICE_API_PORT", str(server.server_port))
    monkeypatch.setenv("DEVICE_API_HOST", "0.0.0.0")
    assert healthcheck.main() == code


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_nobody_there_is_not_healthy(monkeypatch, capsys, host):
    monkeypatch.setenv("DEVICE_API_PORT", "1")
    monkeypatch.setenv("DEVICE_API_HOST", host)
    assert healthcheck.main() == 1
    assert "Connection refused" in capsys.readouterr().out
