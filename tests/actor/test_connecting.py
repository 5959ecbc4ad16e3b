"""How a connection is made, watched and made again; with what has gone wrong about it elsewhere.

A test that names an address rebuilds the fault that is reported there.
"""

import asyncio
import logging
import math
import threading
import time
from itertools import pairwise
from typing import Any

import pytest
from connecting_rig import Call, ConnectAgain, FarEnd, LookAtClock, Patient, Prove, RunCaller
from fake_field import until

from actors.connections import building, connecting, deadlines, retry
from actors.connections.connection import Permanent, Transient
from actors.connections.retry import Doubling
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Refusal

REFUSED_FOR_GOOD = Permanent("not authorised")


@pytest.fixture
def far() -> FarEnd:
    return FarEnd()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(deadlines, "UNWIND_SECONDS", 0.05)
    monkeypatch.setattr(connecting, "BUILD_SECONDS", 0.1)


def steadily(monkeypatch: pytest.MonkeyPatch) -> None:
    """No jitter."""
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: 1.0)


def call(system: AsyncioSystemBase, far: FarEnd, policy: Any = None, **fields: Any) -> Call:
    return Call(system, "caller", RunCaller(far, policy or Patient(), **fields))


# When it is tried again


async def test_the_wait_is_short_again_once_a_connection_was_of_use(system, far):
    """https://github.com/pymodbus-dev/pymodbus/pull/266
    https://github.com/pusher/pusher-websocket-dotnet/issues/97"""
    policy = Patient()
    line = call(system, far, policy)
    await until(lambda: len(far.attempts) == 6)
    far.fault = None
    await until(lambda: line.caller.connected)
    line.tell(Prove())
    far.end()
    await until(lambda: line.caller.made == 2)
    assert [failures for failures, _, _ in policy.asked][:5] == [0, 1, 2, 3, 4]
    failures, away, _ = policy.asked[-1]
    assert (failures, away < 0.05) == (0, True)


async def test_connections_that_end_before_they_are_of_use_are_made_less_and_less(system, far, monkeypatch):
    """https://github.com/espressif/esp-rainmaker-neo-firmware/issues/1
    https://github.com/eclipse-mosquitto/mosquitto/issues/737
    https://github.com/pymodbus-dev/pymodbus/issues/1794"""
    steadily(monkeypatch)
    far.fault = None
    line = call(system, far, Doubling(0.02, 10.0))
    for made in range(1, 5):
        await until(lambda made=made: line.caller.made == made)
        far.end()
    await until(lambda: line.caller.made == 5)
    for wait, least in zip((b - a for a, b in pairwise(far.attempts)), (0.02, 0.04, 0.08, 0.16), strict=True):
        assert wait >= least


async def test_the_wait_begins_when_an_attempt_has_failed_not_when_it_began(system, far):
    """https://github.com/Cisien/meshcoretomqtt/issues/44: after slow attempts there was no wait at all."""
    far.seconds = 0.08
    call(system, far, Patient(0.05))
    await until(lambda: len(far.attempts) == 4)
    for failed, attempt in zip(far.failed, far.attempts[1:], strict=True):
        assert attempt - failed >= 0.05


async def test_the_first_loss_after_a_long_connection_is_soon_mended(system, far, monkeypatch):
    """https://github.com/thingsboard/thingsboard-gateway/issues/1828: 113 s after 7 s without contact."""
    steadily(monkeypatch)
    far.fault = None
    line = call(system, far, Doubling(0.05, 60.0))
    await until(lambda: line.caller.connected)
    line.tell(Prove())
    await until(lambda: line.caller.proven)
    far.end()
    began = time.monotonic()
    await until(lambda: line.caller.made == 2)
    assert 0.05 <= time.monotonic() - began < 1.0


async def test_the_wait_goes_by_a_clock_that_nobody_sets(system, far, wall_clock):
    """https://github.com/eclipse-paho/paho.mqtt.c/issues/284
    https://github.com/eclipse-paho/paho.mqtt.c/issues/920: set back while away, it never tried again."""
    policy = Patient(0.05)
    call(system, far, policy)
    await until(lambda: len(far.attempts) == 2)
    wall_clock.jump(-86_400)
    await until(lambda: len(far.attempts) == 4)
    wall_clock.jump(11 * 86_400)
    await until(lambda: len(far.attempts) == 6)
    assert all(away < 5.0 for _, away, _ in policy.asked)
    assert all(after - before >= 0.05 for before, after in pairwise(far.attempts))


