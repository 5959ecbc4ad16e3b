"""All checks, in the order in which somebody would look."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from api.access import bind_host
from api.cli.agent_client import LOOPBACK, AgentClient
from api.cli.doctor import configuration, data_directory, database, libraries, machine, network, running
from api.cli.doctor.findings import Finding, found_by, problem, warning
from api.cli.exits import CommandError, NoAgent, Refused
from conf.settings import Settings
from storage import reading_only

Answers = Literal["yes", "no", "refuses"]


class Stored(NamedTuple):
    """Where an agent keeps what it has. `folder` holds lock and key; None: nobody knows which it is."""

    folder: Path | None
    database: Path

    @property
    def holder(self) -> int | None:
        return None if self.folder is None else data_directory.holder(self.folder)


def examined(agent: AgentClient, config: Path | None, data_dir: Path | None) -> Iterator[Finding]:
    """Every finding, as it is made."""
    settings, findings = configuration.loaded(config, data_dir)
    yield from findings
    answers, findings = _agent(agent)
    yield from findings
    stored = None if settings is None else Stored(settings.storage.data_dir, settings.database_path)
    if answers == "yes" and stored is not None and data_dir is None:
        stored = _theirs(agent, stored)
        if stored is None:
            text = "the agent runs on another machine, or in a container: its data is not looked at from here"
            yield warning("data directory", text, "run doctor where it runs, such as docker exec")
    if stored is not None:
        yield from _storage(stored)
    if settings is not None and answers == "no":
        yield from found_by("port", partial(_port, settings))
    for name, check in (
        ("clock", machine.check_clock),
        ("descriptors", partial(machine.check_descriptors, stored.holder if stored else None)),
        ("memory", machine.check_memory),
        ("service", machine.check_service),
        ("libraries", libraries.check_libraries),
    ):
        yield from found_by(name, check)
    if answers == "yes":
        yield from _asking(agent)
    elif answers == "no" and stored is not None and stored.folder is not None:
        yield from found_by("devices", partial(_configured, stored.folder, stored.database))


def _agent(agent: AgentClient) -> tuple[Answers, list[Finding]]:
    """Whether one answers."""
    try:
        return "yes", list(running.check_agent(agent))
    except NoAgent as error:
        advice = "start it, or say where it is with --url; the rest is looked at without it"
        return "no", [warning("agent", str(error), advice)]
    except Refused as refused:
        advice = "say the key with API_KEY, or sign in: callboard login"
        return "refuses", [problem("agent", str(refused), advice)]


def _asking(agent: AgentClient) -> Iterator[Finding]:
    for name, check in (
        ("version", running.check_versions),
        ("devices", running.check_endpoints),
        ("destinations", running.check_destinations),
    ):
        try:
            yield from check(agent)
        except CommandError as error:
            yield problem(name, str(error), "say the key with API_KEY, or sign in: callboard login")


def _theirs(agent: AgentClient, configured: Stored) -> Stored | None:
    """What an agent says of itself, where that is here; None when it is not."""
    if agent.address.host not in LOOPBACK:
        return None
    try:
        named = running.database_of(agent)
    except CommandError:
        return configured
    if named is None or Path(named).resolve() == configured.database.resolve():
        return configured
    path = Path(named)
    if not path.exists():
        return None
    return Stored(path.parent if (path.parent / ".master.key").exists() else None, path)


def _storage(stored: Stored) -> Iterator[Finding]:
    folder, path = stored
    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = []
    if folder is not None:
        checks += [
            ("data directory", partial(data_directory.check_directory, folder)),
            ("lock", partial(data_directory.check_lock, folder)),
            ("master key", partial(data_directory.check_key, folder, path)),
        ]
    in_use = folder is None or stored.holder is not None
    checks += [
        ("disk", partial(data_directory.check_space, path.parent)),
        ("database", partial(database.check_database, path, in_use=in_use)),
        ("clock", partial(database.check_last_write, path)),
    ]
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
