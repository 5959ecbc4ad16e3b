import html
import json
import threading
import time
import timeit
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from functools import partial
from urllib.parse import quote, quote_plus

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from actors.connections.connection import Transient
from actors.system.failure import TEXT, Failed, Refusal, described
from api.errors import api_error
from conf import redaction
from conf.redaction import FORMER, MASK, Known
from conf.secret_forms import secrets_in

SECRETS = [
    "correct-horse-9",
    'qu"ote\\back/slash',
    "späße und mehr ☃",
    "a b+c&d=e%f#g",
    "p@ss:w/rd?x",
    "line\nfeed\tand-more",
    "S3cr3t",
    "x" * 500,
]


def holding(*secrets: str) -> Known:
    known = Known()
    known.keep("test", secrets)
    return known


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "spell",
    [
        lambda one: f"cannot connect: {one}",
        lambda one: f"cannot connect: {one!r}",
        lambda one: f"cannot connect: {[{'password': one}]!r}",
        lambda one: f"cannot connect: {one.encode()!r}",
        lambda one: json.dumps({"said": one}),
        lambda one: json.dumps({"said": one}, ensure_ascii=False),
        lambda one: repr(json.dumps({"said": one})),
        lambda one: json.dumps({"body": json.dumps({"said": one})}),
        lambda one: ascii({"said": one}),
        lambda one: f"<p>{html.escape(one)} is wrong</p>",
        lambda one: f"<p>{html.escape(one, quote=False)} is wrong</p>",
        lambda one: f"GET http://h/?t={quote(one)}",
        lambda one: f"GET http://h/?t={quote(one, safe='')}",
        lambda one: f"GET http://h/?t={quote_plus(one)}",
        lambda one: f"{URL.build(scheme='http', host='h', user='u', password=one, path='/x')} refused",
        lambda one: f"{URL.build(scheme='http', host='h', query={'q': one})} refused",
        lambda one: f"(header {b64encode(one.encode()).decode()})",
        lambda one: f"(header {b64encode(b'u:' + one.encode()).decode()})",
        lambda one: f"(header {b64encode(b'us:' + one.encode() + b'!').decode()})",
        lambda one: f"(header {urlsafe_b64encode(b'user:' + one.encode()).decode().rstrip('=')})",
        lambda one: f"packet {one.encode().hex()}",
        lambda one: f"packet 1020{one.encode().hex().upper()}00",
    ],
)
def test_however_it_is_spelled_it_is_not_shown(secret, spell):
    said = spell(secret)
    cleaned = holding(secret).clean(said)
    assert MASK in cleaned
    for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret), secret.encode().hex()):
        assert form not in cleaned


def test_all_that_is_around_an_encoded_secret_goes_with_it():
    header = b64encode(b"operator:hunter22-x").decode()
    assert holding("hunter22-x").clean(f"sent {header}, refused") == f"sent {MASK}, refused"


def test_what_holds_no_secret_stays_as_it_is():
    known = holding("correct-horse-9", "S3cr3t")
    for text in (
        "10.0.0.7 GET /v1/endpoints/K%C3%BChlhaus?x=%2F 200 1.5 ms",
        "bad user name or password: the token is basic",
        'config_json.password: must not be empty, found {"host": "a"}',
        "S3cr3ts and NotS3cr3t",
        "",
        "abc",
    ):
        assert known.clean(text) == text


def test_a_short_secret_is_only_looked_for_as_a_word():
    known = holding("plant", "abc", "pl-7")
    assert known.clean("plant 7, plants, xplant, plant") == f"{MASK} 7, plants, xplant, {MASK}"
    assert known.clean("abc") == "abc"
    assert known.clean("apl-7b") == f"a{MASK}b"
    assert known.clean("mqtt://u:plant@host") == f"mqtt://u:{MASK}@host"


def test_words_that_every_other_sentence_has_are_no_secrets():
    assert holding("password", "public", "admin").clean("the admin password") == "the admin password"


def test_the_longest_of_several_is_masked_and_neighbours_too():
    known = holding("first-secret", "first-secret-and-more", "other-one")
    assert known.clean("first-secret-and-more,other-one first-secret") == f"{MASK},{MASK} {MASK}"


def test_a_line_of_a_key_is_a_secret_and_its_frame_is_none():
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
    for given in (pem, pem.replace("\n", "\\n")):
        cleaned = holding(given).clean(f"bad PEM {pem!r}: hkiG9w0BAQEFAASC")
        assert cleaned.count(MASK) == 3
        assert "BEGIN PRIVATE KEY" in cleaned


def test_what_nobody_holds_is_caught_by_its_looks():
    clean = Known().clean
    assert (
        clean("cannot open mqtt://user:hunter2@broker:1883/x")
        == f"cannot open mqtt://user:{MASK}@broker:1883/x"
    )
    assert clean("Authorization: Basic dXNlcjpwYXNz") == f"Authorization: Basic {MASK}"
    assert clean("Authorization: Bearer abc.def-123") == f"Authorization: Bearer {MASK}"
    assert clean("GET /x?a=1&apiKey=s3cr3t&b=2") == f"GET /x?a=1&apiKey={MASK}&b=2"
    assert clean("""{'password': 'it''s', "host": "a"}""").startswith(f"{{'password': '{MASK}")
    assert clean('{"client_secret": "a\\"b", "host": "a"}') == f'{{"client_secret": "{MASK}", "host": "a"}}'


