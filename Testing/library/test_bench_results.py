"""Records that are resumed, tables with ratios, the picture, and the command itself."""

from __future__ import annotations

import json

import pytest
from support.bench_pairs import write_set

from RegRefineLib.bench import ablation, curves
from RegRefineLib.bench import sweep as sweeping
from RegRefineLib.bench.cases import read_cases
from RegRefineLib.bench.picture import draw
from RegRefineLib.bench.records import Results, revision
from RegRefineLib.bench.summary import best_peer, tables
from RegRefineLib.bench.sweep import Plan, line_of, sweep
from RegRefineLib.cli import main
from RegRefineLib.errors import RegRefineError


def record(tool, case, dice=None, cpu_s=None, **more):
    values = {"set": "brains", "case": case, "tool": tool, "threads": 2, "dice": dice}
    return {**values, "cpu_s": cpu_s, **more}


SOME = [
    record("start", "a", 0.5),
    record("default", "a", 0.80, 10.0, folds_percent=0.0),
    record("default", "b", 0.70, 12.0, folds_percent=0.01),
    record("greedy", "a", 0.78, 40.0),
    record("greedy", "b", 0.74, 40.0),
    record("elastix", "a", 0.90, 100.0),
    {**record("elastix", "b"), "error": "no luck"},
]


def test_the_best_peer_is_among_those_that_did_the_most_pairs():
    runs = {}
    for one in SOME:
        runs.setdefault(one["tool"], {})[one["case"]] = one
    assert best_peer(runs) == "greedy"
    assert best_peer({"default": runs["default"]}) is None


def test_a_table_has_ratios_of_the_pairs_both_did_and_names_failures():
    text = tables(SOME)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "| 0.750 / 0.750 | -1.0 |" in rows["default"]  # (.80-.78 + .70-.74) / 2
    assert "| 0.28 |" in rows["default"]  # the median of 10/40 and 12/40 is .275
    assert "| +12.0 |" in rows["elastix"]
    assert "| 2.50 |" in rows["elastix"]
    assert "elastix failed on b: no luck" in text
    assert list(rows)[2:] == ["start", "elastix", "greedy (best peer)", "default"]


def test_a_table_of_one_tool_alone_has_no_ratios():
    text = tables([SOME[1]])
    assert "| 0.800 / 0.800 | 0.0000 / 0.0000 |" in text
    assert "ratio" not in text


def test_results_are_appended_and_the_last_line_counts(tmp_path):
    path = tmp_path / "deep" / "results.jsonl"
    results = Results(path)
    results.add({**SOME[-1], "wall_s": float("nan")})
    assert results.failed(("b", "elastix", 2))
    results.add(record("elastix", "b", 0.6))
    again = Results(path)
    assert ("b", "elastix", 2) in again
    assert not again.failed(("b", "elastix", 2))
    assert ("b", "elastix", 1) not in again
    assert len(again.all()) == 1
    assert len(path.read_text().splitlines()) == 2
    assert again.all(["other"]) == []
    path.write_text("no json\n")
    with pytest.raises(RegRefineError, match="not JSON"):
        Results(path)


def test_what_ran_is_not_run_again_and_what_is_missing_is_said(tmp_path, monkeypatch):
    sets, variants = read_cases(write_set(tmp_path), tmp_path)
    results, calls, said = Results(tmp_path / "r.jsonl"), [], []

    def execute(tool, *_):
        calls.append(tool.runner)
        return {"error": "no luck"} if len(calls) == 1 else {"dice": 0.5, "cpu_s": 1.0}

    monkeypatch.setattr(sweeping, "execute", execute)

    def go(**more):
        plan = Plan(tmp_path / "pairs", tmp_path / "none", **more)
        sweep(sets["small"], ["default", "short", "greedy"], variants, results, plan, said.append)

    go()
    assert len(calls) == 2
    assert "not installed" in said[0]
    assert [r["tool"] for r in results.all()] == ["start", "default", "short"]
    go()
    assert len(calls) == 2
    go(again=True)
    assert len(calls) == 3
    assert not results.failed(("small blobs", "default", 2))
    go(threads=1)
    assert len(calls) == 5


def test_a_run_is_one_line():
    assert "Dice 0.8000" in line_of(SOME[1])
    assert "failed: no luck" in line_of(SOME[-1])


def test_the_revision_is_a_word():
    assert revision()
    assert " " not in revision()


