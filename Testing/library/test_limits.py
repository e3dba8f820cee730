"""What containers, shells and batch systems allow counts, not what the machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.paths import python_path

from RegRefineLib import limits, threads
from RegRefineLib.errors import RegRefineError

MB = 2**20
FREE = psutil.virtual_memory().available


def system(root: Path, cgroup: str, **files: str) -> Path:
    """Write what the kernel shows of control groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_container_s_limit_counts_less_what_is_used_but_not_the_file_cache(tmp_path):
    root = system(
        tmp_path,
        "0::/job\n",
        job__memory_DOT_max=f"{300 * MB}\n",
        job__memory_DOT_current=f"{200 * MB}\n",
        job__memory_DOT_stat=f"anon 1\ninactive_file {60 * MB}\nactive_file {40 * MB}\n",
    )
    assert limits.free_memory(root, {}) == 200 * MB


def test_the_limit_of_a_group_above_counts_too(tmp_path):
    root = system(
        tmp_path,
        "0::/slice/job\n",
        slice__job__memory_DOT_max="max\n",
        slice__memory_DOT_max=f"{100 * MB}\n",
        slice__memory_DOT_current=f"{30 * MB}\n",
    )
    assert limits.free_memory(root, {}) == 70 * MB


@pytest.mark.parametrize("path", ["/docker/abc", "/"])
def test_version_1_is_read_where_the_host_s_path_is_not_visible_as_well(tmp_path, path):
    root = system(
        tmp_path,
        f"5:memory:{path}\n2:cpu,cpuacct:{path}\n",
        memory__memory_DOT_limit_in_bytes=f"{256 * MB}\n",
        memory__memory_DOT_usage_in_bytes=f"{156 * MB}\n",
        memory__memory_DOT_stat=f"inactive_file 1\ntotal_inactive_file {16 * MB}\n",
        cpu__cpu_DOT_cfs_quota_us="150000\n",
        cpu__cpu_DOT_cfs_period_us="100000\n",
    )
    assert limits.free_memory(root, {}) == 116 * MB
    assert limits.processors(root, {}) <= 2


def test_no_limit_is_the_machine_s_memory(tmp_path):
    root = system(
        tmp_path,
        "5:memory:/\n",
        memory__memory_DOT_limit_in_bytes="9223372036854771712\n",
        memory__memory_DOT_usage_in_bytes="1\n",
    )
    assert limits.free_memory(root, {}) == pytest.approx(FREE, rel=0.5)
    assert limits.free_memory(tmp_path / "none", {}) == pytest.approx(FREE, rel=0.5)


def test_slurm_states_megabytes_for_a_node_or_for_a_processor():
    job = {"SLURM_JOB_ID": "7"}
    assert limits.slurm_memory({"SLURM_MEM_PER_NODE": "500"}) is None
    assert limits.slurm_memory(job) is None
    assert limits.slurm_memory({**job, "SLURM_MEM_PER_NODE": "0"}) is None
    assert limits.slurm_memory({**job, "SLURM_MEM_PER_NODE": "500"}) == 500 * MB
    each = {**job, "SLURM_MEM_PER_CPU": "200", "SLURM_CPUS_ON_NODE": "4(x2)"}
    assert limits.slurm_memory(each) == 800 * MB
    used = psutil.Process().memory_info().rss
    allowed = {**job, "SLURM_MEM_PER_NODE": str(used // MB + 1000)}
    assert limits.free_memory(environment=allowed) == pytest.approx(1000 * MB, abs=200 * MB)


@pytest.mark.skipif(sys.platform == "win32", reason="no ulimit there: needs POSIX")
@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_ulimit_is_known(kind):
    if kind == "RLIMIT_DATA" and not sys.platform.startswith("linux"):
        kind = "RLIMIT_AS"
    code = f"""
import resource
from RegRefineLib import limits
resource.setrlimit(resource.{kind}, (2**30, resource.RLIM_INFINITY))
print(limits.free_memory())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=python_path(), check=True
    )
    assert 2**28 < int(done.stdout) < 2**30


@pytest.mark.parametrize(
    ("environment", "most"),
    [
        ({"SLURM_CPUS_PER_TASK": "1"}, 1),
        ({"NSLOTS": "1"}, 1),
        ({"SLURM_CPUS_PER_TASK": "many"}, os.cpu_count()),
        ({}, os.cpu_count()),
    ],
)
def test_the_share_of_a_batch_job_counts(environment, most, tmp_path):
    assert 1 <= limits.processors(tmp_path, environment) <= most


def test_a_quota_of_part_of_a_processor_is_one_thread(tmp_path):
    root = system(tmp_path, "0::/\n", cpu_DOT_max="50000 100000\n")
    assert limits.processors(root, {}) == 1


def test_the_user_s_own_number_decides(tmp_path):
    assert limits.processors(tmp_path, {"REGREFINE_THREADS": "7", "NSLOTS": "1"}) == 7


def test_small_volumes_get_few_threads_unless_asked():
    assert threads.fitting(8, 20**3) == 1
    assert threads.fitting(8, 48**3) == 3
    assert threads.fitting(8, None) == threads.fitting(8, 256**3) == 8
    with pytest.raises(RegRefineError, match="1 or more"):
        threads.use(0)


def test_threads_sleep_in_the_programs_and_the_library_changes_no_environment():
    code = """
import os, sys
import RegRefineLib.registration
assert "OMP_WAIT_POLICY" not in os.environ
"""
    clean = {
        k: v for k, v in python_path().items() if k not in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")
    }
    subprocess.run([sys.executable, "-c", code], env=clean, check=True)
    code = """
import os, sys
from RegRefineLib import cli
try: cli.main(["list", "--help"])
except SystemExit: pass
assert "torch" not in sys.modules
assert os.environ["OMP_WAIT_POLICY"] == sys.argv[1]
"""
    for given, found in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        subprocess.run([sys.executable, "-c", code, found], env={**clean, **given}, check=True,
                       capture_output=True)  # fmt: skip
