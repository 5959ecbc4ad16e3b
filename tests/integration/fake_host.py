"""What the fake agent says of its machine, its memory and its database."""

from typing import Any

from actors.endpoints.messages import CountPolls, PollsCounted
from actors.host.machine import Process, Sample, Storage
from actors.host.messages import (
    HostReported,
    MemoryReported,
    MemoryTraced,
    ReportHost,
    ReportMemory,
    RestartPolicy,
    TraceBegun,
    TraceMemory,
)
from actors.host.network import Interface
from actors.host.tracing import Grown, Traced
from actors.logs.messages import CountLogs, LogsCounted
from actors.state.messages import Transact, Transacted
from actors.system.tree import Tally
from storage.sizes import Sizes

MB = 1024 * 1024
OWN = Process(150 * MB, 50 * MB, 250 * MB, 12.5, 6, 40, 3600.0)
SAMPLE = Sample(
    at=1.0,
    hostname="factory-node-01",
    uptime=86_400,
    cpu_percent=34.2,
    cpu_cores=4,
    load=(0.5, 0.25, 0.125),
    memory_used=1_073_741_824,
    memory_total=2_147_483_648,
    memory_percent=50.0,
    storage=Storage(5_368_709_120, 21_474_836_480, 23.5),
    temperature=51.5,
    interfaces=[Interface("eth0", 10_000, 5000, 1024.0, 512.0), Interface("lo", 1, 1, 0.0, 0.0)],
    counted=("eth0",),
    received_rate=1024.0,
    sent_rate=512.0,
    process=OWN,
    process_cpu_percent=3.5,
    limited=False,
)
POLICY = RestartPolicy(512, 768, 3, 3_600_000, 1, 1_705_314_600_000, 60_000, None)
TRACE = Traced(
    1_705_314_600_000, 10.0, 5000, 9000, 2000, 150 * MB, 151 * MB, False, [Grown("a.py", 7, 4096, 2)]
)
MEMORY = MemoryReported(
    process=OWN,
    standing="stable",
    pattern="stable",
    description="Resident memory does not grow",
    initial=100.0,
    initial_shared=50.0,
    baseline=140.0,
    baseline_shared=50.0,
    rate=0.01,
    least_rate=0.3,
    threshold_mb=15.0,
    count=0,
    samples=120,
    uptime=3600.0,
    policy=POLICY,
    tracing=False,
    trace=None,
)
SIZES = Sizes("/data/agent.sqlite", True, 5_242_880, 32_768, 4096, 1280, 4, ["agent", "devices"])


class FakeHost:
    def on_ReportHost(self, message: ReportHost) -> HostReported:
        return HostReported(SAMPLE, Tally(20, 0, 0, 1, 2, 3, 0.001, 0.02))

    def on_CountLogs(self, message: CountLogs) -> LogsCounted:
        return LogsCounted({"info": 5, "error": 1})

    def on_ReportMemory(self, message: ReportMemory) -> MemoryReported:
        return MEMORY

    def on_TraceMemory(self, message: TraceMemory) -> MemoryTraced | TraceBegun:
        return TraceBegun(message.seconds) if message.seconds > 20 else MemoryTraced(TRACE)

    def on_Transact(self, message: Transact) -> Transacted:
        return Transacted(message.token, SIZES)

    def on_CountPolls(self, message: CountPolls, owner: Any) -> PollsCounted:
        return PollsCounted(True, 10, 1, 0, 500, 12.5)
