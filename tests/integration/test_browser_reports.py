"""What happened to other local servers, done to this one: attacks by web pages, and guards that shut out
the people they were for. Every case comes from a public report."""

import json
import socket

import pytest
from fake_agent import FakeAgent, serving
from raw_http import exchange

KEYLESS = ["LOCALHOST_ONLY", "LOCAL_NETWORK", "OPEN"]
ENDPOINT = json.dumps({"name": "a", "protocol": "modbus", "connection": {}})
FORM = "name=a&protocol=modbus&connection=%7B%7D"
JSON_BODY = {"Content-Type": "application/json"}
FORM_BODY = {"Content-Type": "application/x-www-form-urlencoded"}
TEXT_BODY = {"Content-Type": "text/plain"}


@pytest.fixture(params=KEYLESS)
def mode(request):
    return request.param


@pytest.fixture(autouse=True)
def _named_vdownloader(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "vdownloader")


class Site:
    """The API in one mode, asked as browsers ask."""

    def __init__(self, client, agent):
        self._client, self._agent = client, agent
        self.own = f"127.0.0.1:{client.port}"

    async def get(self, target="/v1/device", **headers):
        return await self._send("GET", target, headers)

    async def post(self, body=ENDPOINT, kind=JSON_BODY, **headers):
        return await self._send("POST", "/v1/endpoints", headers | kind, body)

    async def ask(self, method, target="/v1/endpoints", **headers):
        return await self._send(method, target, headers)

    async def _send(self, method, target, headers, body=""):
        self._agent.asked.clear()
        spelt = {name.replace("_", "-"): text for name, text in ({"Host": self.own} | headers).items()}
        reply = await exchange(self._client, method, target, spelt, body)
        if reply.status == 403:
            assert self._agent.asked == []
        return reply


@pytest.fixture
async def site(mode):
    agent = FakeAgent()
    async with serving(agent, security_mode=mode) as client:
        yield Site(client, agent)


@pytest.fixture
async def known(mode):
    """A site that is also known by names of the setting."""
    agent = FakeAgent()
    allowed = ("my-react-app.mylocalbox.net", "agent.plant.example", "127.0.0.1.nip.io", "localhost:3000")
    async with serving(agent, security_mode=mode, allowed_hosts=allowed) as client:
        yield Site(client, agent)


# Attacks


async def test_a_rebound_name_can_neither_read_nor_configure(site):
    for host in ("evil.example", "evil.example:48484", "static.evil.example"):
        assert (await site.get(Host=host)).refused()
        assert (await site.post(Host=host)).refused()
        assert (await site.ask("DELETE", Host=host)).refused()


async def test_an_origin_that_agrees_with_a_rebound_host_proves_nothing(site):
    for same in ({}, {"Sec_Fetch_Site": "same-origin"}):
        rebound = {"Host": "evil.example:48484", "Origin": "http://evil.example:48484", **same}
        assert (await site.post(**rebound)).refused()
        assert (await site.get(**rebound)).refused()


async def test_a_rebound_name_without_an_origin_reads_nothing(site):
    assert (await site.get(Host="r.attacker.example", Sec_Fetch_Site="same-origin")).refused()
    assert (await site.get("/v1/openapi.json", Host="r.attacker.example")).refused()
    assert (await site.get("/v1/nothing", Host="r.attacker.example")).refused()


async def test_a_form_on_any_page_creates_nothing(site):
    for origin in ("https://evil.example", "null"):
        assert (await site.post(FORM, FORM_BODY, Origin=origin)).refused()
        assert (await site.post(ENDPOINT, TEXT_BODY, Origin=origin)).refused()
        assert (await site.post(ENDPOINT, {}, Origin=origin)).refused()


async def test_a_body_of_another_media_type_is_not_read_as_json(site):
    assert (await site.post(ENDPOINT, TEXT_BODY)).status == 415


async def test_the_address_of_every_interface_is_no_way_around_the_origin(site):
    assert (await site.post(FORM, FORM_BODY, Host="0.0.0.0:48484", Origin="https://evil.example")).refused()


