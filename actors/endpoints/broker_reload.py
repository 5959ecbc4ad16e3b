"""How the broker is told to read its files again; never through a shell."""

import asyncio
import contextlib
import os
import signal
import stat
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from conf.tables import MosquittoSettings

WITHIN = 10.0  # seconds
SAID = 200
"""Characters of what a helper says that are told."""


class NotReloaded(Exception):
    """The broker was not told, and why, for people."""


async def reload(settings: MosquittoSettings, files: Sequence[Path] = ()) -> str:
    """By the process of `pid_file`, the helper, or the container, the first of them that is there; says by
    which. Raises `NotReloaded`."""
    if settings.pid_file is not None:
        return _by_pid(settings.pid_file, files)
    if settings.reload_helper is not None and settings.reload_helper.exists():
        return await _by_helper(settings.reload_helper)
    if settings.container is not None:
        return await _by_container(settings.container, settings.docker_socket)
    raise NotReloaded("nothing says how to have the broker read its files: see mosquitto.pid_file")


def _by_pid(path: Path, files: Sequence[Path]) -> str:
    """A number that is no mosquitto's is left alone: its process may have ended long ago. So is one that
    could not read the files, for it might let everybody in then: it has read those that it has before it
    became another user."""
    try:
        pid = int(path.read_text("ascii").strip())
        name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip() if pid > 1 else ""
    except (OSError, ValueError) as error:
        raise NotReloaded(f"{path} names no process that runs") from error
    if not name.startswith("mosquitto"):
        raise NotReloaded(f"{path} names process {pid}, which is no mosquitto")
    user, groups = _user_of(pid)
    for file in files:
        if not may_read(file, user, groups):
            raise NotReloaded(f"its user ({user}) may not read {file}")
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise NotReloaded(f"process {pid} cannot be told: {error.strerror}") from error
    return f"process {pid}"


def _user_of(pid: int) -> tuple[int, set[int]]:
    """The user, and the groups, that a process is now (proc(5))."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise NotReloaded(f"process {pid} has ended") from error
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return int(fields["Uid"][1]), {int(fields["Gid"][1]), *map(int, fields.get("Groups", ()))}


def may_read(file: Path, user: int, groups: set[int]) -> bool:
    """By its mode; what is nowhere may be made."""
    try:
        found = file.stat()
    except OSError:
        return True
    if user == 0:
        return True
    if found.st_uid == user:
        return bool(found.st_mode & stat.S_IRUSR)
    return bool(found.st_mode & (stat.S_IRGRP if found.st_gid in groups else stat.S_IROTH))


async def _by_helper(path: Path) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise NotReloaded(f"{path} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(WITHIN):
            _, said = await process.communicate()
    except TimeoutError as error:
        raise NotReloaded(f"{path} has not ended within {WITHIN:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        text = " ".join(said.decode("utf-8", "replace").split())[:SAID]
        raise NotReloaded(f"{path} ended with {process.returncode}: {text}")
    return str(path)


async def _by_container(name: str, engine: Path) -> str:
    connector = aiohttp.UnixConnector(str(engine))
    limit = aiohttp.ClientTimeout(total=WITHIN)
    url = f"http://docker/containers/{name}/kill"
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit) as session,
            session.post(url, params={"signal": "HUP"}) as reply,
        ):
            if reply.status == 204:
                return f"container {name}"
            raise NotReloaded(f"container {name}: the engine answers {reply.status}")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise NotReloaded(f"container {name}: no engine answers at {engine}") from error
