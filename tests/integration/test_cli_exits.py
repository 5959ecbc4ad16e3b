"""What a command says and ends with when things are not as they should be: one line, an exit code, nothing on
standard output."""

import asyncio
import json
import os
import ssl
import subprocess
import time

import pytest
from aiohttp import web
from scripted_api import raw_server, scripted
from servers.agent import callboard
from servers.certificates import Authority

from api.cli.command import main

HEALTHY = {"overall": "healthy", "ready": True, "state": "RUNNING", "report": {"subsystems": []}}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("DEVICE_API", "API_", "CALLBOARD_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def one_line_of(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("callboard: ")
    return captured.err.removeprefix("callboard: ").rstrip()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 2),
        (401, 4),
        (403, 4),
        (404, 5),
        (409, 6),
        (413, 2),
        (429, 6),
        (500, 1),
        (501, 1),
        (503, 6),
        (504, 1),
    ],
)
async def test_an_error_status_is_an_exit_code(status, code, capsys):
    async with scripted({"GET /v1/settings": (status, {"error": "No", "message": "This and that"})}) as api:
        assert await api.callboard("settings", "get") == code
    assert one_line_of(capsys) == "This and that"


async def test_what_is_not_well_is_exit_code_1_and_printed_all_the_same(capsys):
    unwell = {"overall": "unhealthy", "ready": False, "state": "ERROR", "report": {"subsystems": []}}
    async with scripted({"GET /v1/health/report": (500, unwell)}) as api:
        assert await api.callboard("health", "--json") == 1
        assert json.loads(capsys.readouterr().out) == unwell
        assert await api.callboard("status") == 1
    captured = capsys.readouterr()
    assert "unhealthy" in captured.out
    assert captured.err == ""


def test_wrong_usage_is_exit_code_2(capsys):
    assert main(["status", "--nonsense"]) == 2
    assert main(["nonsense"]) == 2
    assert main(["backup"]) == 2
    assert main(["logs", "-n", "x"]) == 2
    assert main(["status", "--timeout", "0"]) == 2
    assert main(["sessions", "end"]) == 2
    assert capsys.readouterr().out == ""
    assert main(["--help"]) == 0
    assert "factory-reset" in capsys.readouterr().out


async def test_html_from_something_else_is_no_agent(capsys):
    page = web.Response(text="<html>\x1b[2J</html>", content_type="text/html")
    async with scripted({"GET /v1/settings": page}) as api:
        assert await api.callboard("settings", "get") == 3
    assert one_line_of(capsys).endswith("it answers with text/html, not application/json")


