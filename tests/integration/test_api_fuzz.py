"""The whole API as its OpenAPI document has it, by schemathesis, on real agents."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import msgspec
import pytest
from fake_agent import FakeAgent, serving
from servers.agent import AgentProcess

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
KEY, PASSWORD, LATER = "a-key-of-the-api", "a-password-of-admin", "a-later-password"

ENDLESS = "/responses/200/content/text~1event-stream/schema/type == string"
"""Replies that go on until the client leaves, which a fuzzer does not."""

RESTARTING = ("/v1/reboot", "/v1/factory-reset", "/v1/backups/{file}/restore")
"""Over these the agent restarts, and says 503 to most of what it is asked meanwhile."""

SLOW = ("/v1/memory/trace", "/v1/discover", "/v1/discovery-rules", "/v1/discovery-rules/{uuid}/run")
"""These are answered after as many seconds as they are asked to take, or send packets to whoever is there."""

ASKING = ("/v1/discover/bacnet/{instance}/objects",)
"""These ask whoever is on the network."""

DISCOVERY = (
    *ASKING,
    *("/v1/discover", "/v1/discovery-runs", "/v1/discovery-runs/{uuid}", "/v1/discovery-rules"),
    *("/v1/discovery-rules/{uuid}", "/v1/discovery-rules/{uuid}/run", "/v1/discovery-rules/{uuid}/runs"),
)

SIGNING_OUT = (
    *("/v1/auth/logout", "/v1/auth/password", "/v1/admin/sessions", "/v1/admin/sessions/{id}"),
    *("/v1/admin/users", "/v1/admin/users/{username}"),
)
"""These may end the session under which everything is asked, or take as long as hashing a password."""


OPEN = ("/ping", "/v1/healthy", "/v1/readiness", "/v1/health/report", "/v1/buffer/status", "/v1/auth/.*")
UNTOLD = f"""
[[operations]]
include-path-regex = "^({"|".join(OPEN)})$"
checks.unsupported_method.enabled = false
"""
"""Where credentials are asked for, who has none is not told which methods there are, on paths either that
take none."""


def fuzz(
    base_url: str,
    document: bytes,
    credentials: Mapping[str, str] | None = None,
    *,
    examples: int = 10,
    without: Sequence[str] = (),
    only: Sequence[str] = (),
    phases: str = "examples,coverage,fuzzing,stateful",
    guarded: bool = True,
    workdir: Path,
) -> None:
    """Run schemathesis, with all of its checks, against the API at `base_url`; raises `AssertionError` with
    its report. It adds, changes and deletes whatever it finds there. `credentials` are by the names of the
    document's security schemes."""
    described = workdir / "openapi.json"
    described.write_bytes(document)
    configuration = workdir / "schemathesis.toml"
    schemes = [f'[auth.openapi.{name}]\napi_key = "{value}"\n' for name, value in (credentials or {}).items()]
    untold = UNTOLD if guarded else ""
    configuration.write_text("\n".join([CONFIGURATION.read_text(), untold, *schemes]))
    command = [str(SCHEMATHESIS), "--config-file", str(configuration), "run", str(described)]
    command += ["--url", base_url]
    command += ["--seed", "1", "--no-color", "--warnings", "off", "--continue-on-failure"]
    command += ["--phases", phases, "--max-examples", str(examples), "--exclude-by", ENDLESS]
    for option, values in (("--exclude-path", without), ("--include-path", only)):
        for value in values:
            command += [option, value]
    done = subprocess.run(command, capture_output=True, text=True, cwd=workdir, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def agent_in(folder: Path, **environment: str) -> AgentProcess:
    return AgentProcess(folder / "data", INITIAL_ADMIN_PASSWORD=PASSWORD, **environment)


def is_well(agent: AgentProcess) -> None:
    """It still runs, stops in order, and nothing that it was asked was a defect."""
    assert agent.ready()
    assert agent.stop() == 0
    assert "Traceback" not in agent.log.read_text()


def document(url: str, **headers: str) -> bytes:
    """What the API says of itself to who asks with these headers."""
    with build_opener(ProxyHandler({})).open(Request(f"{url}/v1/openapi.json", headers=headers)) as reply:
        found: bytes = reply.read()
        return found


def sign_in(agent: AgentProcess, password: str) -> str:
    """The token of a session of the administrator."""
    return _token(agent, "/v1/auth/login", {"username": "admin", "password": password}, {})


def signed_in(agent: AgentProcess) -> str:
    """The token of a session of an administrator who has changed the first password."""
    token = sign_in(agent, PASSWORD)
    changed = {"current_password": PASSWORD, "new_password": LATER}
    _token(agent, "/v1/auth/password", changed, {"Cookie": f"admin_session={token}"})
    return token


def _token(agent: AgentProcess, path: str, body: Any, headers: dict[str, str]) -> str:
    request = Request(
        agent.url + path, msgspec.json.encode(body), {"Content-Type": "application/json", **headers}
    )
    with build_opener(ProxyHandler({})).open(request, timeout=20) as reply:
        return (reply.headers["Set-Cookie"] or "").partition(";")[0].partition("=")[2]


@pytest.mark.timeout(240)
def test_without_credentials_where_none_are_asked_for(tmp_path):
    with agent_in(tmp_path) as agent:
        described = document(agent.url)
        fuzz(agent.url, described, without=(*RESTARTING, *SLOW, *ASKING), guarded=False, workdir=tmp_path)
        fuzz(agent.url, described, only=SLOW, phases="examples", workdir=tmp_path)
        is_well(agent)


@pytest.mark.timeout(240)
def test_with_the_key(tmp_path):
    with agent_in(tmp_path, API_SECURITY_MODE="API_KEY", API_KEY=KEY, DEVICE_API_HOST="127.0.0.1") as agent:
        fuzz(
            agent.url,
            document(agent.url, **{"X-Api-Key": KEY}),
            {"header": KEY},
            without=(*RESTARTING, *SLOW, *ASKING),
            phases="examples,coverage",
            workdir=tmp_path,
        )
        is_well(agent)


@pytest.mark.timeout(240)
def test_with_a_session_where_one_is_asked_for(tmp_path):
    with agent_in(tmp_path, API_REQUIRE_SESSION="true") as agent:
        token = signed_in(agent)
        described = document(agent.url, Cookie=f"admin_session={token}")
        without = (*RESTARTING, *SLOW, *ASKING, *SIGNING_OUT)
        fuzz(
            agent.url,
            described,
            {"session": token},
            without=without,
            phases="examples,coverage",
            workdir=tmp_path,
        )
        again = {"session": sign_in(agent, LATER)}
        fuzz(agent.url, described, again, only=SIGNING_OUT, phases="examples", workdir=tmp_path)
        is_well(agent)


@pytest.mark.timeout(240)
def test_without_credentials_where_some_are_asked_for(tmp_path):
    with agent_in(tmp_path, API_REQUIRE_SESSION="true") as agent:
        described = document(agent.url, Cookie=f"admin_session={signed_in(agent)}")
        fuzz(agent.url, described, phases="examples,coverage", examples=2, workdir=tmp_path)
        is_well(agent)


@pytest.mark.timeout(240)
def test_what_restarts_the_agent(tmp_path):
    with agent_in(tmp_path) as agent:
        described = document(agent.url)
        fuzz(
            agent.url,
            described,
            only=RESTARTING,
            phases="examples,coverage",
            examples=5,
            workdir=tmp_path,
        )
        agent.wait_until_running()
        is_well(agent)


@pytest.mark.timeout(120)
async def test_discovery_by_every_request_but_without_looking_for_anybody(tmp_path):
    async with serving(FakeAgent()) as client:
        base_url = str(client.make_url("")).rstrip("/")
        described = await asyncio.to_thread(document, base_url)
        only = [*DISCOVERY, "/v1/endpoints/test", "/v1/endpoints/{uuid}/test"]
        await asyncio.to_thread(fuzz, base_url, described, only=only, guarded=False, workdir=tmp_path)


@pytest.mark.timeout(60)
async def test_the_fuzzer_finds_a_server_error(tmp_path):
    agent = FakeAgent()
    agent.on_DescribeAgent = lambda message: None
    async with serving(agent) as client:
        base_url = str(client.make_url("")).rstrip("/")
        described = await asyncio.to_thread(document, base_url)
        only = ["/v1/device"]
        with pytest.raises(AssertionError, match="/v1/device"):
            await asyncio.to_thread(fuzz, base_url, described, only=only, examples=1, workdir=tmp_path)
