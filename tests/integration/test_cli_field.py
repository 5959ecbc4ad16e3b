"""What the commands about endpoints, devices and discovery ask an agent, and what they print of it."""

import asyncio
import io
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from scripted_api import scripted
from servers.agent import callboard

from api.cli import scanning
from api.cli.commands.browse import place_of
from api.cli.exits import CommandError
from api.cli.given import object_of
from api.cli.scanning import where

PLC = {
    "uuid": "u-1",
    "name": "plc",
    "protocol": "modbus",
    "enabled": True,
    "poll_interval": 5000,
    "connection": {"host": "10.0.1.7"},
    "data_points": [],
}


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("DEVICE_API", "API_", "CALLBOARD_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(scanning, "JOINING", 0.5)
    monkeypatch.setattr(scanning, "SETTLING", 0.02)


# Endpoints


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("name=speed,register=holding:0,scale=0.1", {"name": "speed", "register": "holding:0", "scale": 0.1}),
        ("name=t,nodeId=ns=2;s=Line,1", {"name": "t", "nodeId": "ns=2;s=Line,1"}),
        ('{"name": "a,b", "writable": true}', {"name": "a,b", "writable": True}),
        ('name="5",writable=true', {"name": "5", "writable": True}),
    ],
)
def test_points_are_told_in_either_way(text: str, point: Any) -> None:
    assert object_of(text, "--point") == point


@pytest.mark.parametrize("text", ["speed", "", "{", "=5", "{1}"])
def test_what_is_no_point(text: str) -> None:
    with pytest.raises(CommandError, match="--point"):
        object_of(text, "--point")


async def test_an_endpoint_is_added_from_options(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "pw").write_text("hunter2\n")
    async with scripted({"POST /v1/endpoints": (201, PLC)}) as api:
        command = ("endpoints", "add", "plc", "--protocol", "modbus", "--connection", "host=10.0.1.7")
        more = ("port=502", f"password=@{tmp_path}/pw", "--point", "name=speed,register=holding:0")
        assert await api.callboard(*command, *more, "--interval", "1000", "--disabled") == 0
        assert api.last.body == {
            "name": "plc",
            "protocol": "modbus",
            "connection": {"host": "10.0.1.7", "port": 502, "password": "hunter2"},
            "data_points": [{"name": "speed", "register": "holding:0"}],
            "poll_interval": 1000,
            "enabled": False,
        }
    assert "plc is added, and polled" in capsys.readouterr().out


async def test_an_endpoint_is_added_from_a_file_or_what_is_piped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    described = {"name": "plc", "protocol": "modbus", "connection": {"host": "h"}, "metadata": {"hall": 3}}
    (tmp_path / "plc.json").write_text(json.dumps(described))
    async with scripted({"POST /v1/endpoints": (201, PLC)}) as api:
        assert await api.callboard("endpoints", "add", "--file", str(tmp_path / "plc.json")) == 0
        assert api.last.body == described
        stdin = io.TextIOWrapper(io.BytesIO(json.dumps(described).encode()))
        monkeypatch.setattr("sys.stdin", stdin)
        assert await api.callboard("endpoints", "add", "other", "--file", "-", "--connection", "port=1") == 0
        assert api.last.body == described | {"name": "other", "connection": {"host": "h", "port": 1}}


