"""Backups as a subsystem."""

from actors.backups.backups import Backups
from actors.backups.one_at_a_time import RunBackups
from actors.subsystems.descriptor import Phase, Subsystem, Surroundings
from storage.backups import Site


def _start(where: Surroundings) -> RunBackups:
    from actors.subsystems.registry import subsystems  # of which this is one

    settings = where.settings
    folder = settings.storage.data_dir
    return RunBackups(
        store=where.at("store"),
        agent=where.agent,
        site=Site(settings.database_path, folder, folder / "backups", where.version),
        prepare=tuple(where.at(one.name) for one in subsystems() if one.prepares_reset),
    )


SUBSYSTEM = Subsystem(name="backups", actor=Backups, start=_start, phase=Phase.DEVICE)
