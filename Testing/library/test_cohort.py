"""A cohort from the manifest to the table: resumed, failed, killed, compact, on several workers."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.cohort_files import GRID, QUICK, QUICK_WORDS, write_scans
from support.command_line import run as command
from support.paths import python_path
from support.small import bend

from RegRefineLib import limits
from RegRefineLib.cohort import cohort as cohorts
from RegRefineLib.cohort.cohort import Options, cohort, prepare
from RegRefineLib.cohort.compact import compact, distance, sampled, write_compact
from RegRefineLib.cohort.engine import Where, batch_cluster
from RegRefineLib.cohort.estimate import estimate
from RegRefineLib.cohort.execute import execute
from RegRefineLib.cohort.table import columns, robust_z, rows_of
from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import DisplacementField
from RegRefineLib.io.transforms import read_transform
from RegRefineLib.io.volumes import read_labels

ALONE = Options(to="s0", workers=1)


def silent(_: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    return write_scans(tmp_path_factory.mktemp("scans"), 4)


@pytest.fixture(scope="module")
def done(scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("done") / "out"
    return folder, cohort(scans, folder, QUICK, ALONE)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "cohort.tsv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_all_to_one_leaves_a_folder_for_each_run_and_a_described_table(done):
    folder, rows = done
    assert sorted(p.name for p in (folder / "runs").iterdir()) == [
        f"from-s{n}_to-s0" for n in (1, 2, 3)
    ]
    assert (folder / "runs/from-s2_to-s0/transform.nrrd").is_file()
    read = table(folder)
    assert (
        list(read[0]) == list(columns()) == list(json.loads((folder / "cohort.json").read_text()))
    )
    assert [row["status"] for row in read] == ["done"] * 3
    assert rows[2]["ncc"] > rows[2]["ncc_before"]
    assert rows[2]["dice"] > rows[2]["dice_before"] + 0.01
    assert float(read[2]["largest_mm"]) > float(read[0]["largest_mm"])
    assert read[0]["group"] == "b"
    assert not list(folder.glob(".unfinished/*"))


def test_what_is_done_is_not_done_again_and_what_changed_is(done, scans, monkeypatch):
    folder, _ = done
    ran = []

    def counted(run, place):
        ran.append(run.name)
        return execute(run, place)

    monkeypatch.setattr("RegRefineLib.cohort.engine.execute", counted)
    cohort(scans, folder, QUICK, ALONE)
    assert ran == []
    record = folder / "runs/from-s2_to-s0/run.json"
    record.write_text(record.read_text().replace('"status": "done"', '"status": "cut'))
    cohort(scans, folder, QUICK, ALONE)
    assert ran == ["from-s2_to-s0"]
    ready = prepare(scans, folder, QUICK.replaced(seed=3), ALONE, silent)
    assert len(ready.todo) == 3


def test_a_run_that_fails_leaves_the_others_alone_and_is_run_again_when_asked(
    scans, tmp_path, monkeypatch, capsys
):
    real = cohorts.perform

    def breaks(runs, folder, where, done, say):
        bad = [
            replace(run, moving=replace(run.moving, image="gone.nii.gz"))
            if run.moving.id == "s1"
            else run
            for run in runs
        ]
        real(bad, folder, where, done, say)

    monkeypatch.setattr(cohorts, "perform", breaks)
    words = ("cohort", scans, "-o", tmp_path / "o", "--to", "s0", "--workers", 1, *QUICK_WORDS)
    status, out, _ = command(capsys, *words)
    assert status == 1
    assert "2 done, 1 failed" in out
    failed = table(tmp_path / "o")[0]
    assert failed["status"] == "failed"
    assert "gone.nii.gz" in failed["reason"]
    assert "Traceback" in (tmp_path / "o/logs/from-s1_to-s0.log").read_text()
    monkeypatch.setattr(cohorts, "perform", real)
    record = tmp_path / "o/runs/from-s3_to-s0/run.json"
    record.unlink()  # never run, as far as anybody can tell
    status, out, _ = command(capsys, *words, "--only-failed")
    assert status == 0
    assert "1 of 1: from-s1_to-s0" in out
    assert [row["status"] for row in table(tmp_path / "o")] == ["done", "done", "missing"]


def test_a_dry_run_writes_nothing_and_bad_manifests_are_lines_and_status_2(scans, tmp_path, capsys):
    words = ("cohort", scans, "-o", tmp_path / "o", "--to", "s0", *QUICK_WORDS)
    status, out, _ = command(capsys, *words, "--dry-run")
    assert status == 0
    assert "3 runs" in out
    assert "of disk" in out
    assert not (tmp_path / "o").exists()
    bad = scans.with_name("bad.csv")
    bad.write_text("id,image\na,none.nii.gz\nb,none2.nii.gz\n")
    status, _, err = command(capsys, "cohort", bad, "-o", tmp_path / "o", "--dry-run")
    assert status == 2
    assert len(err.splitlines()) == 2
    for more in (["--row", 9], ["--workers", 0], ["--to", "s9"], ["--bound", 0]):
        status, _, err = command(capsys, *words, *more)
        assert (status, len(err.splitlines())) == (2, 1), err


def test_one_row_alone_is_what_a_job_array_runs(scans, tmp_path, capsys):
    words = ("cohort", scans, "-o", tmp_path / "o", "--to", "s0", *QUICK_WORDS)
    status, _, _ = command(capsys, *words, "--row", 2)
    assert status == 0
    assert [p.name for p in (tmp_path / "o/runs").iterdir()] == ["from-s2_to-s0"]
    assert not (tmp_path / "o/cohort.tsv").exists()  # other rows may be at work


def test_the_others_labels_are_fused_on_the_target(done, scans, capsys):
    folder, rows = done
    words = ("cohort", scans, "-o", folder, "--to", "s0", "--workers", 1, *QUICK_WORDS)
    truth = read_labels(scans.with_name("s0_labels.nii.gz")).volume.array
    for method in ("majority", "local"):
        status, out, err = command(capsys, *words, "--fuse", method)
        assert status == 0, err
        assert "voxels undecided" in out
        found = read_labels(folder / "fused_labels.nii.gz").volume.array
        both = [(found == n, truth == n) for n in (1, 2, 3)]
        dice = np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in both])
        assert dice > min(row["dice"] for row in rows)
    assert command(capsys, "cohort", scans, "-o", folder, "--fuse", "local")[0] == 2


def test_a_compact_field_is_small_and_within_its_bound(done, scans, tmp_path):
    folder, _ = done
    options = replace(ALONE, keep="minimal", bound_mm=0.2, row=3)
    cohort(scans, tmp_path, QUICK, options)
    name = "runs/from-s3_to-s0"
    assert {p.name for p in (tmp_path / name).iterdir()} == {
        *("transform.nrrd", "affine.tfm", "result.json", "run.json"),
    }
    whole = read_transform(folder / name / "transform.nrrd")
    small = read_transform(tmp_path / name / "transform.nrrd")
    error = distance(whole, sampled(small, GRID))
    assert error <= 0.2
    said = json.loads((tmp_path / name / "run.json").read_text())["field_error_mm"]
    assert said == pytest.approx(error, abs=1e-3)


def test_a_smooth_field_takes_a_tenth_of_its_bytes(tmp_path):
    grid = GRID.resized((72, 64, 80))
    field = DisplacementField(bend(grid.points()).astype(np.float32), grid)
    small, error = compact(field, 0.05)
    assert error <= 0.05
    assert error == pytest.approx(distance(field, sampled(small, grid)), abs=1e-6)
    write_compact(small, tmp_path / "f.nrrd")
    assert (tmp_path / "f.nrrd").stat().st_size < 0.1 * field.vectors.nbytes
    assert np.abs(read_transform(tmp_path / "f.nrrd").vectors - small.vectors).max() == 0
    rough = np.random.default_rng(0).normal(size=field.vectors.shape).astype(np.float32)
    kept, error = compact(DisplacementField(rough, grid), 0.05)
    assert kept.geometry.same_grid(grid)
    assert error <= 0.05


def test_what_is_far_from_the_others_is_flagged_by_median_and_mad():
    z = robust_z([1.0, 1.1, 0.9, 1.0, 5.0, None])
    assert z[4] > 20
    assert z[5] is None
    assert max(abs(v) for v in z[:4]) < 1.5
    assert robust_z([2.0, 2.0, 2.0]) == [0.0] * 3
    assert robust_z([1.0, None]) == [None, None]
    scores = [0.9, 0.91, 0.89, 0.9, 0.92, 0.3, 0.99]
    rows = rows_of([{"run": str(n), "after": {"ncc": v}} for n, v in enumerate(scores)])
    assert [row["flag"] for row in rows] == ["", "", "", "", "", "ncc", ""]  # good ones are not


def test_runs_side_by_side_fill_the_cores_and_not_the_memory(scans, tmp_path, monkeypatch):
    ready = prepare(scans, tmp_path, QUICK, ALONE, silent)
    cases = [(8, 2**40, 3, 2), (2, 2**40, 2, 1), (8, int(1.6e9), 2, 4), (8, 1, 1, 8)]
    for cores, free, side_by_side, threads in cases:
        monkeypatch.setattr(limits, "processors", lambda n=cores: n)
        monkeypatch.setattr(limits, "free_memory", lambda n=free: n)
        found = estimate(ready.runs, ready.looked, tmp_path)
        assert (found.side_by_side, found.threads) == (side_by_side, threads)


def test_a_batch_system_is_asked_for_what_a_run_needs():
    pytest.importorskip("dask_jobqueue")
    where = Where(2, 3, 5 * 2**30, batch="slurm", walltime="02:00:00", queue="long", gpu=True)
    with batch_cluster(where) as cluster:
        script = cluster.job_script()
    for words in ("-p long", "--cpus-per-task=3", "--mem=5G", "-t 02:00:00", "--gres=gpu:1",
                  "OMP_NUM_THREADS=3", "OMP_WAIT_POLICY=PASSIVE", "--lifetime 6900s",
                  "--nthreads 1"):  # fmt: skip
        assert words in script, script
    with pytest.raises(RegRefineError, match="HH:MM:SS"):
        batch_cluster(replace(where, walltime="2h"))


PROGRAM = """
import sys
from RegRefineLib.cohort.cohort import Options, cohort
from support.cohort_files import QUICK
if __name__ == "__main__":
    say = lambda text: print(text, flush=True)
    cohort(sys.argv[1], sys.argv[2], QUICK, Options(to="s0", workers=2), say)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_killed_worker_costs_its_own_run_alone_which_is_run_again(scans, tmp_path):
    """Two workers; the first that has begun a run is killed in the middle of it."""
    pytest.importorskip("distributed")
    import psutil

    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(program), str(scans), str(tmp_path / "o")],
        stdout=subprocess.PIPE,
        text=True,
        env=python_path(),
    )
    victim = None
    deadline = time.monotonic() + 300
    while victim is None and process.poll() is None and time.monotonic() < deadline:
        logs = tmp_path / "o/logs"
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                opened = [f.path for f in child.open_files() if f.path.startswith(str(logs))]
            except psutil.Error:
                continue
            if opened:
                victim = child.pid
                os.kill(victim, signal.SIGKILL)
                break
        time.sleep(0.02)
    out, _ = process.communicate(timeout=300)
    assert victim is not None, out
    assert process.returncode == 0
    assert "Dask's dashboard: http" in out
    assert [row["status"] for row in table(tmp_path / "o")] == ["done"] * 3
