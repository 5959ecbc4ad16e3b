"""Shutting the machine down: by the configured command, with an outcome that is told."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from puppets import until
from thespian.actors import ActorAddress

from actors.power import power
from actors.power.messages import ShutdownAnswered, ShutDownMachine
from actors.power.power import Power, RunPower
from actors.subsystems.messages import CheckSubsystem, SubsystemChecked
from actors.system.asyncio_base import AsyncioSystemBase


@pytest.fixture
async def base(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncioSystemBase]:
    monkeypatch.setattr(power, "DELAY", 0.0)
    base = AsyncioSystemBase()
    yield base
    base.shutdown()
    await base.released()


def started(base: AsyncioSystemBase, *command: str, seconds: float = 10) -> ActorAddress:
    return base.spawn(None, Power, "power", RunPower(command, seconds))


async def shut_down(base: AsyncioSystemBase, actor: ActorAddress) -> ShutdownAnswered:
    answer = await base.ask(actor, ShutDownMachine(), 5)
    assert isinstance(answer, ShutdownAnswered)
    return answer


async def error(base: AsyncioSystemBase, actor: ActorAddress) -> str | None:
    answer = await base.ask(actor, CheckSubsystem(), 5)
    assert isinstance(answer, SubsystemChecked)
    return answer.error


async def until_error(base: AsyncioSystemBase, actor: ActorAddress) -> str:
    deadline = time.monotonic() + 5
    while (found := await error(base, actor)) is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    return found


async def until_well(base: AsyncioSystemBase, actor: ActorAddress) -> None:
    deadline = time.monotonic() + 5
    while await error(base, actor) is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_without_a_command_it_is_refused_and_nothing_is_wrong(base):
    actor = started(base)
    answer = await shut_down(base, actor)
    assert (answer.refusal, answer.configured) == ("No shutdown command is configured", False)
    assert await error(base, actor) is None


async def test_the_command_runs_after_the_answer_with_its_arguments_as_they_are(base, tmp_path):
    file = tmp_path / "a b; $(touch x)"
    actor = started(base, "touch", str(file))
    assert await shut_down(base, actor) == ShutdownAnswered()
    await until(file.exists)
    assert await error(base, actor) is None


@pytest.mark.parametrize("text", ["none", "no-program"])
async def test_a_command_that_cannot_be_run_is_refused(base, tmp_path, text, caplog):
    file = tmp_path / text
    if text == "no-program":
        file.write_text("#!/bin/sh\n")
    actor = started(base, str(file))
    answer = await shut_down(base, actor)
    assert "is not there, or may not be run" in answer.refusal
    assert answer.configured
    assert not answer.busy
    assert answer.refusal in await error(base, actor)
    assert "the machine is not shut down" in caplog.text


async def test_a_command_that_is_not_permitted_says_so_until_one_succeeds(base, tmp_path, caplog):
    """`systemctl poweroff` without leave, `sudo` without a password: what they print is what helps."""
    may = tmp_path / "may"
    script = f"test -e {may} || {{ echo 'Interactive authentication required.' >&2; exit 1; }}"
    actor = started(base, "sh", "-c", script)
    await shut_down(base, actor)
    why = "the shutdown command ended with 1: Interactive authentication required."
    assert await until_error(base, actor) == why
    assert f"the machine is not shut down: {why}" in caplog.text
    may.touch()
    assert (await shut_down(base, actor)).last_error == why
    await until_well(base, actor)


async def test_one_at_a_time_and_one_that_hangs_ends(base):
    actor = started(base, "sh", "-c", "read password </dev/zero; sleep 60", seconds=0.3)
    assert (await shut_down(base, actor)).refusal is None
    again = await shut_down(base, actor)
    assert (again.busy, again.refusal) == (True, "A shutdown is under way")
    assert "took longer than 0.3 s" in await until_error(base, actor)
    assert not (await shut_down(base, actor)).busy


async def test_a_command_that_ends_well_and_does_nothing_is_told(base, monkeypatch):
    monkeypatch.setattr(power, "PATIENCE", 0.05)
    actor = started(base, "true")
    await shut_down(base, actor)
    assert await until_error(base, actor) == power.SILENT


async def test_a_failure_is_not_told_for_ever(base, monkeypatch):
    monkeypatch.setattr(power, "TOLD", 0.2)
    actor = started(base, "false")
    await shut_down(base, actor)
    await until_error(base, actor)
    await until_well(base, actor)


async def test_the_command_gets_nothing_of_the_agents_environment(base, tmp_path, monkeypatch):
    monkeypatch.setenv("API_KEY", "s3cret")
    file: Path = tmp_path / "env"
    actor = started(base, "sh", "-c", f"env >{file}.new; mv {file}.new {file}")
    await shut_down(base, actor)
    await until(file.exists)
    text = await asyncio.to_thread(file.read_text)
    assert "s3cret" not in text
    assert "PATH=" in text


async def test_a_restated_command_is_that_of_the_next_call(base, tmp_path):
    actor = started(base)
    file = tmp_path / "file"
    base.tell(actor, RunPower(("touch", str(file)), 5))
    answer: Any = await shut_down(base, actor)
    assert msgspec.structs.asdict(answer)["refusal"] is None
