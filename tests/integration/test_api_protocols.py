"""`GET /v1/protocols`, and `callboard protocols`."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
from fake_agent import FakeAgent, serving
from packages import install, on_path
from scripted_api import scripted

from actors.endpoints import protocols


async def listed() -> dict[str, Any]:
    async with serving(FakeAgent()) as client:
        reply = await client.get("/v1/protocols")
        assert reply.status == 200
        found: dict[str, Any] = await reply.json()
        return found


async def test_every_protocol_is_there_with_what_a_form_takes():
    found = await listed()
    assert [one["name"] for one in found["protocols"]] == list(protocols.names())
    assert found["not_used"] == []
    for one in found["protocols"]:
        assert one["available"], one["reason"]
        jsonschema_rs.validate(one["connection_schema"], one["example"]["connection"])
        for point in one["example"]["data_points"]:
            jsonschema_rs.validate(one["data_point_schema"], point)


async def test_one_says_what_it_can():
    async with serving(FakeAgent()) as client:
        modbus = await (await client.get("/v1/protocols/modbus")).json()
        assert (modbus["title"], modbus["package"], modbus["reason"]) == ("Modbus", None, None)
        assert modbus["capabilities"]["reads"]
        assert modbus["capabilities"]["writes"]
        assert not modbus["capabilities"]["listens"]
        reply = await client.get("/v1/protocols/profibus")
        assert reply.status == 404
        assert (await reply.json())["message"] == "Protocol not found: profibus"


async def test_those_that_cannot_be_used_are_there_with_the_reason(tmp_path: Path):
    install(tmp_path, "toys", {"toy": "no_such_toy:PROTOCOL", "modbus": "no_such_toy:PROTOCOL"})
    with on_path(tmp_path):
        found = await listed()
    toy = found["protocols"][-1]
    assert (toy["name"], toy["available"], toy["package"]) == ("toy", False, "toys 1.0")
    assert "No module named 'no_such_toy'" in toy["reason"]
    assert toy["connection_schema"] is toy["capabilities"] is toy["example"] is None
    assert [(one["name"], one["package"]) for one in found["not_used"]] == [("modbus", "toys 1.0")]
    assert found["protocols"][0]["available"]


async def test_a_protocol_without_its_library_still_says_what_its_endpoints_take(monkeypatch):
    monkeypatch.setattr(protocols, "find_spec", lambda name: None)
    protocols.forget()
    try:
        [modbus] = [one for one in (await listed())["protocols"] if one["name"] == "modbus"]
    finally:
        protocols.forget()
    assert (modbus["available"], modbus["reason"]) == (False, "the library pymodbus is not installed")
    assert modbus["connection_schema"]["properties"]


async def test_the_command_line_shows_them(capsys):
    reply = await listed()
    reply["not_used"].append({"name": "Toy", "package": "toys 1.0", "reason": "a name is lower-case"})
    modbus = next(one for one in reply["protocols"] if one["name"] == "modbus")
    [modbus] = [one for one in reply["protocols"] if one["name"] == "modbus"]
    async with scripted({"GET /v1/protocols": reply, "GET /v1/protocols/modbus": modbus}) as api:
        assert await api.callboard("protocols", "list") == 0
        lines = capsys.readouterr().out.splitlines()
        assert ["modbus", "yes", "reads,"] in [line.split()[:3] for line in lines]
        assert lines[-1].split() == ["Toy", "no", "-", "toys", "1.0", "a", "name", "is", "lower-case"]
        assert await api.callboard("protocols", "show", "modbus") == 0
        out = capsys.readouterr().out
        assert "unitId " in out
        assert "1 to 65535" in out
        assert '"register": "holding:0"' in out
        assert await api.callboard("protocols", "show", "modbus", "--json") == 0
        assert json.loads(capsys.readouterr().out) == modbus
