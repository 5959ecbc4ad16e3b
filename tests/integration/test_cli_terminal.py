"""What depends on a terminal: questions, passwords, tables in colour; and completion in real shells."""

import asyncio
import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scripted_api import scripted
from servers.agent import callboard

ROOT = Path(__file__).parents[2]
ANSI = "\x1b["
USERS = {"users": [{"username": "ann", "role": "admin", "is_active": True}]}


class Terminal:
    """A command on a pseudo-terminal of 100 columns; `text` is all that it has shown."""

    def __init__(self, command: list[str], **environment: str) -> None:
        self._controller, own = pty.openpty()
        import fcntl
        import struct
        import termios

        fcntl.ioctl(own, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.text = ""
        self.process = subprocess.Popen(
            command,
            stdin=own,
            stdout=own,
            stderr=own,
            start_new_session=True,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "TERM": "xterm-256color",
                "LC_ALL": "C.UTF-8",
                "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"],
                **environment,
            },
        )
        os.close(own)

    def until(self, wanted: str, seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not re.search(wanted, self.text):
            assert time.monotonic() < deadline, self.text
            if not self._read(0.05) and self.process.poll() is not None:
                assert re.search(wanted, self.text), self.text

    def type(self, text: str) -> None:
        os.write(self._controller, text.encode())

    def end(self) -> int:
        """The exit code; `text` is whole then."""
        while self._read(15.0):
            pass
        return self.process.wait(15)

    def _read(self, seconds: float) -> bool:
        readable, _, _ = select.select([self._controller], [], [], seconds)
        if not readable:
            return False
        try:
            raw = os.read(self._controller, 65_536)
        except OSError:  # all that had it open are gone
            return False
        self.text += raw.decode(errors="replace")
        return bool(raw)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._controller)


@pytest.fixture(autouse=True)
def _settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def terminal():
    opened = []

    def start(command: list[str], **environment: str) -> Terminal:
        opened.append(Terminal(command, **environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


async def test_a_table_is_drawn_in_colour_on_a_terminal_and_plain_when_not_wanted(terminal):
    endpoints = [
        {"name": "press", "protocol": "modbus", "enabled": True, "health": {"status": "connected"}},
        {"name": "\x1b[31mevil", "protocol": "x" * 200, "enabled": True},
    ]
    async with scripted({"GET /v1/endpoints": {"endpoints": endpoints}}) as api:
        command = callboard("endpoints", "list", "--url", api.url)
        shown = terminal(command)
        assert await asyncio.to_thread(shown.end) == 0
        assert ANSI in shown.text
        assert "\x1b[31mevil" not in shown.text
        assert "press" in shown.text
        assert shown.text.count("x") >= 200  # folded, not cut off
        for unwanted in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            plain = terminal(command, **unwanted)
            assert await asyncio.to_thread(plain.end) == 0
            assert "\x1b" not in plain.text
            assert "press" in plain.text
        piped = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert "\x1b" not in piped.stdout
        assert "x" * 200 in piped.stdout


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("no\n", 1), ("\n", 1), ("\x04", 1)])
async def test_somebody_at_a_terminal_is_asked(terminal, typed, code):
    async with scripted({"DELETE /v1/backups/a": {"deleted": True}}) as api:
        shown = terminal(callboard("backup", "delete", "a", "--url", api.url))
        await asyncio.to_thread(shown.until, r"Delete a\? \[y/N\] ")
        assert not api.asked
        shown.type(typed)
        assert await asyncio.to_thread(shown.end) == code
        assert bool(api.asked) == (code == 0)
        assert ("nothing was done" in shown.text) == (code == 1)


async def test_ctrl_c_at_a_question_ends_without_a_trace(terminal):
    async with scripted() as api:
        shown = terminal(callboard("factory-reset", "--url", api.url))
        await asyncio.to_thread(shown.until, r"\[y/N\] ")
        shown.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(shown.end) == 130
        assert not api.asked
    assert "Traceback" not in shown.text


async def test_a_password_is_asked_for_and_not_shown(terminal):
    async with scripted({"POST /v1/auth/login": (401, {"error": "Invalid credentials"})}) as api:
        shown = terminal(callboard("login", "--user", "ann", "--url", api.url))
        await asyncio.to_thread(shown.until, "Password of ann: ")
        shown.type("hunter2\n")
        assert await asyncio.to_thread(shown.end) == 4
        assert api.last.body == {"username": "ann", "password": "hunter2"}
    assert "hunter2" not in shown.text
    assert "callboard: Invalid credentials" in shown.text


async def test_a_new_password_is_asked_for_twice(terminal):
    async with scripted({"POST /v1/admin/users": (201, {"username": "bob"})}) as api:
        for second, code in (("other\n", 2), ("hunter2\n", 0)):
            shown = terminal(callboard("users", "add", "bob", "--url", api.url))
            await asyncio.to_thread(shown.until, "New password of bob: ")
            shown.type("hunter2\n")
            await asyncio.to_thread(shown.until, "Again: ")
            shown.type(second)
            assert await asyncio.to_thread(shown.end) == code
        assert [one.body["password"] for one in api.asked] == ["hunter2"]


# completion


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> dict[str, Path]:
    """The completion scripts of each shell."""
    folder = tmp_path_factory.mktemp("completion")
    found = {}
    for shell in ("bash", "zsh", "fish"):
        command = callboard("completion", shell)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[shell] = folder / f"completion.{shell}"
        found[shell].write_text(done.stdout)
    return found


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("callboard ba", {"backup"}),
        ("callboard backup ver", {"verify"}),
        ("callboard users ", {"list", "add", "set", "remove", "passwd"}),
        ("callboard logs --lev", {"--level"}),
        ("callboard logs --level ", {"debug", "info", "warn", "error"}),
        ("callboard completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_bash_completes(scripts, line, offered):
    words = line.split(" ")
    script = f"""
        source {scripts["bash"]}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
        COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}
        fill=$(complete -p callboard | sed -E 's/.*-F ([^ ]+).*/\\1/')
        "$fill" callboard "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True)
    found = {word.strip() for word in done.stdout.split("\n")} - {""}
    assert offered <= found, done
    if words[-1]:
        assert found == offered


def test_a_real_bash_completes_at_a_key_and_starts_no_python(scripts, terminal, tmp_path):
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "callboard").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (fake / "callboard").chmod(0o755)
    shown = terminal(
        ["bash", "--norc", "--noprofile", "-i"], PATH=f"{fake}:{os.environ['PATH']}", PS1="ready> "
    )
    shown.until("ready> ")
    shown.type(f"source {scripts['bash']}; echo so''urced\n")
    shown.until("sourced\r?\n")
    shown.type("callboard factory-r\t")
    shown.until("callboard factory-reset ")
    shown.type("--ye\t")
    shown.until("factory-reset --yes ")
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_are_understood_by_them(scripts, shell):
    subprocess.run([shell, "-n", str(scripts[shell])], check=True)
    text = scripts[shell].read_text()
    assert "factory-reset" in text
    assert "passphrase-file" in text