async def test_an_image_of_another_page_is_not_served(site):
    image = {"Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}
    assert (await site.get(Sec_Fetch_Site="cross-site", **image)).refused()
    assert (await site.get(Host="core.evil.example", **image)).refused()


async def test_a_page_on_another_port_of_this_host_is_another_site(site):
    assert (await site.post(Origin="http://127.0.0.1:9999")).refused()
    assert (await site.post(Sec_Fetch_Site="same-site")).refused()
    assert (await site.post(FORM, FORM_BODY, Referer="http://127.0.0.1:9999/")).refused()


async def test_streams_and_upgrades_are_guarded_too(site):
    stream = "/v1/readings/stream"
    upgrade = {
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    for foreign in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert (await site.get(stream, Accept="text/event-stream", **foreign)).refused()
        assert (await site.get(stream, **upgrade, **foreign)).refused()


@pytest.mark.parametrize(
    "host",
    [
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost:port",
        "localhost:80:80",
        "localhost, evil.example",
    ],
)
async def test_hosts_that_only_look_local_are_refused(site, host):
    assert (await site.get(Host=host)).refused()


async def test_a_preflight_promises_nothing(site):
    asks = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
    foreign = await site.ask("OPTIONS", Origin="https://evil.example", **asks)
    own = await site.ask("OPTIONS", Origin=f"http://{site.own}", **asks)
    assert foreign.refused()
    assert own.status == 405
    for reply in (foreign, own, await site.get(Origin=f"http://{site.own}")):
        assert not [name for name in reply.headers if name.startswith("access-control-")]


async def test_a_name_that_resolves_to_an_address_in_it_is_still_a_name(site, known):
    assert (await site.get(Host="127.0.0.1.nip.io:48484")).refused()
    assert (await known.get(Host="127.0.0.1.nip.io:48484")).status == 200


async def test_a_forwarded_host_is_not_believed(site):
    forwarded = {"X_Forwarded_Host": "evil.example", "Forwarded": "host=evil.example"}
    assert (await site.post(Origin="https://evil.example", **forwarded)).refused()
    assert (await site.get(Host="evil.example", X_Forwarded_Host="localhost")).refused()


# Guards that shut the wrong people out


async def test_the_address_of_an_interface_is_good(site):
    for host in ("192.168.0.13:9999", "172.16.9.18", "100.100.1.2:48484", "[2001:db8::5]:48484"):
        assert (await site.get(Host=host)).status == 200
        assert (await site.post(Host=host, Origin=f"http://{host}")).status in (201, 409)


async def test_localhost_is_good(site):
    assert (await site.get(Host="localhost:52620")).status == 200


async def test_the_machines_own_name_is_good(site):
    for host in ("vdownloader:9091", "vdownloader.local:9091", "VDownloader"):
        assert (await site.get(Host=host)).status == 200
    assert (await site.get(Host="chronos")).refused()


async def test_a_port_that_a_container_or_a_proxy_has_changed_is_good(site):
    for host in ("192.168.1.100:21011", "192.168.1.100", "localhost"):
        assert (await site.get(Host=host)).status == 200
    assert (await site.post(Host="127.0.0.1:21011", Origin="http://127.0.0.1:21011")).status == 201


async def test_a_link_on_another_page_can_be_followed(site):
    assert (await site.get(Referer="https://nginx.mydomain.org/")).status == 200
    shown = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert (await site.get(Sec_Fetch_Site="cross-site", **shown)).status == 200


async def test_an_origin_that_is_the_hosts_outweighs_how_the_page_was_opened(site):
    assert (await site.get(Origin=f"http://{site.own}", Sec_Fetch_Site="cross-site")).status == 200


async def test_a_page_that_hides_its_address_may_post_to_itself(site):
    assert (await site.post(FORM, FORM_BODY, Origin="null", Sec_Fetch_Site="same-origin")).status == 201


async def test_a_dot_at_the_end_and_capitals_are_good(site):
    assert (await site.get(Host="LOCALHOST.:48484")).status == 200
    assert (await site.get(Host="[::1]:48484")).status == 200


async def test_a_listed_name_is_good_with_any_port_and_scheme(known):
    for host in ("my-react-app.mylocalbox.net", "My-React-App.mylocalbox.net:8443"):
        assert (await known.get(Host=host)).status == 200
    secure = await known.post(Host="agent.plant.example", Origin="https://agent.plant.example")
    assert secure.status == 201


async def test_a_proxy_that_rewrites_the_host_works_with_the_name_listed(site, known):
    for origin in ("https://agent.plant.example", "https://agent.plant.example:12345"):
        assert (await site.post(Origin=origin)).refused()
        assert (await known.post(Origin=origin)).status in (201, 409)


async def test_a_page_of_a_listed_port_may_call_and_no_other_of_that_host(known):
    assert (await known.post(Host="localhost:48484", Origin="http://localhost:3000")).status == 201
    assert (await known.post(Host="localhost:48484", Origin="http://localhost:3001")).refused()


async def test_programs_that_send_no_origin_work(site):
    assert (await site.get(User_Agent="curl/8.5.0", Accept="*/*")).status == 200
    assert (await site.post(FORM, FORM_BODY, User_Agent="curl/8.5.0", Accept="*/*")).status == 201
    assert (await site.ask("DELETE")).status == 200
