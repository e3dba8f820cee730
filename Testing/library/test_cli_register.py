"""`regrefine register`: dry runs, jobs of results, threads, pages; `list`; `doctor`."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from support.paths import ROOT
from support.small import bend, grid, image_on, labels_on

from RegRefineLib.cli import main
from RegRefineLib.io.volumes import write_labels, write_volume

GRID = grid((24, 22, 26))
QUICK = ["--affine", "none", "--device", "cpu", "--set", "levels=2:4 1:2"]
QUICK += ["--set", "small_steps=0"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans, mine é")
    write_volume(image_on(GRID, lambda p: p + bend(p)), folder / "f.nii.gz")
    write_volume(image_on(GRID), folder / "m.nii.gz")
    write_labels(labels_on(GRID, lambda p: p + bend(p)), folder / "fl.nii.gz")
    write_labels(labels_on(GRID), folder / "ml.nii.gz")
    return folder


def register(files: Path, *words: str) -> int:
    return main(["register", str(files / "f.nii.gz"), str(files / "m.nii.gz"), *words])


def digests(
    folder: Path, names: tuple[str, ...] = ("transform.nrrd", "warped.nii.gz")
) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]


def test_a_dry_run_checks_and_writes_nothing(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register(files, *QUICK, "--dry-run", "-o", str(tmp_path / "out")) == 0
    out = capsys.readouterr().out
    assert "26 x 22 x 24 voxels (i, j, k) of 2 x 2 x 2 mm, on cpu" in out
    assert "GB" in out
    assert "seconds on one core: 0" in out or "seconds on one core: 1" in out
    assert not (tmp_path / "out").exists()
    assert register(files, *QUICK, "--dry-run", "--set", "stepz=1") == 2
    assert "did you mean step" in capsys.readouterr().err


def test_a_job_is_done_again_from_its_result(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register(files, *QUICK, "--set", "field_sigma=0.7", "-o", str(tmp_path / "a")) == 0
    job = str(tmp_path / "a" / "result.json")
    assert register(files, "--job", job, "-o", str(tmp_path / "b")) == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    stored = [json.loads((tmp_path / x / "result.json").read_text())["job"] for x in "ab"]
    assert stored[0] == stored[1]
    assert register(files, "--job", job, "--set", "steps=0", "-o", str(tmp_path / "c")) == 0
    assert digests(tmp_path / "a") != digests(tmp_path / "c")
    capsys.readouterr()
    (tmp_path / "bad.json").write_text('{"job": {"presett": "ct"}}')
    for path, words in (
        (tmp_path / "bad.json", "presett"),
        (tmp_path / "no.json", "cannot be read"),
    ):
        assert register(files, "--job", str(path), "-o", str(tmp_path / "d")) == 2
        assert words in capsys.readouterr().err


def test_the_number_of_threads_changes_no_bit(files: Path, tmp_path: Path) -> None:
    for n in ("1", "2"):
        assert register(files, *QUICK, "--threads", n, "--quiet", "-o", str(tmp_path / n)) == 0
    assert digests(tmp_path / "1") == digests(tmp_path / "2")


def test_quiet_says_warnings_alone_and_verbose_every_step(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register(files, *QUICK, "--quiet", "-o", str(tmp_path / "q")) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert all(line.startswith("warning: ") for line in err.splitlines())
    assert register(files, *QUICK, "--verbose", "-o", str(tmp_path / "v")) == 0
    assert "refine 6/6 total" in capsys.readouterr().err


def test_pictures_and_reports_are_written_where_asked_for(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [
        "--fixed-labels",
        str(files / "fl.nii.gz"),
        "--moving-labels",
        str(files / "ml.nii.gz"),
    ]
    pages = ["--picture", str(tmp_path / "p.png"), "--report", str(tmp_path / "r.html")]
    assert register(files, *QUICK, *labels, *pages, "-o", str(tmp_path / "out")) == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "regrefine" in text
    assert "fl.nii.gz" in text
    out = capsys.readouterr().out
    assert "better" in out
    written = json.loads((tmp_path / "out" / "result.json").read_text())
    schema = json.loads((ROOT / "RegRefineLib" / "io" / "result.schema.json").read_text())
    jsonschema.validate(written, schema)
    fixed = written["provenance"]["inputs"]["fixed"]
    assert fixed["sha256"] == hashlib.sha256((files / "f.nii.gz").read_bytes()).hexdigest()
    for option, name in (("--picture", "p.jpg"), ("--report", "r.pdf")):
        assert register(files, *QUICK, option, str(tmp_path / name), "-o", str(tmp_path / "x")) == 2
        assert "must end in" in capsys.readouterr().err


def test_a_given_transform_has_a_column_of_its_own(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register(files, *QUICK, "--quiet", "-o", str(tmp_path / "a")) == 0
    init = ["--init", str(tmp_path / "a" / "transform.nrrd")]
    assert register(files, *QUICK, *init, "-o", str(tmp_path / "b")) == 0
    head = capsys.readouterr().out.splitlines()[0].split()
    assert head == ["before", "initial", "after"]
    found = json.loads((tmp_path / "b" / "result.json").read_text())
    start = json.loads((tmp_path / "a" / "result.json").read_text())["after"]["ncc"]
    assert found["initial"]["ncc"] == pytest.approx(start, abs=1e-3)
    assert found["after"]["ncc"] >= found["initial"]["ncc"] - 1e-3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["refinements", "pyramid"], ["levels", "4:40 2:40 1:10", "0 to 50", "mutual"]),
        (["starts", "convexadam"], ["start.NAME=VALUE", "fixed | released", "grid_sp"]),
        (["settings", "syn"], ["iterations", "40,20,0", "more than 0"]),
        (["settings"], ["refinement pyramid", "start network", "start none has no settings"]),
        (["presets", "ct"], ["intensity = ct", "settings.information = 0.0"]),
    ],
)
def test_settings_are_listed(
    capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]
) -> None:
    assert main(["list", *words]) == 0
    out = capsys.readouterr().out
    for word in expected:
        assert word in out, word


def test_an_unknown_row_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "refinements", "pyramd"]) == 2
    assert "did you mean pyramid" in capsys.readouterr().err


def test_the_doctor_says_what_a_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert np.isfinite(found["free_memory_gb"])
    assert {"packages", "machine", "threads", "folders", "weights"} <= set(found)
    assert main(["doctor"]) == 0
    assert "SimpleITK" in capsys.readouterr().out


SLOW_WRITER = """
import sys, time
from RegRefineLib import cli
from RegRefineLib.io import result_folder
whole = result_folder._write_all
def slow(*given):
    found = whole(*given)
    print("writing", flush=True)
    time.sleep(60)
    return found
result_folder._write_all = slow
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_terminated_run_leaves_no_hidden_folder(files: Path, tmp_path: Path) -> None:
    words = [str(files / "f.nii.gz"), str(files / "m.nii.gz"), *QUICK, "--quiet"]
    command = [sys.executable, "-c", SLOW_WRITER, "register", *words, "-o", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        assert any(p.name.startswith(".") for p in (tmp_path / "out").iterdir())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert not list((tmp_path / "out").iterdir())
