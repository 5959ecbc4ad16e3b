import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from fake_accounts import TOKEN
from fake_agent import FakeAgent, serving
from servers.agent import AgentProcess

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")

# What the schema allows an actor may still refuse: the settings of a protocol are not in the schema.
EXCLUDED_CHECKS = "positive_data_acceptance"

# Replies that go on until the client leaves, which a fuzzer does not.
ENDLESS = "/responses/200/content/text~1event-stream/schema/type == string"


RESTARTING = ("/v1/factory-reset", "/v1/backups/{file}/restore")
"""Over these a real agent restarts, and answers 503 meanwhile."""


def fuzz(
    base_url: str,
    key: str | None = None,
    examples: int = 10,
    workdir: Path | None = None,
    real: bool = False,
    session: str | None = None,
) -> None:
    """Run schemathesis against the API at `base_url`; raises `AssertionError` with its report.

    It adds, changes and deletes whatever it finds there. `session` is the token of one, of an administrator.
    """
    configuration = CONFIGURATION
    if session is not None:
        # Not as a header, which would be there where it tries what happens without the cookie.
        assert workdir is not None
        configuration = workdir / "schemathesis.toml"
        signed_in = f'[auth.openapi.session]\napi_key = "{session}"\n'
        configuration.write_text(f"{CONFIGURATION.read_text()}\n{signed_in}")
    command = [
        str(SCHEMATHESIS),
        "--config-file",
        str(configuration),
        "run",
        f"{base_url}/v1/openapi.json",
        "--seed",
        "1",
        "--no-color",
    ]
    command += ["--exclude-checks", EXCLUDED_CHECKS, "--max-examples", str(examples)]
    command += ["--warnings", "off", "--continue-on-failure", "--exclude-by", ENDLESS]
    for path in RESTARTING if real else ():
        command += ["--exclude-path", path]
    if key is not None:
        command += ["--header", f"X-Api-Key: {key}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=workdir, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("settings", "session"),
    [({}, TOKEN), ({"security_mode": "API_KEY", "key": "s3cret"}, None)],
)
async def test_no_request_makes_a_server_error_or_leaves_the_schema(settings, session, tmp_path):
    async with serving(FakeAgent(), **settings) as client:
        base_url = str(client.make_url("")).rstrip("/")
        await asyncio.to_thread(fuzz, base_url, settings.get("key"), workdir=tmp_path, session=session)


@pytest.mark.timeout(180)
def test_no_request_makes_a_server_error_of_the_real_agent(tmp_path):
    with AgentProcess(tmp_path / "data") as agent:
        fuzz(agent.url, workdir=tmp_path, real=True)
        assert agent.ready()
        assert agent.stop() == 0
        assert "Traceback" not in agent.log.read_text()


@pytest.mark.timeout(60)
async def test_the_fuzzer_finds_a_server_error(tmp_path):
    agent = FakeAgent()
    agent.on_DescribeAgent = lambda message: None
    async with serving(agent) as client:
        base_url = str(client.make_url("")).rstrip("/")
        with pytest.raises(AssertionError, match="/v1/device"):
            await asyncio.to_thread(fuzz, base_url, examples=1, workdir=tmp_path)