async def clock_looked_at(system, line):
    system.clock.look()
    line.tell(LookAtClock())


async def test_when_the_clock_is_set_what_waits_is_tried_at_once(system, far, wall_clock):
    """https://github.com/Azure/iotedge/issues/6421, https://github.com/YunoHost-Apps/vpnclient_ynh/pull/32: a
    token or a certificate is good once the clock is right."""
    far.fault = Transient("not valid yet", retry_after=1000.0)
    line = call(system, far, Patient(1000.0))
    await until(lambda: len(far.failed) == 1)
    line.tell(LookAtClock())
    wall_clock.jump(3600)
    await clock_looked_at(system, line)
    await until(lambda: len(far.failed) == 2)
    for _ in range(5):
        wall_clock.jump(-3600)
        await clock_looked_at(system, line)
    await asyncio.sleep(0.05)
    assert len(far.attempts) == 2, "a clock that jumps and jumps hurries nobody more than once in a while"
    line.caller._hurried_at = -math.inf
    far.fault = None
    line.tell(LookAtClock())
    await until(lambda: line.caller.connected)


async def test_an_attempt_that_the_clock_was_set_during_is_made_again_soon(system, far, wall_clock):
    far.seconds = 0.05
    line = call(system, far, Patient(1000.0))
    await until(lambda: len(far.attempts) == 1)
    wall_clock.jump(-3600)
    await clock_looked_at(system, line)
    await until(lambda: len(far.failed) == 2)
    await asyncio.sleep(0.3)
    assert len(far.attempts) == 2


async def test_who_has_let_go_is_not_connected_again_because_the_clock_is_set(system, far, wall_clock):
    far.fault = None
    line = call(system, far, Patient(0.01))
    await until(lambda: line.caller.connected)
    wall_clock.jump(3600)
    await clock_looked_at(system, line)
    line.caller.disconnect()
    line.caller._hurried_at = -math.inf
    wall_clock.jump(3600)
    await clock_looked_at(system, line)
    await asyncio.sleep(0.05)
    assert len(far.attempts) == 1


async def test_it_is_never_given_up(system, far):
    """https://github.com/wialon/gmqtt/issues/114, https://github.com/wialon/gmqtt/issues/130
    https://github.com/home-assistant/core/issues/52450
    https://github.com/thingsboard/thingsboard-gateway/issues/352"""
    line = call(system, far, Patient(0.001))
    faults = [REFUSED_FOR_GOOD, Transient("no route"), Transient("reset", code="CONNECTION_RESET")]
    for count in range(1, 200):
        far.fault = faults[count % len(faults)]
        await until(lambda count=count: len(far.attempts) > count)
    far.fault = None
    await until(lambda: line.caller.connected)


async def test_a_permanent_refusal_is_asked_about_again_without_hurry(system, far):
    """https://github.com/flyte/mqtt-io/issues/363: a broker whose user database was away for a moment."""
    policy = Patient()
    far.fault = REFUSED_FOR_GOOD
    line = call(system, far, policy)
    await until(lambda: len(far.attempts) == 3)
    assert {permanent for _, _, permanent in policy.asked} == {True}
    far.fault = None
    await until(lambda: line.caller.connected)


async def test_a_changed_configuration_does_not_wait_for_the_old_ones_turn(system, far):
    """https://github.com/emqx/MQTTX/issues/1680: the wrong password was tried on after it was corrected."""
    far.fault = REFUSED_FOR_GOOD
    line = call(system, far, Patient(60.0))
    await until(lambda: far.failed)
    other = FarEnd()
    other.fault = None
    line.tell(RunCaller(other, Patient(60.0)))
    await until(lambda: line.caller.connected)
    assert (len(far.attempts), len(other.attempts), far.open) == (1, 1, set())


async def test_one_far_ends_failures_are_nothing_to_another(system, far):
    """https://github.com/Cisien/meshcoretomqtt/issues/44: one broker's back-off was that of all."""
    call(system, far, Patient(0.002))
    other, policy = FarEnd(), Patient()
    other.fault = None
    second = Call(system, "second", RunCaller(other, policy))
    await until(lambda: second.caller.connected and len(far.attempts) > 10)
    second.tell(Prove())
    await until(lambda: second.caller.proven)
    other.end()
    await until(lambda: second.caller.made == 2)
    assert [failures for failures, _, _ in policy.asked] == [0]


