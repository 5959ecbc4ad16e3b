"""Names as they are found in plants, in stored rows and in files, and the topics that a real broker gets."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from mqtt_owner import Owner, subscriber, to_port, until
from publishing_system import PublishingSystem, source_of
from servers.mosquitto import Mosquitto

from actors.readings.batch import Batch, Source
from actors.readings.source_topics import level

LONG = "n" * 70_000

LEVELS = {
    "press-4": "press-4",
    "Living Room Lamp": "Living Room Lamp",
    "Ölpresse 4 ✓": "Ölpresse 4 ✓",
    "Waschküche/Heizung/Aktor": "Waschküche_Heizung_Aktor",
    "Temperature +1": "Temperature _1",
    "SHSW-1#11490B#1": "SHSW-1_11490B_1",
    "+": "_",
    "#": "_",
    "pump\t7": "pump_7",
    "a\0b\x7fc\x9fd": "a_b_c_d",
    "a\ufdd0\uffff\U0010fffe": "a___",
    "line\u2028end\n": "line_end_",
    " blanks ": "_blanks_",
    "\u3000": "_",
    "": "_",
    "$SYS": "$SYS",
    "..": "..",
    "\ufeffmark": "\ufeffmark",
}


@pytest.mark.parametrize("template", ["{name}", "plant/{name}/{device}/{protocol}", "/x/{device}-{name}"])
async def test_whatever_an_endpoint_is_called_mosquitto_takes_its_topic(
    tmp_path: Path, template: str
) -> None:
    received: list[tuple[str, bytes, int]] = []
    names = [*LEVELS, LONG]
    with Mosquitto(tmp_path / "broker") as broker:
        client = await subscriber(broker.port, received)
        async with PublishingSystem(tmp_path) as rig:
            config: dict[str, Any] = {"host": "127.0.0.1", "port": broker.port, "topicTemplate": template}
            id = (await rig.new_destination("one", "mqtt", config)).id
            await rig.add_subscription(id, route_json={"topic": None}, topics=["sensors/+/seq"])
            await rig.observed(id)
            for number, name in enumerate(names):
                rig.base.tell(rig.router, Batch(_named(name, number), 1_700_000_000_000, [number]))
            await until(lambda: len(received) == len(names))
            report = await rig.reported(id, lambda report: report.delivered == len(names))
        assert (report.rows, report.rejected, report.latest_error) == (0, 0, None)
        await client.disconnect()
        log = (tmp_path / "broker" / f"mosquitto-{broker.port}.log").read_text()
    assert "malformed" not in log
    by_number = {_number(payload): topic for topic, payload, _ in received}
    for number, spelled in enumerate(LEVELS.values()):
        assert by_number[number] == _filled(template, spelled)
    assert len(by_number[len(LEVELS)].encode()) <= 65_535
    assert "n~" in by_number[len(LEVELS)]


async def test_a_name_of_any_characters_is_a_level_that_mosquitto_takes(tmp_path: Path) -> None:
    """All that there are, at either end of a name and within."""
    names = ["".join(map(chr, range(first, first + 256))) for first in range(0, 0x110000, 256)]
    names += [chr(code) for code in range(0x3100)]
    with Mosquitto(tmp_path / "broker") as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        for first in range(0, len(names), 500):
            for seq in range(first, min(first + 500, len(names))):
                owner.send(seq, f"plant/{level(names[seq])}", b"x")
            await until(lambda sent=seq: (owner.seqs and owner.seqs[-1] == sent) or owner.losses)
        assert owner.seqs == list(range(len(names)))
        assert (owner.losses, owner.all("rejected")) == ([], [])
        await owner.driver.close()


def _named(name: str, number: int) -> Source:
    source = source_of(name, "seq")
    return msgspec.structs.replace(source, endpoint_uuid=f"uuid-{number}", device_uuid=f"device-{number}")


def _filled(template: str, level: str) -> str:
    topic = template.replace("{name}", level).replace("{device}", level).replace("{protocol}", "modbus")
    return f"_{topic[1:]}" if topic.startswith("$") else topic


def _number(payload: bytes) -> int:
    [tag] = msgspec.json.decode(payload)["tags"]
    found: int = tag["value"]
    return found
