"""The agent from a wheel in an environment of its own, as pipx makes it: the wheel has all that it takes."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest
from servers.agent import AgentProcess
from servers.wheels import wheels


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    offline = ["--no-index", "--no-compile", "--find-links", str(wheels()), "callboard"]
    done = subprocess.run([*pip, *offline], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.timeout(400)
def test_the_installed_agent_runs_and_its_command_answers(environment, tmp_path):
    command = environment / "bin" / "callboard"
    agent = InstalledAgent(tmp_path / "data", command)
    with agent:
        assert agent.get("/v1/device")["status"] == "Idle"
        listed = subprocess.run(
            [str(command), "actors", "--url", agent.url],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert "endpoints" in listed.stdout, listed.stderr
        assert agent.stop() == 0
    (record,) = environment.glob("lib/python*/site-packages/callboard-*.dist-info/RECORD")
    parts = {line.split("/")[0] for line in record.read_text().splitlines() if ".dist-info/" not in line}
    assert parts == {"actors", "api", "conf", "storage", ".."}


class InstalledAgent(AgentProcess):
    """With nothing of the sources on its path."""

    def __init__(self, data_dir: Path, command: Path) -> None:
        super().__init__(data_dir, PYTHONPATH="", PYTHONDONTWRITEBYTECODE="1")
        self._python = str(command.with_name("python"))
