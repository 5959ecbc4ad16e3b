"""Endpoints as a table, and what spreadsheets do to one."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.json import encode

from actors.system.failure import Refusal
from api.files import cells, table
from api.files.faults import Faulty
from api.files.upload import json_entries, read

PLC: dict[str, Any] = {
    "name": "plc-line-1",
    "protocol": "modbus",
    "connection": {"host": "10.0.1.100", "port": 502, "unitId": 1},
    "poll_interval": 5000,
    "enabled": True,
    "data_points": [
        {"name": "speed", "register": "holding:0", "type": "uint16", "scale": 0.1},
        {"name": "temp", "register": "holding:1", "type": "int16", "unit": "°C", "writable": False},
    ],
    "metadata": {"location": "Assembly Line 1", "floor": 2},
    "fingerprint": None,
}

texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)
keys = texts.filter(lambda key: key.strip() == key and key != "")
scalars = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=5)
objects = st.dictionaries(keys, values, max_size=4)

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def written(*endpoints: dict[str, Any]) -> str:
    header = table.Header()
    for endpoint in endpoints:
        header.add(endpoint)
    return table.write(header.titles) + "".join(table.rows(one, header.titles) for one in endpoints)


def back(text: str) -> list[dict[str, Any]]:
    return [entry.given for entry in table.entries(text.encode())]


def without_nulls(endpoint: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in endpoint.items() if value is not None}


def faults(text: str) -> list[tuple[int, str | None]]:
    with pytest.raises(Faulty) as raised:
        read(table.entries(text.encode()))
    return [(fault.row, fault.field) for fault in raised.value.faults]


# Cells


@FEW
@given(values, st.booleans())
def test_a_value_comes_back_from_a_cell(value, text_only):
    assert cells.read(cells.write(value, False), False) == value
    if isinstance(value, str):
        assert cells.read(cells.write(value, text_only), text_only) == value


@FEW
@given(texts)
def test_no_text_is_a_formula(text):
    assert not cells.write(text, False).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert not cells.write(text, True).startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("", None),
        ("  ", None),
        ("TRUE", True),
        ("False", False),
        ("5000", 5000),
        (" 0.1 ", 0.1),
        ("-5", -5),
        ("+5", 5),
        ("'5000", "5000"),
        ("'=1+1", "=1+1"),
        ("'", ""),
        ("10.0.1.100", "10.0.1.100"),
        ("007", "007"),
        ('{"start": 1}', {"start": 1}),
        ("0,1", "0,1"),
    ],
)
def test_what_a_cell_says(cell, value):
    assert cells.read(cell, text_only=False) == value


def test_a_decimal_comma_is_read_where_semicolons_divide():
    assert cells.read("0,1", text_only=False, comma=True) == 0.1
    assert cells.read("1,2,3", text_only=False, comma=True) == "1,2,3"


# Tables


def test_endpoints_come_back_from_a_table():
    bare = PLC | {"name": "=bare", "data_points": None, "metadata": None, "enabled": False}
    odd = PLC | {"name": "007", "data_points": [{"name": "1", "register": "holding:0", "unit": "-"}]}
    assert back(written(PLC, bare, odd)) == [without_nulls(one) for one in (PLC, bare, odd)]


@FEW
@given(st.lists(st.tuples(objects, objects), max_size=3))
def test_whatever_is_in_an_endpoint_comes_back(some):
    endpoints = [
        PLC | {"name": f"e{number}", "protocol": "other", "connection": one, "metadata": other or None}
        for number, (one, other) in enumerate(some)
    ]
    assert back(written(*endpoints)) == [without_nulls(one) for one in endpoints]


def test_what_a_spreadsheet_makes_of_a_file_is_read_all_the_same():
    text = (
        "\ufeffname;protocol;poll_interval;enabled;connection.host;point.name;point.register;point.scale;\r\n"
        "plc;modbus;1000.0;WAHR;10.0.0.1;1;holding:0;0,1;\r\n"
        "plc;;;;;2;holding:1;;\r\n"
        ";;;;;;;;\r\n"
    ).replace("WAHR", "TRUE")
    assert back(text) == [
        {
            "name": "plc",
            "protocol": "modbus",
            "poll_interval": 1000,
            "enabled": True,
            "connection": {"host": "10.0.0.1"},
            "data_points": [
                {"name": "1", "register": "holding:0", "scale": 0.1},
                {"name": "2", "register": "holding:1"},
            ],
        }
    ]


def test_rows_of_an_endpoint_need_not_lie_together_and_columns_that_are_shown_only_mean_nothing():
    text = "name,id,uuid,protocol,connection.host,point.name\na,1,u,modbus,h,p\nb,2,v,modbus,h,\na,,,,,q\n"
    first, second = back(text)
    assert [point["name"] for point in first["data_points"]] == ["p", "q"]
    assert second == {"name": "b", "protocol": "modbus", "connection": {"host": "h"}}


def test_faults_are_told_by_the_row_and_the_column_that_they_are_in():
    header = "name,protocol,poll_interval,enabled,connection.host,point.name\n"
    assert faults(f"{header}a,modbus,soon,TRUE,h,p\n,modbus,,,h,p\n") == [(3, "name")]
    assert faults(f"{header}a,modbus,soon,TRUE,h,p\nb,modbus,1,yes,h,p\n") == [
        (2, "poll_interval"),
        (3, "enabled"),
    ]
    assert faults(f"{header}a,modbus,,,h,p\na,modbus,,,other,q\n") == [(3, "connection.host")]
    assert faults(f"{header}a,modbus,,,h,p,too many\n") == [(2, None)]
    assert faults(f"{header}a,,,,h,p\n") == [(2, "protocol")]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "name"),
        ("protocol\nmodbus\n", "name"),
        ("name,colour\na,red\n", "colour"),
        ("name,name\na,b\n", "name"),
        ("name,connection.\na,b\n", "connection."),
        ("name\n" + "x" * 1_000_001, None),
    ],
)
def test_what_is_no_table_of_endpoints_is_refused(text, field):
    with pytest.raises(Refusal) as refused:
        table.entries(text.encode())
    assert refused.value.field == field


def test_a_file_that_is_not_utf_8_is_refused():
    with pytest.raises(Refusal, match="UTF-8"):
        table.entries("name\nÖl".encode("latin-1"))


# JSON


def test_an_array_or_a_listing_is_read():
    shown = PLC | {"id": 1, "uuid": "u", "health": {"status": "connected"}, "created_at": "then"}
    assert read(json_entries(encode([PLC]))) == read(json_entries(encode({"endpoints": [shown]})))


def test_a_secret_that_was_masked_is_refused_by_name():
    masked = PLC | {"connection": {"auth": {"password": "********"}, "hosts": ["mqtt://u:********@h"]}}
    with pytest.raises(Faulty) as raised:
        read(json_entries(encode([PLC, masked])))
    (fault,) = raised.value.faults
    assert (fault.row, fault.field) == (2, "connection.auth.password")


def test_more_endpoints_than_an_import_may_have_are_refused():
    with pytest.raises(Refusal, match="at most 5000"):
        read(json_entries(b"[%b]" % b",".join([b"{}"] * 5001)))