@pytest.mark.parametrize(
    "arguments",
    [
        ["add"],
        ["add", "plc"],
        ["add", "--protocol", "modbus"],
        ["add", "plc", "--protocol", "modbus", "--connection", "host"],
        ["add", "plc", "--protocol", "modbus", "--connection", "password=hunter2"],
        ["add", "plc", "--protocol", "modbus", "--connection", "ca=@nowhere"],
        ["add", "plc", "--file", "nowhere.json"],
        ["add", "plc", "--file", "/dev/null"],
        ["test"],
        ["test", "plc", "--protocol", "modbus"],
        ["test", "--connection", "host=h"],
        ["enable"],
        ["enable", "plc", "--all"],
        ["disable", "plc", "--protocol", "modbus"],
        ["import", "nowhere.json"],
        ["export", "-o", "/dev/null"],
    ],
)
async def test_what_is_not_said_well_asks_no_agent(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    async with scripted() as api:
        assert await api.callboard("endpoints", *arguments) == 2
        assert not api.asked
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "Traceback" not in said


async def test_an_endpoint_is_tried(capsys: pytest.CaptureFixture[str]):
    value = {"name": "speed", "value": 7, "unit": "rpm", "quality": "GOOD"}
    bad = {"name": "level", "value": None, "quality": "BAD", "quality_code": "ILLEGAL_ADDRESS"}
    good = {"ok": True, "values": [value, bad], "duration_ms": 8.1, "message": "1 of 2 values are good"}
    refused = {"ok": False, "values": [], "duration_ms": 3.0, "error": "refused", "quality_code": "TIMEOUT"}
    replies = {"POST /v1/endpoints/plc%201/test": good, "POST /v1/endpoints/test": refused}
    replies["POST /v1/endpoints/plc 1/test"] = good
    async with scripted(replies) as api:
        assert await api.callboard("endpoints", "test", "plc 1") == 0
        out = capsys.readouterr().out
        assert "BAD ILLEGAL_ADDRESS" in out
        assert "1 of 2 values are good, 8.1 ms" in out
        assert await api.callboard("endpoints", "test", "--protocol", "modbus", "--connection", "host=h") == 1
        assert api.last.body == {"protocol": "modbus", "connection": {"host": "h"}}
        assert "refused (TIMEOUT), 3.0 ms" in capsys.readouterr().out
        assert await api.callboard("endpoints", "test", "plc 1", "--json") == 0
        assert json.loads(capsys.readouterr().out) == good


async def test_all_endpoints_are_switched(capsys: pytest.CaptureFixture[str]):
    others = [
        PLC | {"uuid": f"u-{number}", "name": f"p{number}", "enabled": number == 2} for number in (2, 3)
    ]
    replies: dict[str, Any] = {"GET /v1/endpoints": {"endpoints": [PLC, *others]}}
    replies |= {f"PATCH /v1/endpoints/u-{number}": PLC for number in (1, 2, 3)}
    async with scripted(replies) as api:
        assert await api.callboard("endpoints", "disable", "--all", "--protocol", "modbus") == 0
        assert [one.path for one in api.asked[1:]] == ["/v1/endpoints/u-1", "/v1/endpoints/u-2"]
        assert (api.asked[0].query, api.last.body) == ({"protocol": "modbus"}, {"enabled": False})
        assert "2 endpoint(s): not polled any more" in capsys.readouterr().out
        assert await api.callboard("endpoints", "enable", "--all", "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"endpoints": ["p3"], "enabled": True}


async def test_the_word_all_is_every_endpoint_but_where_one_is_called_so(capsys: pytest.CaptureFixture[str]):
    patched = {f"PATCH /v1/endpoints/{key}": PLC for key in ("u-1", "u-2", "all")}
    async with scripted({"GET /v1/endpoints": {"endpoints": [PLC]}} | patched) as api:
        assert await api.callboard("endpoints", "disable", "all") == 0
        assert (api.last.path, api.last.body) == ("/v1/endpoints/u-1", {"enabled": False})
        assert "1 endpoint(s): not polled any more" in capsys.readouterr().out
        assert await api.callboard("endpoints", "disable", "all", "--protocol", "modbus") == 0
        assert await api.callboard("endpoints", "disable", "--all", "all") == 0
        assert api.last.path == "/v1/endpoints/u-1"
    called_so = PLC | {"uuid": "u-2", "name": "all"}
    async with scripted({"GET /v1/endpoints": {"endpoints": [PLC, called_so]}} | patched) as api:
        assert await api.callboard("endpoints", "disable", "all") == 0
        assert [one.path for one in api.asked if one.method == "PATCH"] == ["/v1/endpoints/all"]
        assert await api.callboard("endpoints", "disable", "--all") == 0
        assert [one.path for one in api.asked if one.method == "PATCH"][1:] == [
            "/v1/endpoints/u-1",
            "/v1/endpoints/u-2",
        ]


async def test_endpoints_go_to_a_file_and_come_from_it(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    exported = b'{"endpoints":[{"name":"a\\u001bb"}]}'
    table = "name,protocol\r\npl\u00e4c,modbus\r\n".encode()

    async def export(request: web.Request) -> web.Response:
        if request.query["format"] == "csv":
            return web.Response(body=table, content_type="text/csv", charset="utf-8")
        return web.Response(body=exported, content_type="application/json")

    done = (201, {"message": "Imported 1 endpoint(s)", "imported": 1})
    async with scripted({"GET /v1/endpoints/export": export, "POST /v1/endpoints/import": done}) as api:
        for name, content, kind in (("a.json", exported, "application/json"), ("a.csv", table, "text/csv")):
            file = tmp_path / name
            assert await api.callboard("endpoints", "export", "-o", str(file)) == 0
            assert file.read_bytes() == content
            assert await api.callboard("endpoints", "import", str(file)) == 0
            assert api.last.headers["Content-Type"] == kind
        assert await api.callboard("endpoints", "export", "-o", str(file)) == 2
        capsys.readouterr()
        assert await api.callboard("endpoints", "export", "--format", "csv") == 0
        assert capsys.readouterr().out.encode() == table


async def test_what_is_wrong_with_a_file_is_told_row_by_row(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    file = tmp_path / "a.json"
    file.write_text("[]")
    errors = [{"row": 2, "field": "point.register", "error": "'coil' is no table"}, {"row": 7, "error": "no"}]
    wrong = {"error": "Bad request", "message": "Nothing was imported: 2 rows at fault", "errors": errors}
    async with scripted({"POST /v1/endpoints/import": (400, wrong)}) as api:
        assert await api.callboard("endpoints", "import", str(file)) == 2
        assert capsys.readouterr().err.splitlines() == [
            "callboard: row 2: point.register: 'coil' is no table",
            "callboard: row 7: no",
            "callboard: Nothing was imported: 2 rows at fault",
        ]
        api.says("POST /v1/endpoints/import", (409, {"error": "Nothing was imported: 1 row at fault"}))
        assert await api.callboard("endpoints", "import", str(file)) == 6


async def test_a_table_that_a_spreadsheet_has_written_is_read(tmp_path: Path):
    """Its first column was not known for the mark before it (openfoodnetwork #3448, silverstripe #9206)."""
    file = tmp_path / "a.CSV"
    file.write_bytes("\ufeffname;protocol\r\npl\u00e4c;modbus\r\n".encode())
    done = (201, {"message": "Imported 1 endpoint(s)", "imported": 1})
    async with scripted({"POST /v1/endpoints/import": done}) as api:
        assert await api.callboard("endpoints", "import", str(file)) == 0
        assert api.last.headers["Content-Type"] == "text/csv"
        assert api.last.body == "name;protocol\r\npl\u00e4c;modbus\r\n".encode()


# Browsing


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("opc.tcp://10.0.1.5:4840/a", ("opcua", {"endpointUrl": "opc.tcp://10.0.1.5:4840/a"}, None)),
        ("bacnet://10.0.1.5/1001", ("bacnet", {"host": "10.0.1.5", "deviceInstance": 1001}, None)),
        ("bacnet://10.0.1.5:47809", ("bacnet", {"host": "10.0.1.5", "port": 47809}, None)),
        ("snmp://[fe80::1]:1161/1.3.6.1", ("snmp", {"host": "fe80::1", "port": 1161}, "1.3.6.1")),
        ("snmp://switch", ("snmp", {"host": "switch"}, None)),
        ("toy", ("toy", {}, None)),
    ],
)
def test_addresses(address: str, place: Any) -> None:
    assert place_of(address) == place


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "http://10.0.1.5",
        "bacnet://",
        "bacnet://h/one",
        "snmp://user:secret@h",
        "snmp://h:99999",
        "snmp://[::1",
    ],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(CommandError) as caught:
        place_of(address)
    assert "secret@" not in str(caught.value) or "h" in str(caught.value)


LEAF = {
    "nodeId": "ns=2;s=Speed",
    "browseName": "Sp\x1beed",
    "nodeClass": "Variable",
    "dataType": "Double",
    "writable": True,
    "hasChildren": False,
    "children": [],
    "unit": "rpm",
    "dataPoint": {"name": "Speed", "nodeId": "ns=2;s=Speed"},
}
PLANT = {
    "nodeId": "ns=2;s=Plant",
    "browseName": "Plant",
    "nodeClass": "Object",
    "dataType": None,
    "writable": False,
    "hasChildren": True,
    "children": [LEAF, LEAF],
}


async def test_what_a_device_has_is_a_tree(capsys: pytest.CaptureFixture[str]):
    deeper = PLANT | {"children": [], "nodeId": "i=2253", "browseName": "Server"}
    found = {"nodes": [PLANT, deeper], "complete": False}
    async with scripted({"POST /v1/discover/opcua/browse": found}) as api:
        command = ("browse", "opc.tcp://h:4840", "--depth", "5", "--limit", "10", "--node", "i=84")
        assert await api.callboard(*command, "--connection", "securityMode=Sign") == 0
        assert api.last.body == {
            "connection": {"endpointUrl": "opc.tcp://h:4840", "securityMode": "Sign"},
            "maxDepth": 5,
            "limit": 10,
            "node": "i=84",
        }
        said = capsys.readouterr()
        assert said.out.splitlines() == [
            "├── Plant  ns=2;s=Plant",
            "│   ├── Sp eed (Double, rpm, writable)  ns=2;s=Speed",
            "│   └── Sp eed (Double, rpm, writable)  ns=2;s=Speed",
            "└── Server (Object, ...)  i=2253",
        ]
        assert "there is more" in said.err
        assert await api.callboard("browse", "opc.tcp://h", "--points") == 0
        lines = capsys.readouterr().out.splitlines()
        assert [json.loads(line) for line in lines] == [LEAF["dataPoint"]] * 2


# Discovery

FOUND = {
    "name": "Modbus Device at 10.0.1.100",
    "protocol": "modbus",
    "connection": {"host": "10.0.1.100", "port": 502, "unitId": 1},
    "dataPoints": [{"name": "a"}],
    "confidence": "high",
    "validated": True,
    "endpoint": "plc",
}
RUN = {"uuid": "r-1", "rule_uuid": None, "protocol": "modbus", "planned": 254, "probed": 40, "found": 1}
SCANNED = {"devices": [FOUND], "errors": [], "run": RUN | {"status": "success", "troubles": 0}}


def streaming(*runs: dict[str, Any]) -> Any:
    """Ends when what is told is told."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"retry: 1000\n\n")
        await asyncio.sleep(0.1)
        for run in runs:
            await response.write(b"event: run\ndata: " + json.dumps(run).encode() + b"\n\n")
        return response

    return stream


async def test_devices_are_looked_for(capsys: pytest.CaptureFixture[str]):
    async with scripted({"POST /v1/discover": SCANNED}) as api:
        command = ("discover", "modbus", "--network", "10.0.1.0/24", "--option", "timeout=2000", "port=[502]")
        assert await api.callboard(*command, "--validate", "--timeout", "60") == 0
        assert api.last.body == {
            "protocols": ["modbus"],
            "validate": True,
            "overrides": {"modbus": {"network": "10.0.1.0/24", "timeout": 2000, "port": [502]}},
            "timeLimit": 60_000,
        }
        said = capsys.readouterr()
        assert "10.0.1.100:502 unitId=1" in said.out
        assert "plc" in said.out
        assert said.err == ""
        assert await api.callboard("discover", "--json") == 0
        assert api.last.body == {"validate": False, "timeLimit": 300_000}
        assert json.loads(capsys.readouterr().out) == SCANNED


async def test_a_network_alone_is_for_all_who_look_in_networks(capsys: pytest.CaptureFixture[str]):
    def row(name: str, available: bool, *options: str) -> dict[str, Any]:
        schema = {"properties": {key: {} for key in options}} if options else None
        return {"name": name, "available": available, "discovery_schema": schema}

    rows = [row("modbus", True, "network", "port"), row("mqtt", True, "topics"), row("a", True)]
    replies = {"GET /v1/protocols": {"protocols": [*rows, row("snmp", False, "network")]}}
    async with scripted(replies | {"POST /v1/discover": SCANNED | {"devices": []}}) as api:
        assert await api.callboard("discover", "--network", "10.0.1.5", "--network", "10.0.1.6") == 0
        assert api.last.body["overrides"] == {"modbus": {"network": ["10.0.1.5", "10.0.1.6"]}}
    assert "nobody was found" in capsys.readouterr().out


async def test_what_was_saved_and_what_went_wrong_is_said(capsys: pytest.CaptureFixture[str]):
    saved = {"added": ["a", "b"], "kept": ["c"], "refused": {"d": "no name"}, "spared": {"e": "by hand"}}
    errors = [
        {"protocol": "opcua", "error": "no network"},
        {"protocol": "modbus", "where": "h", "error": "x"},
    ]
    reply = SCANNED | {"saved": saved | {"dryRun": True}, "errors": errors, "run": RUN | {"troubles": 150}}
    async with scripted({"POST /v1/discover": reply}) as api:
        assert await api.callboard("discover", "--save", "--prune", "--dry-run") == 1
        body = api.last.body
        assert (body["save"], body["prune"], body["dryRun"]) == (True, True, True)
    said = capsys.readouterr()
    assert "2 would be added: a, b" in said.out
    assert "d: cannot be added: no name" in said.out
    assert "e: not removed: by hand" in said.out
    assert said.err.splitlines() == [
        "callboard: opcua: no network",
        "callboard: modbus h: x",
        "callboard: and 149 more places that could not be asked",
    ]


async def test_trouble_that_is_nowhere_in_particular_is_no_failed_search(capsys: pytest.CaptureFixture[str]):
    errors = [{"protocol": "bacnet", "where": "", "error": "there are more than 100 devices"}]
    reply = SCANNED | {"errors": errors, "run": RUN | {"troubles": 1}}
    async with scripted({"POST /v1/discover": reply}) as api:
        assert await api.callboard("discover") == 0
    assert capsys.readouterr().err == "callboard: bacnet: there are more than 100 devices\n"


@pytest.mark.parametrize(
    "arguments",
    [["--prune"], ["--dry-run"], ["--option", "port=1"], ["modbus", "--option", "password=hunter2"]],
)
async def test_scans_that_cannot_be(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    async with scripted() as api:
        assert await api.callboard("discover", *arguments) == 2
        assert not api.asked
    assert "hunter2" not in capsys.readouterr().err


async def test_how_far_it_is_is_said_without_a_terminal_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scanning, "EVERY", 0.0)
    monkeypatch.setattr(scanning, "JOINING", 0.05)
    told = asyncio.Event()

    async def discover(request: web.Request) -> web.Response:
        await asyncio.sleep(0.4)
        told.set()
        return web.json_response(SCANNED)

    other = RUN | {"uuid": "r-0", "rule_uuid": "rule", "probed": 7}
    replies = {
        "GET /v1/discovery-runs/stream": streaming(other, RUN, RUN | {"probed": 200}),
        "POST /v1/discover": discover,
    }
    async with scripted(replies) as api:
        assert await api.callboard("discover", "modbus") == 0
    said = capsys.readouterr().err
    assert "callboard: modbus: 40 of 254 asked, 1 found\n" in said
    assert "callboard: modbus: 200 of 254 asked, 1 found\n" in said
    assert "7 of 254" not in said


async def test_progress_on_a_terminal_is_no_part_of_the_output() -> None:
    """What a program was to read began with the bar of a scan (civo #388, kudu #257, mql #341)."""

    async def discover(request: web.Request) -> web.Response:
        await asyncio.sleep(0.5)
        return web.json_response(SCANNED)

    replies = {"GET /v1/discovery-runs/stream": streaming(RUN, RUN), "POST /v1/discover": discover}
    main, terminal = os.openpty()
    try:
        async with scripted(replies) as api:
            process = await asyncio.create_subprocess_exec(
                *callboard("discover", "modbus", "--json", "--url", api.url),
                stdout=subprocess.PIPE,
                stderr=terminal,
                env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
            )
            async with asyncio.timeout(20):
                out, _ = await process.communicate()
        drawn = os.read(main, 65_536).decode()
    finally:
        os.close(main)
        os.close(terminal)
    assert json.loads(out) == SCANNED
    assert process.returncode == 0
    assert "\x1b[" in drawn
    assert "looking" in drawn


async def test_an_interrupted_scan_hangs_up() -> None:
    left = asyncio.Event()
    begun = asyncio.Event()

    async def discover(request: web.Request) -> web.Response:
        begun.set()
        try:  # this server cancels what nobody waits for
            await asyncio.sleep(30)
        finally:
            left.set()
        return web.json_response({})

    replies = {"GET /v1/discovery-runs/stream": streaming(), "POST /v1/discover": discover}
    async with scripted(replies) as api:
        process = await asyncio.create_subprocess_exec(
            *callboard("discover", "modbus", "--url", api.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(20):
            await begun.wait()
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
            await left.wait()
    assert process.returncode == 130
    assert (out, err) == (b"", b"callboard: the scan is ended\n")


RULE = {
    "uuid": "rule-1",
    "name": "line 1",
    "protocol": "modbus",
    "enabled": True,
    "interval_seconds": 3600,
    "status": "ok",
    "last_run_at": "2024-01-15T10:30:00.000Z",
    "next_run_at": "2024-01-15T11:30:00.000Z",
    "last_result_json": {"found": 3, "saved": 1, "skipped": 0},
}


async def test_rules_are_listed_added_switched_and_removed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    (tmp_path / "target.json").write_text('{"poll_interval": 1000}')
    replies = {
        "GET /v1/discovery-rules": {"rules": [RULE]},
        "POST /v1/discovery-rules": (201, RULE),
        "PATCH /v1/discovery-rules/rule-1": RULE,
        "DELETE /v1/discovery-rules/rule-1": web.Response(status=204),
    }
    async with scripted(replies) as api:
        assert await api.callboard("discovery", "rules") == 0
        out = capsys.readouterr().out
        assert "line 1" in out
        assert "1 h" in out
        add = ("discovery", "add", "line 1", "modbus", "--network", "10.0.1.0/24", "--every", "6h")
        assert await api.callboard(*add, "--auto-enable", "--target", str(tmp_path / "target.json")) == 0
        assert api.last.body == {
            "name": "line 1",
            "protocol": "modbus",
            "enabled": True,
            "auto_enable": True,
            "interval_seconds": 21_600,
            "params_json": {"network": "10.0.1.0/24"},
            "target_json": {"poll_interval": 1000},
        }
        assert await api.callboard("discovery", "disable", "line 1") == 0
        assert (api.last.method, api.last.body) == ("PATCH", {"enabled": False})
        assert await api.callboard("discovery", "enable", "rule-1") == 0
        capsys.readouterr()
        api.replies["PATCH /v1/discovery-rules/rule-1"] = RULE | {"next_run_at": None}
        assert await api.callboard("discovery", "disable", "line 1") == 0
        assert capsys.readouterr().out == "line 1 does not run by itself\n"
        assert await api.callboard("discovery", "remove", "line 1", "--yes") == 0
        assert api.last.method == "DELETE"
        assert await api.callboard("discovery", "enable", "line 2") == 5
        assert await api.callboard("discovery", "add", "a", "modbus", "--every", "often") == 2


async def test_a_rule_is_run_and_its_runs_are_listed(capsys: pytest.CaptureFixture[str]):
    ran = SCANNED | {"rule": RULE, "prunedCount": 0, "saved": {"added": ["a"], "dryRun": False}}
    ended = RUN | {"status": "success", "duration_ms": 1500, "rule_name": "line 1", "trigger": "scheduled"}
    replies = {
        "GET /v1/discovery-rules": {"rules": [RULE]},
        "POST /v1/discovery-rules/rule-1/run": ran,
        "GET /v1/discovery-rules/rule-1/runs": {"runs": [ended]},
        "GET /v1/discovery-runs": {"runs": [RUN]},
        "DELETE /v1/discovery-runs/r-1": web.Response(status=204),
    }
    async with scripted(replies) as api:
        assert await api.callboard("discovery", "run", "line 1", "--dry-run") == 0
        assert api.last.body == {"dryRun": True}
        assert "1 added: a" in capsys.readouterr().out
        assert await api.callboard("discovery", "runs", "--rule", "line 1", "-n", "5") == 0
        assert api.last.query == {"limit": "5"}
        out = capsys.readouterr().out
        assert "1.5 s" in out
        assert "40 of 254" in out
        assert await api.callboard("discovery", "runs", "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"runs": [RUN]}
        assert await api.callboard("discovery", "cancel", "r-1") == 0
        assert await api.callboard("discovery", "cancel", "r-2") == 5


@pytest.mark.parametrize(
    ("connection", "text"),
    [
        ({"host": "10.0.1.7", "port": 502, "unitId": 1}, "10.0.1.7:502 unitId=1"),
        ({"host": "fe80::1", "port": 502}, "[fe80::1]:502"),
        ({"endpointUrl": "opc.tcp://h:4840", "options": {"a": 1}}, "opc.tcp://h:4840"),
        ({"serialPort": "/dev/ttyUSB0", "baudRate": 9600}, "/dev/ttyUSB0 baudRate=9600"),
        ({}, ""),
    ],
)
def test_where_a_device_is(connection: Any, text: str) -> None:
    assert where(connection) == text
