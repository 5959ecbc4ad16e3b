"""Schema drift as a subsystem."""

from actors.outputs.outputs import Outputs, RunOutputs
from actors.subsystems.descriptor import Phase, Subsystem
from storage.drift import OUTPUT

SUBSYSTEM = Subsystem(
    name="outputs",
    actor=Outputs,
    start=lambda where: RunOutputs(where.at("store"), where.at("readings"), where.known.created_at),
    phase=Phase.INFRASTRUCTURE,
    kinds=(OUTPUT,),
)
