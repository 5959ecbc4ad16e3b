"""Users and sessions as a subsystem."""

from actors.accounts.accounts import Accounts, RunAccounts
from actors.accounts.first_user import RESET_FILE
from actors.subsystems.descriptor import Phase, Subsystem, Surroundings


def _start(where: Surroundings) -> RunAccounts:
    settings = where.settings
    return RunAccounts(
        store=where.at("store"),
        first_password=settings.api.initial_admin_password,
        reset_file=settings.storage.data_dir / RESET_FILE,
    )


SUBSYSTEM = Subsystem(name="accounts", actor=Accounts, start=_start, phase=Phase.DEVICE)
