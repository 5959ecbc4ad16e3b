"""Networks of the tests' own: who is in them, what goes over them, and that nothing is left of them."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.captures import Capture
from servers.namespaces import Namespace, Network

_TESTS = Path(__file__).parents[1]
_NOBODY = 65_534
_UNREACHED = "timed out|refused|No route"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as found:
        yield found


@pytest.fixture(scope="module")
def pair(network: Network) -> tuple[Namespace, Namespace]:
    """At the two ends of a cable."""
    client, plant = network.add("client"), network.add("plant")
    network.join({client: ["198.51.100.1/24"], plant: ["198.51.100.10/24", "198.51.100.11/24"]})
    return client, plant


async def test_a_cable_joins_two(pair: tuple[Namespace, Namespace]) -> None:
    client, plant = pair
    with plant.socket(address=("198.51.100.11", 502)) as listening:
        listening.listen()
        with client.sockets_made_here():
            _, writer = await asyncio.open_connection("198.51.100.11", 502)
        accepted, address = listening.accept()
        assert address[0] == "198.51.100.1"
        accepted.close()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_a_switch_joins_many(network: Network) -> None:
    hosts = [network.add(f"host-{number}") for number in range(4)]
    network.join({host: [f"203.0.113.{number}/24"] for number, host in enumerate(hosts, 1)})
    first = hosts[0]
    with contextlib.ExitStack() as stack:
        ears = [
            stack.enter_context(each.socket(kind=socket.SOCK_DGRAM, address=("", 47808))) for each in hosts
        ]
        ears[0].setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        ears[0].sendto(b"who is", ("203.0.113.255", 47808))
        for ear in ears[1:]:
            ear.settimeout(5)
            assert ear.recvfrom(100) == (b"who is", (first.address, 47808))


def test_commands_run_inside(pair: tuple[Namespace, Namespace]) -> None:
    client, plant = pair
    assert "198.51.100.1/24" in client.run("ip", "-brief", "address")
    assert "198.51.100.11/24" in plant.ip("address show dev eth0")
    with pytest.raises(RuntimeError, match="Cannot find device"):
        client.ip("link set eth7 up")


def test_what_is_sent_is_counted_by_where_it_goes(pair: tuple[Namespace, Namespace]) -> None:
    client, plant = pair
    with plant.socket(kind=socket.SOCK_DGRAM, address=("198.51.100.10", 161)) as ear, Capture(client) as seen:
        with client.socket(kind=socket.SOCK_DGRAM, address=("198.51.100.1", 40_000)) as mouth:
            for _ in range(3):
                mouth.sendto(b"get", ("198.51.100.10", 161))
            assert ear.recv(10) == b"get"
        for to in ("198.51.100.11", "198.51.100.99"):
            with client.socket() as refused:
                refused.settimeout(0.1)
                with pytest.raises(OSError, match=_UNREACHED):
                    refused.connect((to, 502))
    assert seen.sent("udp") == {"198.51.100.10": 3}
    assert seen.sent("tcp") == seen.begun(502) == {"198.51.100.11": 1}
    assert set(seen.sent("arp")) >= {"198.51.100.99"}
    assert set(seen.outside(["198.51.100.10", "198.51.100.11"])) == {"198.51.100.99"}
    [udp, *_] = [packet for packet in seen.packets if packet.kind == "udp"]
    assert (udp.source, udp.source_port, udp.port, udp.length) == ("198.51.100.1", 40_000, 161, 31)
    assert any(packet.rst and not packet.sent for packet in seen.packets)


@pytest.mark.parametrize("away", ["left", "killed"])
def test_nothing_is_left_of_them(tmp_path: Path, away: str) -> None:
    """Not even what runs inside, when whoever made it is killed."""
    script = tmp_path / "makes.py"
    script.write_text(
        f"import os, subprocess, sys; sys.path.insert(0, {str(_TESTS)!r})\n"
        "from servers.namespaces import Network\n"
        "with Network() as network:\n"
        "    host = network.add('host')\n"
        "    inside = subprocess.Popen(host.command('sleep', '1000'), start_new_session=True)\n"
        "    print(network.holder, inside.pid, flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    maker = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert maker.stdin is not None
    assert maker.stdout is not None
    processes = [int(word) for word in maker.stdout.readline().split()]
    assert all(_runs(process) for process in processes)
    holder, inside = processes
    while os.readlink(f"/proc/{inside}/ns/net") != os.readlink(f"/proc/{holder}/ns/net"):
        time.sleep(0.01)
    if away == "killed":
        maker.kill()
    maker.stdin.close()
    maker.wait(10)
    maker.stdout.close()
    deadline = time.monotonic() + 5
    while any(_runs(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [process for process in processes if _runs(process)] == []


def _runs(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


_AS_NOBODY = """
from servers.captures import Capture
from servers.namespaces import Network
with Network() as network:
    one, two = network.add("one"), network.add("two")
    network.join({one: ["198.51.100.1/24"], two: ["198.51.100.2/24"]})
    with two.socket(address=("198.51.100.2", 502)) as listening, Capture(one) as seen:
        listening.listen()
        with one.socket() as client:
            client.connect(("198.51.100.2", 502))
            listening.accept()[0].close()
    print(dict(seen.begun()), one.run("id", "-u").strip())
"""


def test_who_is_not_root_makes_them_too() -> None:
    """Where there are user namespaces for everybody."""
    if os.geteuid() != 0:
        return  # all of these tests say so
    # Others may not look where the interpreter of the tests and their folders are.
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        sources = Path(folder) / "servers"
        sources.mkdir()
        for name in ("__init__", "captures", "namespaces", "namespace_holder"):
            (sources / f"{name}.py").write_bytes((_TESTS / "servers" / f"{name}.py").read_bytes())
        nobody = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
        done = subprocess.run(
            [*nobody, python, "-c", _AS_NOBODY], capture_output=True, text=True, timeout=20, cwd=folder
        )
    if done.returncode == 0:
        assert done.stdout == "{'198.51.100.2': 1} 0\n"
    else:
        assert "There are no network namespaces here" in done.stderr
