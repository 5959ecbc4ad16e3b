from typing import Any

import pytest

from actors.publish.destinations.masks import masked, unmasked
from actors.system.failure import Refusal

SECRETS = ("password", "sharedAccessKey")
STORED = {
    "brokerUrl": "mqtts://user:p@ss:word@broker:8883/x",
    "username": "user",
    "password": "hush",
    "auth": {"type": "sas", "sharedAccessKey": "c2VjcmV0"},
}
SHOWN = {
    "brokerUrl": "mqtts://user:********@broker:8883/x",
    "username": "user",
    "password": "********",
    "auth": {"type": "sas", "sharedAccessKey": "********"},
}


def test_secrets_are_masked_at_any_depth_and_in_urls() -> None:
    assert masked(STORED, SECRETS) == SHOWN


def test_masking_leaves_the_original_alone() -> None:
    masked(STORED, SECRETS)
    assert STORED["password"] == "hush"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mqtt://broker:1883", "mqtt://broker:1883"),
        ("mqtt://user@broker", "mqtt://user@broker"),
        ("mqtt://broker:1883/a@b", "mqtt://broker:1883/a@b"),
        ("user:word@broker", "user:********@broker"),
        ("mqtt://:word@broker", "mqtt://:********@broker"),
        ("broker:1883", "broker:1883"),
        (5, 5),
    ],
)
def test_only_the_password_of_a_url_is_masked(url: Any, shown: Any) -> None:
    assert masked({"url": url}, SECRETS) == {"url": shown}


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_secret_that_is_not_there_is_not_masked(nothing: Any) -> None:
    assert masked({"password": nothing}, SECRETS) == {"password": nothing}


def test_what_was_shown_and_sent_back_keeps_the_stored_secrets() -> None:
    assert unmasked(SHOWN, STORED, SECRETS) == STORED


def test_a_new_secret_replaces_the_stored_one() -> None:
    new = {"brokerUrl": "mqtt://user:new@broker", "password": "new", "auth": {"sharedAccessKey": "new"}}
    assert unmasked(new, STORED, SECRETS) == new


def test_other_parts_of_a_url_may_change_around_a_masked_password() -> None:
    new = {"brokerUrl": "mqtt://other:********@elsewhere"}
    assert unmasked(new, STORED, SECRETS) == {"brokerUrl": "mqtt://other:p@ss:word@elsewhere"}


@pytest.mark.parametrize(
    ("new", "field"),
    [
        ({"password": "********"}, "config_json.password"),
        ({"auth": {"sharedAccessKey": "********"}}, "config_json.auth.sharedAccessKey"),
        ({"brokerUrl": "mqtt://user:********@broker"}, "config_json.brokerUrl"),
    ],
)
@pytest.mark.parametrize("stored", [{}, {"password": "", "auth": 5, "brokerUrl": "mqtt://broker"}])
def test_a_mask_with_nothing_behind_it_is_refused(
    new: dict[str, Any], field: str, stored: dict[str, Any]
) -> None:
    with pytest.raises(Refusal) as refused:
        unmasked(new, stored, SECRETS)
    assert refused.value.field == field
