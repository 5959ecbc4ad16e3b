import json

import pytest

from api.decoding import FORM, JSON
from api.entrusted import MOST, MOST_CHARACTERS, Entrusted
from api.errors import ApiError
from conf import redaction
from conf.redaction import MASK

SECRET = "pässword-4711"


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON, json.dumps({"username": "u", "password": SECRET}).encode()),
        (JSON, json.dumps([{"connection": {"auth": [{"token": SECRET}]}}]).encode()),
        (
            "application/octet-stream",
            json.dumps({"url": f"mqtt://u:{SECRET}@h"}, ensure_ascii=False).encode(),
        ),
        (FORM, b"username=u&password=p%C3%A4ssword-4711"),
        ("text/csv", f"name,protocol,connection.password\nplc,modbus,{SECRET}\n".encode()),
        ("text/csv", f'\ufeffname;connection.url\n"p;1";"mqtt://u:{SECRET}@h"\n'.encode()),
    ],
)
def test_what_a_body_brings_is_held_while_it_is_served(media_type, body):
    with Entrusted() as entrusted:
        entrusted.look(body, media_type)
        assert redaction.clean(f"not {SECRET}!") == f"not {MASK}!"
    assert redaction.clean(f"not {SECRET}!") == f"not {SECRET}!"


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON, b'{"password": '),
        (JSON, b'{"password": "\xff"}'),
        (JSON, b'{"password":' + b"[" * 100_000),
        (JSON, b'{"password":' + b"[" * 900 + b"]" * 900 + b"}"),
        (JSON, b'{"password": 12, "token": null, "key": [true]}'),
        (FORM, b"\xff=password"),
        (FORM, b"password&" * 2000),
        ("text/csv", b'password\n\0\n"\n'),
        ("text/csv", b""),
        ("x/y", b"password"),
    ],
)
def test_what_cannot_be_read_is_for_others_to_refuse(media_type, body):
    with Entrusted() as entrusted:
        entrusted.look(body, media_type)


def test_a_word_that_somebody_tried_as_a_password_is_masked_no_longer_than_that():
    """Else whoever may try could have any word of the log masked."""
    for number in range(100):
        with Entrusted() as entrusted:
            entrusted.look(json.dumps({"password": f"endpoints-{number}"}).encode(), JSON)
    assert redaction.clean("endpoints-99") == "endpoints-99"


@pytest.mark.parametrize(
    "secrets",
    [
        [f"secret-{number}" for number in range(MOST + 1)],
        "s" * (MOST_CHARACTERS + 1),
        "-----BEGIN KEY-----\n" + "\n".join(f"line{number}" for number in range(MOST + 1)),
    ],
)
def test_nobody_brings_more_secrets_than_can_be_looked_for(secrets):
    before = redaction.KNOWN.count
    with Entrusted() as entrusted, pytest.raises(ApiError) as refused:
        entrusted.look(json.dumps({"password": secrets}).encode(), JSON)
    assert refused.value.status == 413
    assert redaction.KNOWN.count == before
