"""What is left of many connections to a device that are lost one after the other."""

import argparse
import asyncio
import gc
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `servers` is

import msgspec
import uvloop
from field_rig import FieldRig
from packages import on_path
from reconnects_bench import Left, state
from servers.field_counterparts import FIELD_COUNTERPARTS
from servers.toy import install_toy

WARM_UP = 50


async def lose(rig: FieldRig, times: int) -> Left:
    """What there is after so many more."""
    relay = rig.counterpart.relay
    for _ in range(times):
        accepted = relay.accepted
        await relay.cut()
        await rig.until(lambda seen=accepted: relay.accepted > seen, 10)  # type: ignore[misc]
        await rig.advance()
        await rig.good()
        for readings in rig.readings.values():
            readings.clear()
    await asyncio.sleep(1)
    gc.collect()
    return state()


async def measure(name: str, connections: int, directory: Path) -> Left:
    kind = FIELD_COUNTERPARTS[name]
    with ExitStack() as stack:
        stack.enter_context(on_path(install_toy(directory / "packages")))
        shared = stack.enter_context(kind.share(directory))
        async with kind(shared) as counterpart, FieldRig(counterpart) as rig:
            await rig.begin()
            before = await lose(rig, WARM_UP)
            after = await lose(rig, connections)
    return Left(after.mb - before.mb, after.descriptors - before.descriptors, after.tasks - before.tasks)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counterpart", choices=FIELD_COUNTERPARTS, required=True)
    parser.add_argument("--connections", type=int, default=1_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        left = await measure(given.counterpart, given.connections, Path(directory))
    print(msgspec.json.encode(left).decode())


if __name__ == "__main__":
    uvloop.run(main())
