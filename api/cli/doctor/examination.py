"""All checks, in the order in which somebody would look."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from api.access import bind_host
from api.cli.agent_client import AgentClient
from api.cli.doctor import configuration, data_directory, database, libraries, machine, network, running
from api.cli.doctor.findings import Finding, found_by, problem, warning
from api.cli.exits import CommandError, NoAgent, Refused
from conf.settings import Settings
from storage import reading_only


def examined(agent: AgentClient, config: Path | None, data_dir: Path | None) -> Iterator[Finding]:
    """Every finding, as it is made."""
    settings, findings = configuration.loaded(config, data_dir)
    yield from findings
    answers, findings = _agent(agent)
    yield from findings
    if settings is not None:
        path = settings.database_path
        folder = settings.storage.data_dir
        if answers and data_dir is None and (theirs := _their_database(agent)) is not None and theirs != path:
            path, folder = theirs, theirs.parent
        yield from _storage(folder, path)
        if not answers:
            yield from found_by("port", partial(_port, settings))
    pid = data_directory.holder(folder) if settings is not None else None
    for name, check in (
        ("clock", machine.check_clock),
        ("descriptors", partial(machine.check_descriptors, pid)),
        ("memory", machine.check_memory),
        ("service", machine.check_service),
        ("libraries", libraries.check_libraries),
    ):
        yield from found_by(name, check)
    if answers:
        yield from _asking(agent)
    elif settings is not None:
        yield from found_by("devices", partial(_configured, folder, path))


def _agent(agent: AgentClient) -> tuple[bool, list[Finding]]:
    """Whether one answers."""
    try:
        return True, list(running.check_agent(agent))
    except NoAgent as error:
        advice = "start it, or say where it is with --url; the rest is looked at without it"
        return False, [warning("agent", str(error), advice)]
    except Refused as refused:
        return False, [
            problem("agent", str(refused), "say the key with API_KEY, or sign in: callboard login")
        ]


def _asking(agent: AgentClient) -> Iterator[Finding]:
    for name, check in (
        ("devices", running.check_endpoints),
        ("destinations", running.check_destinations),
    ):
        try:
            yield from check(agent)
        except CommandError as error:
            yield problem(name, str(error), "say the key with API_KEY, or sign in: callboard login")


def _their_database(agent: AgentClient) -> Path | None:
    """That of an agent on this machine."""
    if agent.address.host not in ("localhost", "127.0.0.1", "::1"):
        return None
    try:
        named = running.database_of(agent)
    except CommandError:
        return None
    return Path(named) if named and Path(named).is_absolute() else None


def _storage(folder: Path, path: Path) -> Iterator[Finding]:
    in_use = data_directory.holder(folder) is not None
    checks: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("data directory", partial(data_directory.check_directory, folder)),
        ("lock", partial(data_directory.check_lock, folder)),
        ("master key", partial(data_directory.check_key, folder, path)),
        ("disk", partial(data_directory.check_space, path.parent)),
        ("database", partial(database.check_database, path, in_use=in_use)),
        ("clock", partial(database.check_last_write, path)),
    )
    for name, check in checks:
        yield from found_by(name, check)


def _port(settings: Settings) -> Iterator[Finding]:
    return network.check_port(bind_host(settings.api.host, settings.api.security_mode), settings.api.port)


def _configured(folder: Path, path: Path) -> Iterator[Finding]:
    """Devices and destinations as they are stored, tried from here."""
    if not path.exists() or data_directory.holder(folder) is not None:
        return  # an agent that does not answer is none of theirs to be disturbed by
    key = folder / ".master.key"
    for kind, check, inner, word in (
        ("endpoint", "devices", "connection", "protocol"),
        ("destination", "destinations", "config_json", "type"),
    ):
        places = []
        with reading_only.opened(path, 5.0) as connection:
            for name, body in reading_only.configured(connection, key, kind):
                if body is None:
                    text = f"{name} cannot be read: it is damaged, or encrypted with another key than {key}"
                    yield problem(check, text, "restore the key that goes with the database")
                elif body.get("enabled", True):
                    place = network.place_of(str(body.get(word)), body.get(inner) or {})
                    if place is not None:
                        places.append((name, place))
        yield from network.check_places(check, places)
