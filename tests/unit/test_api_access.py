import pytest

from api.access import bind_host, check_key, check_peer, check_role, has_key
from api.context import Context
from api.errors import ApiError


def _status(check, *arguments):
    """The status that a check refuses with, or None when it lets the request pass."""
    try:
        check(*arguments)
    except ApiError as error:
        return error.status
    return None


@pytest.mark.parametrize(
    ("host", "mode", "bound"),
    [
        (None, "LOCALHOST_ONLY", "127.0.0.1"),
        ("", "LOCALHOST_ONLY", "127.0.0.1"),
        (None, "API_KEY", "0.0.0.0"),
        (None, "LOCAL_NETWORK", "0.0.0.0"),
        (None, "OPEN", "0.0.0.0"),
        (None, "unknown", "0.0.0.0"),
        ("10.0.0.5", "LOCALHOST_ONLY", "10.0.0.5"),
    ],
)
def test_the_configured_host_wins_and_the_mode_decides_otherwise(host, mode, bound):
    assert bind_host(host, mode) == bound


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_peers_pass_in_every_known_mode(peer):
    for mode in ("LOCALHOST_ONLY", "LOCAL_NETWORK", "API_KEY", "OPEN"):
        assert _status(check_peer, mode, peer) is None


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "8.8.8.8", "fe80::1", "", None, "garbage"])
def test_localhost_only_refuses_every_other_peer(peer):
    assert _status(check_peer, "LOCALHOST_ONLY", peer) == 403


@pytest.mark.parametrize(
    "peer",
    [
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "::ffff:192.168.1.1",
        "fe80::1%eth0",
        "fc00::1",
    ],
)
def test_local_network_lets_private_peers_in(peer):
    assert _status(check_peer, "LOCAL_NETWORK", peer) is None


@pytest.mark.parametrize("peer", ["8.8.8.8", "172.32.0.1", "192.169.0.1", "100.64.0.1", "2001:db8::1", None])
def test_local_network_refuses_public_peers(peer):
    assert _status(check_peer, "LOCAL_NETWORK", peer) == 403


@pytest.mark.parametrize("mode", ["OPEN", "API_KEY"])
def test_open_and_key_modes_do_not_look_at_the_peer(mode):
    assert _status(check_peer, mode, "8.8.8.8") is None


def test_the_refusal_of_a_peer_says_what_to_do():
    with pytest.raises(ApiError) as caught:
        check_peer("LOCALHOST_ONLY", "10.0.0.1")
    assert caught.value.body.error == "Forbidden"
    assert caught.value.body.message == "API access restricted to localhost only"
    assert "API_SECURITY_MODE" in caught.value.body.hint
    with pytest.raises(ApiError) as caught:
        check_peer("LOCAL_NETWORK", "8.8.8.8")
    assert caught.value.body.message == "API access restricted to local network only"


@pytest.mark.parametrize("mode", ["", "localhost_only", "PUBLIC"])
def test_an_unknown_mode_is_a_configuration_error_for_everybody(mode):
    assert _status(check_peer, mode, "127.0.0.1") == 500


def test_the_key_must_be_equal_and_configured():
    assert _status(check_key, "s3cret", "s3cret") is None
    assert _status(check_key, "s3cret", "S3cret") == 401
    assert _status(check_key, "s3cret", None) == 401
    assert _status(check_key, "schlüssel", "schlüssel") is None
    assert _status(check_key, "s3cret", "\udcff") == 401
    assert _status(check_key, None, "s3cret") == 500
    assert _status(check_key, "", "") == 500


@pytest.mark.parametrize(("role", "may"), [("viewer", 1), ("operator", 2), ("admin", 3)])
def test_each_role_may_do_what_those_before_it_may(role, may):
    statuses = [_status(check_role, role, least) for least in ("viewer", "operator", "admin")]
    assert statuses == [None] * may + [403] * (3 - may)


def test_the_key_counts_where_it_is_not_asked_for_and_one_that_is_none_does_not():
    context = Context(None, None, key="s3cret")
    assert has_key(context, "s3cret")
    assert not has_key(context, "wrong")
    assert not has_key(context, None)
    assert not has_key(Context(None, None), None)
    assert not has_key(Context(None, None, key=""), "")