async def test_an_error_page_of_something_else_is_no_agent(capsys):
    async def missing(request: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html", status=404)

    async with scripted({"GET /v1/settings": missing}) as api:
        assert await api.callboard("settings", "get") == 3
    assert one_line_of(capsys).endswith("HTTP 404 Not Found")


async def test_a_redirect_is_not_followed(capsys):
    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound("http://elsewhere.example/login")

    async with scripted({"GET /v1/settings": elsewhere}) as api:
        assert await api.callboard("settings", "get", "--api-key", "s3cret") == 3
        assert len(api.asked) == 1
    assert "sends us on to http://elsewhere.example/login" in one_line_of(capsys)


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{[",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 999999 x\r\n\r\n",
        b"",
    ],
)
async def test_rubbish_is_no_agent(reply, capsys):
    async def say(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with raw_server(say) as url:
        assert await asyncio.to_thread(main, ["settings", "get", "--url", url]) == 3
    one_line_of(capsys)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"])
async def test_an_agent_that_is_slow_is_waited_for_as_long_as_said(head, capsys):
    """One that sends a little again and again, too."""

    async def trickle(reader, writer):
        writer.write(head)
        while head:
            writer.write(b" ")
            await asyncio.sleep(0.05)
        await asyncio.sleep(60)

    async with raw_server(trickle) as url:
        began = time.monotonic()
        assert await asyncio.to_thread(main, ["settings", "get", "--url", url, "--timeout", "0.3"]) == 3
        assert time.monotonic() - began < 2
    assert "too long" in one_line_of(capsys)


async def test_a_slow_line_is_no_reason_to_give_up(capsys):
    text = json.dumps({"settings": {"a": "x" * 8000}}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"

    async def slowly(reader, writer):
        writer.write(head.encode())
        for begin in range(0, len(text), 500):
            writer.write(text[begin : begin + 500])
            await asyncio.sleep(0.04)

    async with raw_server(slowly) as url:
        assert await asyncio.to_thread(main, ["settings", "get", "--url", url, "--timeout", "0.3"]) == 0
    assert "xxx" in capsys.readouterr().out


async def test_a_large_upload_that_is_refused_before_its_end_is_said_as_it_was(tmp_path, capsys):
    file = tmp_path / "backup"
    file.write_bytes(bytes(20_000_000))

    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"error": "Insufficient role"}'
        head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.write_eof()
        await asyncio.sleep(0.2)

    async with raw_server(refuse) as url:
        assert await asyncio.to_thread(main, ["backup", "upload", str(file), "--url", url]) == 4
    assert one_line_of(capsys) == "Insufficient role"


async def test_proxies_of_the_environment_are_not_asked(monkeypatch, capsys):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with scripted({"GET /v1/settings": {"settings": {"a": 1}}}) as api:
        assert await api.callboard("settings", "get", "a") == 0
    assert capsys.readouterr().out == "1\n"


async def test_a_certificate_is_verified(tmp_path, capsys):
    authority = Authority()
    certificate, key = authority.issue()
    for name, pem in (("ca.pem", authority.pem), ("cert.pem", certificate), ("key.pem", key)):
        (tmp_path / name).write_text(pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def settings(request: web.Request) -> web.Response:
        return web.json_response({"settings": {"a": 1}})

    app = web.Application()
    app.router.add_get("/v1/settings", settings)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    try:
        command = ["settings", "get", "a", "--url", f"https://localhost:{port}"]
        assert await asyncio.to_thread(main, command) == 3
        assert "certificate is not trusted" in one_line_of(capsys)
        assert await asyncio.to_thread(main, [*command, "--ca", str(tmp_path / "ca.pem")]) == 0
        assert capsys.readouterr().out == "1\n"
        assert await asyncio.to_thread(main, [*command, "--ca", str(tmp_path / "none.pem")]) == 2
        assert "--ca" in one_line_of(capsys)
        plain = ["settings", "get", "a", "--url", f"http://127.0.0.1:{port}"]
        assert await asyncio.to_thread(main, plain) == 3
        assert "is it https://?" in one_line_of(capsys)
    finally:
        await runner.cleanup()


async def test_tls_to_a_plain_port_is_one_line(capsys):
    async with scripted() as api:
        url = api.url.replace("http:", "https:")
        assert await asyncio.to_thread(main, ["settings", "get", "--url", url]) == 3
    assert "is it http://?" in one_line_of(capsys)


@pytest.mark.parametrize("key", ["naïve", "a\nb", "a\r\nX-Evil: 1"])
def test_a_key_that_no_header_can_have_is_wrong_usage_and_not_shown(key, capsys):
    assert main(["status", "--url", "http://127.0.0.1:1", "--api-key", key]) == 2
    assert key[:2] not in one_line_of(capsys).removeprefix("the ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
async def test_a_reader_that_has_enough_is_no_error(unbuffered):
    rows = [{"name": f"device {number}", "enabled": True} for number in range(5000)]
    async with scripted({"GET /v1/endpoints": {"endpoints": rows}}) as api:
        for extra in ([], ["--json"]):
            command = [*callboard("endpoints", "list", "--url", api.url), *extra]
            process = await asyncio.to_thread(
                subprocess.Popen,
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            )
            assert await asyncio.to_thread(process.stdout.readline)
            process.stdout.close()
            said = await asyncio.to_thread(process.stderr.read)
            process.stderr.close()
            assert (process.wait(), said) == (0, b"")


async def test_an_output_that_is_full_is_an_error():
    async with scripted({"GET /v1/settings": {"settings": {"a": 1}}}) as api:
        command = callboard("settings", "get", "--json", "--url", api.url)
        full = os.open("/dev/full", os.O_WRONLY)
        done = await asyncio.to_thread(subprocess.run, command, stdout=full, stderr=subprocess.PIPE)
        os.close(full)
    assert done.returncode == 1
    assert done.stderr == b"callboard: the output cannot be written: No space left on device\n"


async def test_closed_outputs_are_no_error():
    async with scripted({"GET /v1/settings": {"settings": {"a": 1}}}) as api:
        line = " ".join(f"'{word}'" for word in callboard("settings", "get", "--url", api.url))
        done = await asyncio.to_thread(
            subprocess.run, ["/bin/sh", "-c", f"exec {line} >&- 2>&-"], env={**os.environ}
        )
    assert done.returncode == 0


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
async def test_an_output_that_cannot_spell_a_name_gets_it_all_the_same(encoding):
    names = {"settings": {"where": "Düsseldorf 温度"}}
    async with scripted({"GET /v1/settings": names}) as api:
        for extra in ([], ["--json"]):
            command = [*callboard("settings", "get", "--url", api.url), *extra]
            environment = {**os.environ, "PYTHONIOENCODING": encoding}
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, env=environment)
            assert (done.returncode, done.stderr) == (0, b"")
            text = done.stdout.decode(encoding)
            assert json.loads(text) == names["settings"] if extra else "sseldorf" in text


async def test_what_the_agent_says_does_not_move_the_cursor(capsys):
    evil = "a\x1b[2J\x9b\r\n\u202eb\x7f"
    async with scripted({"GET /v1/settings": {"settings": {"name": evil, evil: 1}}}) as api:
        assert await api.callboard("settings", "get") == 0
        text = capsys.readouterr().out
        assert await api.callboard("settings", "get", "--json") == 0
        raw = capsys.readouterr().out
        api.says("GET /v1/settings", (500, {"error": evil}))
        assert await api.callboard("settings", "get") == 1
        said = capsys.readouterr().err
    assert json.loads(raw) == {"name": evil, evil: 1}
    for printed in (text, raw, said):
        assert all(one.isprintable() or one == "\n" for one in printed)


async def test_version_needs_no_agent(capsys):
    assert await asyncio.to_thread(main, ["version", "--url", "http://127.0.0.1:1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agent"] is None