def test_the_picture_is_drawn(tmp_path):
    more = [{**one, "set": "hearts"} for one in SOME]
    draw([*SOME, *more], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_an_ablation_is_one_table_over_the_sets():
    """Differences are of the pairs that both did, and their mean is over sets, not pairs."""
    hearts = [
        {**record("default", "h", 0.60, 2.0, folds_percent=0.0), "set": "hearts"},
        {**record("no x", "h", 0.50, 3.0, folds_percent=0.2), "set": "hearts"},
    ]
    runs = [*SOME, *hearts, record("no x", "a", 0.82, 5.0, folds_percent=0.1)]
    text = ablation.table([*runs, {**record("no x", "b"), "error": "no luck"}], ["no x", "no y"])
    head, _, default, without = text.splitlines()
    assert head == (
        "| ingredient | brains | hearts | difference | folds % mean / most | CPU s "
        "| of the default's |"
    )
    assert default == "| default | 0.750 | 0.600 | - | 0.0033 / 0.0100 | 8.0 | 1.00 |"
    # points: (.82 - .80) and (.50 - .60); seconds: 5 of 10 and 3 of 2
    assert without == (
        "| no x | 0.820 (+2.0) | 0.500 (-10.0) | -4.0 | 0.1500 / 0.2000 | 4.0 | 1.00 |"
    )


CURVES = {"ours": ["short", "default"], "theirs": ["greedy", "elastix"], "none": ["syn-cc"]}


def test_a_curve_goes_through_its_budgets_in_the_order_of_seconds():
    found = curves.points([*SOME, record("short", "a", 0.6, 30.0, folds_percent=1.0)], CURVES)
    assert list(found) == ["brains"]
    ours, theirs = found["brains"].values()
    assert [(p.seconds, p.pairs) for p in ours] == [(11.0, 2), (30.0, 1)]
    assert ours[0].dice == pytest.approx(0.75)
    assert ours[0].folds == pytest.approx(0.005)
    assert [(p.seconds, p.pairs) for p in theirs] == [(40.0, 2), (100.0, 1)]


def test_the_curves_are_drawn_and_nothing_to_draw_is_said(tmp_path):
    several = [{**one, "set": name} for one in SOME for name in "abcd"]
    curves.draw(several, CURVES, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(RegRefineError, match="on a curve"):
        curves.draw(SOME[:1], CURVES, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_variants_without_what_a_pair_does_not_have_are_left_out(tmp_path, monkeypatch):
    rows = {"no affine": {"align": False}, "no mask": {"mask": False}, "same": {}}
    monkeypatch.setattr(sweeping, "execute", lambda *_: {"dice": 0.5, "cpu_s": 1.0})

    def ran(**more):
        sets, _ = read_cases(write_set(tmp_path, **more), tmp_path)
        results = Results(tmp_path / f"{len(more)}.jsonl")
        plan = Plan(tmp_path / f"pairs{len(more)}", tmp_path)
        sweep(sets["small"], list(rows), rows, results, plan, lambda _: None)
        return [r["tool"] for r in results.all()]

    assert ran() == ["start", "same"]
    assert ran(affine="centre") == ["start", "no affine", "no mask", "same"]  # the shift uncovers


def test_the_command_runs_the_groups_of_the_cases(tmp_path, capsys, monkeypatch):
    cases = write_set(tmp_path)
    content = json.loads(cases.read_text())
    content |= {"ablation": ["short"], "curves": {"ours": ["short", "fast"]}}
    cases.write_text(json.dumps(content))
    monkeypatch.setattr(sweeping, "execute", lambda *_: {"dice": 0.5, "cpu_s": 1.0})
    words = ["bench", "--cases", str(cases), "--data", str(tmp_path)]
    words += ["--results", str(tmp_path / "r.jsonl"), "--picture", str(tmp_path / "p.png")]
    assert main([*words, "--ablation"]) == 0
    assert "| short | 0.500 (+0.0) | 1.0 |" in capsys.readouterr().out
    (tmp_path / "p.png").unlink()
    assert main([*words, "--curves"]) == 0
    said = capsys.readouterr().out
    assert "small blobs" in said  # fast alone is new
    assert said.count("small blobs") == 1
    assert (tmp_path / "p.png").exists()
    assert main([*words, "--curves", "--dataset", "acdc", "--root", "."]) == 2
    content["ablation"] = ["shorter"]
    cases.write_text(json.dumps(content))
    assert main([*words, "--ablation"]) == 2
    assert "'shorter' is neither" in capsys.readouterr().err


def test_the_command_runs_and_shows_the_table(tmp_path, capsys):
    """One real run of RegRefine, in a process of its own."""
    cases = write_set(tmp_path)
    words = ["bench", "--cases", str(cases), "--data", str(tmp_path), "--threads", "1"]
    words += ["--results", str(tmp_path / "r.jsonl"), "--tools", "short"]
    files = ["--table", str(tmp_path / "t.md"), "--picture", str(tmp_path / "p.png")]
    assert main([*words, *files]) == 0
    assert "| short | 1 |" in capsys.readouterr().out
    assert "| short | 1 |" in (tmp_path / "t.md").read_text()
    (line,) = [json.loads(t) for t in (tmp_path / "r.jsonl").read_text().splitlines()[1:]]
    assert line["dice"] > 0.5
    assert line["cpu_s"] > line["work_cpu_s"] > 0
    assert line["revision"]
    assert (line["affine"], line["masked"]) == ("none", False)
    assert main([*words, "--no-runs"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--no-runs"], "holds no runs yet"),
        (["--no-runs", "--sets", "hearts"], "holds no runs of hearts yet"),
        (["--threads", "0"], "--threads"),
        (["--limit", "nan"], "--limit"),
        (["--limit", "inf"], "--limit"),
        (["--tools", "greedy", "--environments", "nowhere"], "greedy not installed in nowhere"),
        (["--install", "gredy"], "did you mean greedy"),
        (["--sets", "none"], "--sets"),
        (["--tools", "gredy"], "unknown tool"),
        (["--install", "default"], "nothing to install"),
        (["--data", "nowhere"], "--data"),
    ],
)
def test_what_is_wrong_with_the_words_is_said(words, said, tmp_path, capsys):
    cases = write_set(tmp_path)
    given = ["bench", "--cases", str(cases), "--data", str(tmp_path)]
    assert main([*given, "--results", str(tmp_path / "r.jsonl"), *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("by", ["option", "variable"])
@pytest.mark.parametrize(
    ("folder", "said"),
    [
        (None, "--data: name the folder of the scans, or set REGREFINE_DATA"),
        ("nowhere", "nowhere is not there; name the folder of the scans"),
        ("empty", "--data: 4 of 4 files are not in"),
    ],
)
def test_scans_that_are_not_there_are_one_sentence(folder, said, by, tmp_path, capsys, monkeypatch):
    cases = write_set(tmp_path)
    (tmp_path / "empty").mkdir()
    monkeypatch.delenv("REGREFINE_DATA", raising=False)
    words = ["bench", "--cases", str(cases), "--results", str(tmp_path / "out" / "r.jsonl")]
    if folder and by == "option":
        words += ["--data", str(tmp_path / folder)]
    elif folder:
        monkeypatch.setenv("REGREFINE_DATA", str(tmp_path / folder))
    assert main(words) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1
    assert said in printed[0]
    assert not (tmp_path / "out").exists()


def test_the_start_alone_can_be_asked_for(tmp_path, capsys):
    words = ["bench", "--cases", str(write_set(tmp_path)), "--data", str(tmp_path)]
    assert main([*words, "--results", str(tmp_path / "r.jsonl"), "--tools", "start"]) == 0
    assert "| start | 1 |" in capsys.readouterr().out


def test_where_every_run_fails_the_command_fails(tmp_path, monkeypatch):
    cases = write_set(tmp_path)
    monkeypatch.setattr(sweeping, "execute", lambda *_: {"error": "no luck"})
    words = ["bench", "--cases", str(cases), "--data", str(tmp_path), "--tools", "short"]
    assert main([*words, "--results", str(tmp_path / "r.jsonl")]) == 1
    monkeypatch.setattr(sweeping, "execute", lambda *_: {"dice": 0.5, "cpu_s": 1.0})
    assert main([*words, "--results", str(tmp_path / "r.jsonl"), "--threads", "1"]) == 0
    assert main([*words, "--results", str(tmp_path / "r.jsonl")]) == 1  # those were other runs
    (tmp_path / "r.jsonl").unlink()
    monkeypatch.setattr(sweeping, "execute", lambda *_: {"error": "no luck"})
    picture = tmp_path / "p.png"
    again = [*words, "--results", str(tmp_path / "r.jsonl"), "--picture", str(picture)]
    assert main(again) == 2
    assert not picture.exists()


@pytest.mark.parametrize("option", ["--results", "--table", "--picture"])
def test_what_cannot_be_written_is_refused_before_anything_runs(option, tmp_path, capsys):
    assert main(["bench", "--data", str(tmp_path), option, str(tmp_path)]) == 2
    assert f"{option}: {tmp_path} cannot be written" in capsys.readouterr().err


def test_no_pairs_and_lines_that_are_no_runs_are_refused(tmp_path, capsys):
    assert main(["bench", "--pairs", "-1"]) == 2
    (tmp_path / "runs.jsonl").write_text('{"a": 1}\n3\n')
    assert main(["bench", "--no-runs", "--results", str(tmp_path / "runs.jsonl")]) == 2
    assert "no" in capsys.readouterr().err
