"""The small pieces of the command line: amounts, settings' keys, addresses, tables."""

import json
import sys
from pathlib import Path

import pytest

from api.cli import page
from api.cli.agent_client import address_of, segment
from api.cli.amounts import duration, moment, size
from api.cli.commands.logs import since
from api.cli.commands.settings import changes_of, flat
from api.cli.exits import MEANINGS, CommandError, Refused
from api.cli.output import Output, cell, harmless
from api.cli.registry import COMMANDS, parser_for
from api.cli.safe_to_send import safe_text
from storage.timestamps import unix_ms

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (123_456, "123 kB"),
        (1_500_000, "1.5 MB"),
        (2e15, "2000.0 TB"),
    ],
)
def test_sizes(count, text):
    assert size(count) == text


@pytest.mark.parametrize("nothing", [None, True, "7", [], {}])
def test_what_is_no_amount_is_a_dash(nothing):
    assert size(nothing) == duration(nothing) == "-"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (90_061, "1 d 1 h"), (-1, "-")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("odd", ["soon", 1e300, float("nan"), None, -(10**18)])
def test_a_time_that_is_none_is_no_crash(odd):
    assert isinstance(moment(odd), str)


def test_the_last_minutes_and_dates():
    assert abs(since("10m") - (unix_ms() - 600_000)) < 5000
    assert since("2024-01-15T10:30:00+00:00") == 1_705_314_600_000
    for wrong in ("", "m", "10x", "-1m", "2024-13-01", "\u0661m"[:0] + "1.5h"):
        with pytest.raises(CommandError) as caught:
            since(wrong)
        assert caught.value.code == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("true", True),
        ("null", None),
        ('"1"', "1"),
        ("debug", "debug"),
        ("[1]", [1]),
        ("NaN", "NaN"),
        ("", ""),
    ],
)
def test_a_value_is_json_or_text(text, value):
    assert changes_of(["a.b", text]) == {"a": {"b": value}}


@pytest.mark.parametrize(
    "pairs", [["a"], ["a.", "1"], [".a", "1"], ["", "1"], ["a", "1", "a", "2"], ["a", "1", "a.b", "2"]]
)
def test_keys_that_make_no_sense_are_wrong_usage(pairs):
    with pytest.raises(CommandError) as caught:
        changes_of(pairs)
    assert caught.value.code == 2


def test_settings_are_flattened():
    assert dict(flat({"a": {"b": 1, "c": {}}, "d": [1]})) == {"a.b": 1, "a.c": {}, "d": [1]}


def test_addresses():
    assert address_of("http://localhost:48484/")[:3] == (False, "localhost", 48484)
    assert address_of("https://edge.example")[:3] == (True, "edge.example", 443)
    assert address_of("http://[::1]:80/base/").path == "/base"
    assert address_of("http://[::1]:80").origin == "http://[::1]:80"
    assert address_of("https://Gate.example/a/").origin == "https://gate.example:443/a"
    assert address_of("http://edge.example").is_overheard
    assert not address_of("https://edge.example").is_overheard
    assert not address_of("http://127.0.0.1:1").is_overheard
    assert segment("../a b/c?d") == "..%2Fa%20b%2Fc%3Fd"


@pytest.mark.parametrize(
    "url", ["", "x", "http://", "http://h:x", "file:///etc/passwd", "http://h?x=1", "http://["]
)
def test_what_is_no_address(url):
    with pytest.raises(CommandError) as caught:
        address_of(url)
    assert caught.value.code == 2


def test_cells():
    assert [cell(one) for one in (None, "", True, False, 1, "a\nb", [1, "é"])] == [
        "-",
        "-",
        "yes",
        "no",
        "1",
        "a b",
        '[1, "é"]',
    ]


def test_json_keeps_its_meaning_without_control_characters():
    hostile = {"a\x1b": "\x9b\u202e\x7f\ud800", "b": ["\n"]}
    text = harmless(json.dumps(hostile, ensure_ascii=False, indent=2))
    assert json.loads(text) == hostile
    assert all(one.isprintable() or one == "\n" for one in text)


def test_a_table_in_a_pipe_is_aligned_and_nothing_is_cut_off(capsys):
    long = "x" * 300
    Output(as_json=False).table(("name", "says"), [("a", long), ("bb", "c")])
    assert capsys.readouterr().out == f"NAME  SAYS\na     {long}\nbb    c\n"
    Output(as_json=False).table(("name",), [])
    assert capsys.readouterr().out == "none\n"


def test_every_status_has_an_exit_code_that_is_documented():
    assert {Refused(status, "").code for status in range(400, 600)} <= set(MEANINGS)


def test_every_command_takes_json_and_says_how():
    for command in COMMANDS:
        if command.name in ("run", "completion"):
            continue
        parser = parser_for([command.name])
        text = parser.format_help()
        assert command.name in text
        for leaf in leaves(parser, command.name):
            assert "--json" in leaf.format_help(), leaf.prog


@pytest.mark.parametrize(
    "line",
    [
        ["factory-reset", "--y"],
        ["factory-reset", "--no"],
        ["users", "list", "--pass", "x"],
        ["run", "--dat", "x"],
    ],
)
def test_an_option_is_written_out(line, capsys):
    """A script that abbreviates one breaks when another comes."""
    with pytest.raises(SystemExit) as ended:
        parser_for(line).parse_args(line)
    assert ended.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err


def leaves(parser, name):
    """The parsers at the ends of a command."""
    import argparse

    (choices,) = (a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    inner = choices[name]
    verbs = [a for a in inner._actions if isinstance(a, argparse._SubParsersAction)]
    return list(verbs[0].choices.values()) if verbs else [inner]


def test_commands_have_the_originals_names_too():
    assert parser_for(["diag"]).parse_args(["diag", "--json"]).json
    assert parser_for(["restart"]).parse_args(["restart", "--no-wait"]).no_wait


def test_a_command_imports_only_what_it_needs():
    before = set(sys.modules)
    parser_for(["version"])
    assert not {name for name in set(sys.modules) - before if name.startswith(("rich", "shtab", "aiohttp"))}


@pytest.mark.parametrize(
    "text",
    [
        "connect mqtt://ann:hunter2@broker failed",
        "mqtt://hunter2@broker",
        "HostName=h;SharedAccessKey=hunter2;DeviceId=d",
        "password=hunter2",
        '"password": "hunter2"',
        "Authorization: Bearer hunter2hunter2",
        "-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nhunter2",
    ],
)
def test_what_looks_like_a_secret_does_not_leave(text):
    assert "hunter2" not in safe_text(text)


def test_what_does_not_look_like_one_stays():
    text = "Endpoint plc-1 at 10.0.0.1:502 (tokens of time: 5) is at mail@example"
    assert safe_text(text) == text


def test_the_page_about_the_command_line_is_not_stale():
    assert (DOCS / "command-line.rst").read_text("utf-8") == page.page(), "make docs/command-line.rst"