def test_who_holds_another_secret_holds_the_former_no_more():
    known = holding("first-secret")
    known.keep("somebody else", ["first-secret"])
    known.keep("test", ["second-secret"])
    known.keep("somebody else", [])
    assert known.clean("first-secret second-secret") == f"{MASK} {MASK}", "its messages may be under way"
    for number in range(FORMER + 1):
        known.keep("test", [f"further-secret-{number}"])
    assert known.clean("first-secret further-secret-64") == f"first-secret {MASK}"


def test_nothing_grows():
    known = Known()
    for number in range(1000):
        known.keep("row", [f"secret-number-{number}"])
        known.keep(("request", number), [f"tried-{number}"])
        known.drop(("request", number))
    known.keep("row", [])
    assert known.count == FORMER
    assert len(known._uses) <= 12 * FORMER
    for number in range(FORMER):
        known.keep("row", [f"x{number}-secret"])
    known.keep("row", [])
    assert known.count == FORMER


def test_many_secrets_cost_no_more_than_one():
    few, many = holding("correct-horse-9"), holding(*(f"secret-{number}-of-many" for number in range(3000)))
    line = "endpoints/modbus/plc-line-1: connected again after 3 attempts, 12.5 s away (10.0.0.7:502)"
    one, thousands = (
        min(timeit.repeat(partial(known.clean, line), number=200, repeat=5)) for known in (few, many)
    )
    assert thousands < 5 * one


@pytest.mark.parametrize(
    "text",
    ["%" * 200_000, "a%4" * 70_000, "://" * 70_000, "&a" * 100_000, "'pass" * 40_000, "token " * 40_000,
     "A" * 200_000, "authorization:" * 15_000, "://a:" * 40_000, "correct-horse-" * 15_000],
)  # fmt: skip
def test_no_text_takes_long(text):
    known = holding("correct-horse-9", "aaaa%4-secret")
    begun = time.perf_counter()
    known.clean(text)
    assert time.perf_counter() - begun < 3


def test_any_thread_may_change_what_is_known():
    known, errors = Known(), []

    def change(thread: int) -> None:
        try:
            for number in range(200):
                known.keep(thread, [f"secret-{thread}-{number}"])
                assert known.clean(f"a secret-{thread}-{number} b") == f"a {MASK} b"
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_secrets_of_a_configuration_are_found_by_the_names_of_their_fields():
    config = {
        "host": "plc.example",
        "url": "https://u:pw%20one@h/x?sig=abcdefgh-1&n=1",
        "username": "operator",
        "password": "password-one",
        "tls": {"clientKey": "key-one", "cert": "no secret"},
        "auth": [{"token": "token-one"}, {"apiKey": "api-key-one", "tokens": ["token-two"]}],
        "connectionString": "HostName=h;DeviceId=d;SharedAccessKey=shared+one=",
        "headers": {"Content-Type": "a/b", "Authorization": "Basic dXNlcjpiYXNpYy1vbmU=", "X-A": "x-one"},
        "sharedAccessKeyName": "policy",
        "token_ttl_seconds": 3600,
    }  # fmt: skip
    found = set(secrets_in(config))
    assert found == {
        "pw%20one", "pw one", "abcdefgh-1", "password-one", "key-one", "token-one", "api-key-one",
        "token-two", "HostName=h;DeviceId=d;SharedAccessKey=shared+one=", "shared+one=",
        "Basic dXNlcjpiYXNpYy1vbmU=",
        "dXNlcjpiYXNpYy1vbmU=", "basic-one", "x-one",
    }  # fmt: skip


@pytest.fixture
def held() -> Iterator[str]:
    redaction.keep("test", ["hunter22-x/y"])
    yield "hunter22-x/y"
    redaction.keep("test", [])


def test_errors_of_libraries_that_quote_a_url_come_out_clean(held):
    """As aiohttp's do: the query first of all, where what is cut at the end leaves it whole."""
    url = URL.build(
        scheme="https", host="api.example", path="/v1", query={"api_key": held, "format": "x" * 900}
    )
    told = aiohttp.RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict()), url)
    error = aiohttp.ClientResponseError(told, (), status=403, message=f"Forbidden {held}")
    assert held in str(error) or quote(held, safe="") in str(error) or "hunter22" in str(error)
    assert "hunter22" not in described(error)
    assert "hunter22" not in str(Transient(f"not reached: {error}"))
    assert "hunter22" not in str(Refusal(str(error)))
    assert "hunter22" not in Refusal(str(error)).failed().message
    assert "hunter22" not in repr(api_error(Failed("internal", str(error))).body)


def test_a_secret_is_found_before_an_error_is_cut(held):
    text = described(ValueError("x" * (TEXT - 4) + held))
    assert text.endswith("x****")


def test_the_process_has_one_of_these():
    redaction.keep("test", ["the-one-secret"])
    assert redaction.clean("the-one-secret") == MASK
    redaction.drop("test")
    assert redaction.clean("the-one-secret") == "the-one-secret"


@pytest.mark.parametrize("word", ["1883", "error", "http", "INFO", "....", "0000", "localhost", "aaaa"])
def test_what_protects_nothing_does_not_blacken_the_log(word):
    """Who may set a password could have the words of the log masked else."""
    line = f"INFO error on {word}: http://localhost:1883 ...."
    assert holding(word).clean(line) == line
