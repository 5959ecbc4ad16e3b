"""Control groups as files: version 2 and 1, with a view of its own and without, limits above, none at all."""

from pathlib import Path

import pytest

from actors.host.cgroups import Usage, read

MB = 1024 * 1024


def files(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


V2 = {
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/memory.max": f"{512 * MB}\n",
    "sys/fs/cgroup/memory.current": f"{300 * MB}\n",
    "sys/fs/cgroup/memory.stat": f"anon {100 * MB}\nfile {180 * MB}\ninactive_file {120 * MB}\n",
    "sys/fs/cgroup/cpu.max": "50000 100000\n",
    "sys/fs/cgroup/cpu.stat": "usage_usec 2500000\nuser_usec 2000000\n",
    "proc/self/cgroup": "0::/\n",
}
V1 = {
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{256 * MB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{200 * MB}\n",
    "sys/fs/cgroup/memory/memory.stat": f"cache 1\ninactive_file 1\ntotal_inactive_file {50 * MB}\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/cpuacct/cpuacct.usage": "7000000000\n",
}


def test_a_container_of_version_2_has_its_own_limits_and_file_cache_is_not_used_memory(tmp_path):
    assert read(files(tmp_path, V2)) == Usage(512 * MB, 180 * MB, 0.5, 2.5)


def test_a_container_of_version_1_has_them_too(tmp_path):
    assert read(files(tmp_path, V1)) == Usage(256 * MB, 150 * MB, 1.5, 7.0)


@pytest.mark.parametrize("contents", [{}, {"sys/fs/cgroup/cgroup.controllers": "cpu memory\n"}])
def test_a_machine_has_no_limits(tmp_path, contents):
    assert read(files(tmp_path, contents)) == Usage()


def test_what_says_that_there_is_no_limit_is_none(tmp_path):
    endless = V2 | {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}
    assert read(files(tmp_path / "v2", endless)) == Usage()
    endless = V1 | {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    }
    assert read(files(tmp_path / "v1", endless)) == Usage()


def test_a_service_of_the_machine_with_a_limit_is_no_container(tmp_path):
    """systemd's MemoryMax: the machine still has what it has."""
    place = "sys/fs/cgroup/system.slice/callboard.service"
    contents = {
        "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
        f"{place}/memory.max": f"{100 * MB}\n",
        f"{place}/memory.current": f"{60 * MB}\n",
        "proc/self/cgroup": "0::/system.slice/callboard.service\n",
    }
    assert read(files(tmp_path, contents)) == Usage()


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv", "run/secrets/kubernetes.io/token"])
def test_a_container_that_sees_the_machines_groups_finds_its_own_and_the_lowest_limit_above(tmp_path, mark):
    place = "sys/fs/cgroup/kubepods/pod7"
    contents = {
        mark: "",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
        f"{place}/memory.max": f"{128 * MB}\n",
        f"{place}/memory.current": f"{90 * MB}\n",
        f"{place}/memory.stat": "inactive_file 0\n",
        f"{place}/agent/memory.max": f"{512 * MB}\n",
        f"{place}/agent/memory.current": f"{80 * MB}\n",
        f"{place}/agent/cpu.max": "20000 100000\n",
        f"{place}/agent/cpu.stat": "usage_usec 1000000\n",
        "proc/self/cgroup": "0::/kubepods/pod7/agent\n",
    }
    assert read(files(tmp_path, contents)) == Usage(128 * MB, 90 * MB, 0.2, 1.0)


def test_a_group_outside_of_what_can_be_seen_is_not_followed(tmp_path):
    contents = V2 | {".dockerenv": "", "proc/self/cgroup": "0::/../../elsewhere\n"}
    assert read(files(tmp_path, contents)).memory_limit == 512 * MB


@pytest.mark.parametrize(
    "broken",
    [
        {"sys/fs/cgroup/memory.max": "", "sys/fs/cgroup/cpu.max": ""},
        {"sys/fs/cgroup/memory.max": "lots", "sys/fs/cgroup/cpu.max": "50000 0"},
        {"sys/fs/cgroup/memory.max": "-5", "sys/fs/cgroup/cpu.max": "x y z"},
        {"sys/fs/cgroup/memory.max": "0", "sys/fs/cgroup/cpu.max": "\x00"},
    ],
)
def test_files_that_make_no_sense_are_no_limit(tmp_path, broken):
    assert read(files(tmp_path, V2 | broken)) == Usage()