async def test_what_the_far_end_asks_for_is_kept_to(system, far):
    far.fault = Transient("too many requests", retry_after=0.2)
    call(system, far, Patient(0.001))
    await until(lambda: len(far.attempts) == 3)
    assert all(after - before >= 0.2 for before, after in pairwise(far.attempts))


async def test_what_costs_nobody_anything_is_tried_again_soon_however_often_it_failed(system, far):
    """A gateway says at once that it does not reach the device behind it."""
    far.fault = Transient("the gateway does not reach it", retry_within=0.01)
    call(system, far, Patient(60.0))
    await until(lambda: len(far.attempts) == 5)


# One at a time


async def test_asked_to_connect_twice_it_ends_up_connected_once(system, far):
    """https://github.com/node-red/node-red/issues/5095: endless "connecting"."""
    far.fault = None
    line = call(system, far)
    line.tell(ConnectAgain())
    line.tell(RunCaller(far, Patient()))
    line.tell(RunCaller(far, Patient()))
    line.tell(ConnectAgain())
    await until(lambda: line.caller.connected)
    await until(lambda: len(far.open) == 1)
    assert line.caller.connection in far.open


async def test_what_an_earlier_connection_still_says_is_not_heard(system, far):
    """https://github.com/websocket-client/websocket-client/issues/971
    https://github.com/kmamykin/aws-mqtt/issues/33: one reconnect for each connection there had ever been."""
    far.fault = None
    line = call(system, far)
    await until(lambda: line.caller.connected)
    (old,) = far.lines
    line.tell(RunCaller(far, Patient()))
    await until(lambda: len(far.lines) == 2 and line.caller.connected)
    for _ in range(3):
        old.end("an old story")
    far.lines[1].end("news")
    await until(lambda: line.caller.made == 3)
    assert line.caller.ended == ["news"]
    assert len(far.attempts) == 3


async def test_a_loss_that_is_told_twice_is_mended_once(system, far):
    far.fault = None
    line = call(system, far)
    await until(lambda: line.caller.connected)
    far.lines[0].end()
    far.lines[0].end()
    await until(lambda: line.caller.made >= 2)
    attempts = len(far.attempts)
    assert attempts == line.caller.made
    await until(lambda: line.caller.connected)
    assert len(far.open) == 1


async def test_a_connection_that_was_over_before_it_was_told_of_is_not_called_connected(system, far):
    """https://github.com/home-assistant/core/issues/31057: "successfully reconnected" to nobody."""
    far.fault = None
    line = call(system, far, Patient(60.0))
    await until(lambda: far.attempts)
    far.lines[0].end("left at once")  # the word of its end and that of its making come in one turn
    await until(lambda: line.caller.ended)
    assert line.caller.ended == ["left at once"]
    assert not line.caller.connected


# Waits that do not end


async def test_an_attempt_that_never_ends_is_given_up_and_another_connection_tried(system, far):
    """https://github.com/emqx/emqx/issues/15538
    https://github.com/hassio-addons/app-node-red/issues/2208: "connecting" until somebody restarts it."""
    far.fault = None
    far.hangs = {"connect"}
    line = call(system, far)
    await until(lambda: len(far.lines) == 3)
    assert line.caller.reasons[0] == "no connection within 0.1 s"
    assert line.caller.trouble.code == "TIMEOUT"
    far.hangs.clear()
    await until(lambda: line.caller.connected)
    assert far.open == {line.caller.connection}
    assert all(line_.closed == 1 for line_ in far.lines[:-1])


async def test_an_attempt_that_withstands_being_cancelled_is_left_behind(system, far):
    far.fault = None
    far.hangs, far.withstands = {"connect"}, True
    line = call(system, far)
    await until(lambda: len(far.lines) == 3)
    far.hangs.clear()
    await until(lambda: line.caller.connected)
    far.release.set()


async def test_a_close_that_never_ends_holds_nothing_up_and_is_said_once(system, far, caplog):
    """https://github.com/node-red/node-red/issues/1566: redeployed without a network it never came back.
    https://github.com/fluffysquirrels/mqtt-async-client-rs/issues/9
    https://github.com/python-zk/kazoo/pull/77"""
    far.fault = None
    far.hangs = {"close"}
    line = call(system, far)
    await until(lambda: line.caller.connected)
    other = FarEnd()
    other.fault = None
    line.tell(RunCaller(other, Patient()))
    await until(lambda: line.caller.connected and other.open == {line.caller.connection})
    async with asyncio.timeout(2.0):
        await system.released()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == ["far end: its connection does not close within 0.05 s and is abandoned"]


async def test_an_end_does_not_wait_for_what_never_ends(system, far):
    """https://github.com/dotnet/aspnetcore/issues/47304: could not be closed while connecting."""
    far.fault = None
    far.hangs, far.withstands = {"connect", "close"}, True
    line = call(system, far)
    await until(lambda: far.attempts)
    system.terminate(system.mailboxes[line.address.addressDetails])
    async with asyncio.timeout(2.0):
        await system.released()
    far.release.set()


async def test_a_thousand_that_never_end_leave_nothing_behind(system):
    """https://github.com/eclipse-paho/paho.mqtt.c/issues/831, https://github.com/apache/plc4x/issues/636
    https://github.com/tiagocoutinho/modbus-proxy/issues/23: sockets and threads, one more each attempt."""
    loop: Any = asyncio.get_running_loop()

    def timers() -> int:
        return sum(not handle.cancelled() for handle in loop._scheduled)

    tasks, before, threads = asyncio.all_tasks(), timers(), threading.active_count()
    ends = [FarEnd() for _ in range(1000)]
    for number, far in enumerate(ends):
        far.fault = None if number % 2 else Transient("nobody listens")
        far.hangs = {"connect", "close"} if number % 3 else {"close"}
        Call(system, f"caller-{number}", RunCaller(far, Patient(0.02)))
    await until(lambda: all(len(far.attempts) >= 2 for far in ends[1::3] + ends[2::3]), 20.0)
    for cell in [system.mailboxes[f"/caller-{number}"] for number in range(1000)]:
        system.terminate(cell)
    async with asyncio.timeout(10.0):
        await system.released()
    await until(lambda: asyncio.all_tasks() == tasks)
    await until(lambda: timers() <= before + 1)  # that of `until` itself
    await until(lambda: threading.active_count() <= threads)
    assert all(line.closed == 1 for far in ends for line in far.lines if line.connects)


# Building


async def test_a_library_that_hangs_is_said_and_takes_one_thread_however_often_it_is_tried(
    system, far, monkeypatch
):
    loaded = threading.Event()
    started: list[str] = []

    def hang() -> Any:
        started.append(threading.current_thread().name)
        loaded.wait()
        raise ImportError("at last")

    calls = [
        Call(system, f"caller-{number}", RunCaller(far, Patient(), "slow", hang)) for number in range(100)
    ]
    await until(lambda: all(len(one.caller.reasons) >= 3 for one in calls), 20.0)
    assert calls[0].caller.reasons[0] == "the library for slow does not load within 0.1 s"
    assert started == ["build-slow"]
    assert len(building._lanes["slow"]._jobs) <= len(calls)
    # Another kind is not held up.
    far.fault = None
    other = Call(system, "other", RunCaller(far, Patient(), "quick"))
    await until(lambda: other.caller.connected)
    loaded.set()
    for number in range(100):
        system.terminate(system.mailboxes[f"/caller-{number}"])
    await until(lambda: not any(thread.name == "build-slow" for thread in threading.enumerate()))


async def test_a_library_that_is_missing_or_a_configuration_that_is_refused_is_permanent(system, far):
    def missing() -> Any:
        raise ImportError("No module named 'gone'")

    def refused() -> Any:
        raise Refusal("host is required", "connection.host")

    policies = Patient(), Patient()
    first = Call(system, "first", RunCaller(far, policies[0], "gone", missing))
    second = Call(system, "second", RunCaller(far, policies[1], "line", refused))
    await until(lambda: all(len(policy.asked) >= 2 for policy in policies))
    assert first.caller.reasons[0] == "not installed as it should be: No module named 'gone'"
    assert second.caller.reasons[0] == "host is required"
    assert {permanent for policy in policies for _, _, permanent in policy.asked} == {True}
