"""regrefine bench: RegRefine beside other tools, on the same pairs, before the same judge."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RegRefineError
from ..io.paths import written_aside
from .terminal import say

if TYPE_CHECKING:
    from ..bench.cases import Case
    from ..bench.records import Results

_VARIABLE = "REGREFINE_DATA"
_Variants = Mapping[str, Mapping[str, Any]]


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    what = parser.add_argument_group("what to run")
    what.add_argument(
        "--cases", metavar="JSON", help="sets of pairs (RegRefineLib/bench/cases.json)"
    )
    what.add_argument("--data", metavar="DIR", help=f"root of the cases' paths ({_VARIABLE})")
    what.add_argument("--sets", nargs="+", metavar="SET", help="only these sets")
    what.add_argument("--pairs", type=int, metavar="N", help="only the first N of each set")
    what.add_argument("--tools", nargs="+", metavar="TOOL", help="tools or variants, in this order")
    groups = what.add_mutually_exclusive_group()
    groups.add_argument(
        "--ablation", action="store_true",
        help="default and, one at a time, without each of its ingredients; a table of its own",
    )  # fmt: skip
    groups.add_argument(
        "--curves", action="store_true",
        help="every tool at several budgets; --picture shows Dice and folds over CPU seconds",
    )  # fmt: skip
    groups.add_argument(
        "--kernels", action="store_true",
        help="instead: each operation in torch and compiled, beside a plain copy",
    )  # fmt: skip
    what.add_argument(
        "--dataset", choices=("acdc", "lpba40", "mindboggle", "abdomenctct"),
        help="instead: its published test pairs, before and after Reg-TTR, per start",
    )  # fmt: skip
    what.add_argument("--root", metavar="DIR", help="where the dataset lies")
    how = parser.add_argument_group("how")
    how.add_argument("--threads", type=int, default=2, help="of every tool (2)")
    how.add_argument("--limit", type=float, default=3600, metavar="S", help="seconds a run (3600)")
    how.add_argument("--again", action="store_true", help="repeat what failed before")
    how.add_argument("--environments", metavar="DIR", help="of the peers (REGREFINE_PEERS)")
    how.add_argument(
        "--install", nargs="+", metavar="TOOL", help="make these tools' environments and stop"
    )
    out = parser.add_argument_group("results")
    out.add_argument("--results", metavar="FILE", default="bench-output/results.jsonl",
                     help="a JSON line per run; runs that are there are left out")  # fmt: skip
    out.add_argument("--no-runs", action="store_true", help="show the results that are there")
    out.add_argument("--table", metavar="FILE", help="write the Markdown table here too")
    out.add_argument("--picture", metavar="FILE", help="write a PNG: Dice over CPU seconds")


def run(arguments: argparse.Namespace) -> int:
    """Run what is missing, then show the table."""
    from ..bench import environments
    from ..bench.records import Results

    if arguments.threads < 1 or not 0 < arguments.limit < math.inf:
        raise RegRefineError("--threads is 1 or more, --limit more than 0 seconds")
    if arguments.pairs is not None and arguments.pairs < 1:
        raise RegRefineError("--pairs is 1 or more")
    for option in ("results", "table", "picture"):
        _check_place(getattr(arguments, option), option)
    if arguments.kernels:
        return _kernels(arguments.threads)
    place = environments.folder(arguments.environments)
    if arguments.install:
        return _install(arguments.install, place)
    results = Results(Path(arguments.results))
    done = True if arguments.no_runs else _sweep(arguments, results, place)
    _show(arguments, results)
    return 0 if done else 1


def _kernels(threads: int) -> int:
    """Show each operation's nanoseconds per voxel as soon as they are known."""
    import torch

    from ..bench import kernels

    torch.set_num_threads(threads)
    say(kernels.HEAD)
    for row in kernels.rows():
        say(str(row))
    return 0


def _check_place(path: str | None, option: str) -> None:
    """Refuse what cannot be written now, not after hours of runs."""
    if path is None:
        return
    folder = next(p for p in Path(path).resolve().parents if p.exists())
    if Path(path).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RegRefineError(f"--{option}: {path} cannot be written; name a file in your folder")


def _install(names: list[str], place: Path) -> int:
    from ..bench.environments import install
    from ..bench.tools import tool_named

    for name in names:
        say(f"{name}: {install(tool_named(name, {}), place)}")
    return 0


def _sweep(arguments: argparse.Namespace, results: Results, place: Path) -> bool:
    """Run what is missing; return whether any run of what was asked for went well."""
    from ..bench.sweep import Plan, sweep
    from ..bench.tools import TOOLS

    cases, variants = _cases(arguments)
    every = _group(arguments) or (list(variants) if arguments.dataset else list(TOOLS))
    tools = arguments.tools or every
    if arguments.tools:
        _check_installed(tools, variants, place)
    plan = Plan(
        Path(arguments.results).parent / "pairs",
        place,
        arguments.threads,
        arguments.limit,
        arguments.again,
    )
    sweep(cases, tools, variants, results, plan, say)
    pairs = {case.name for case in cases}
    asked = [
        r
        for r in results.all()
        if r["case"] in pairs and r["tool"] in tools and r["threads"] == arguments.threads
    ]
    return not asked or any("error" not in record for record in asked)


def _check_installed(names: list[str], variants: _Variants, place: Path) -> None:
    """Refuse tools that were named and are not installed; without names, the installed ones run."""
    from ..bench.environments import python_of
    from ..bench.sweep import START
    from ..bench.tools import tool_named

    tools = [name for name in names if name != START]
    there = {name: python_of(tool_named(name, variants), place) for name in tools}
    missing = [name for name, python in there.items() if python is None]
    if missing:
        raise RegRefineError(
            f"--tools: {', '.join(missing)} not installed in {place}; "
            "regrefine bench --install TOOL makes an environment"
        )


def _cases(arguments: argparse.Namespace) -> tuple[list[Case], _Variants]:
    """Return the pairs to run, and the variants of tools by name."""
    from ..bench import reg_ttr_tables as published
    from ..bench.cases import cases_file, check_files, read_cases

    if arguments.dataset:
        if not arguments.root:
            raise RegRefineError(f"--root: name the folder that holds {arguments.dataset}")
        cohort = published.DATASETS[arguments.dataset]
        cases = published.cohort_cases(cohort, Path(arguments.root))
        return cases[: arguments.pairs], published.variants(cohort)
    named = arguments.data or os.environ.get(_VARIABLE)
    if not named:
        raise RegRefineError(f"--data: name the folder of the scans, or set {_VARIABLE}")
    data = Path(named)
    if not data.is_dir():
        raise RegRefineError(f"--data: {data} is not there; name the folder of the scans")
    sets, variants = read_cases(cases_file(arguments.cases), data)
    unknown = sorted(set(arguments.sets or ()) - set(sets))
    if unknown:
        raise RegRefineError(f"--sets: no {', '.join(unknown)}; there are {', '.join(sets)}")
    cases = [case for name in arguments.sets or sets for case in sets[name][: arguments.pairs]]
    check_files(cases, data)
    return cases, variants


def _group(arguments: argparse.Namespace) -> list[str]:
    """Return the names of the tools of the group that was asked for."""
    from ..bench.cases import cases_file, read_groups

    if not (arguments.ablation or arguments.curves):
        return []
    if arguments.dataset:
        raise RegRefineError("--ablation, --curves: of the cases' sets, not of a --dataset")
    ablation, curves = read_groups(cases_file(arguments.cases))
    if arguments.ablation:
        from ..bench.ablation import BASE

        return [BASE, *ablation]
    return list(dict.fromkeys(name for names in curves.values() for name in names))


def _show(arguments: argparse.Namespace, results: Results) -> None:
    from ..bench import ablation, curves, picture
    from ..bench.cases import cases_file, read_groups
    from ..bench.summary import tables

    records = results.all(arguments.sets)
    if not records:
        wanted = f" of {', '.join(arguments.sets)}" if arguments.sets else ""
        raise RegRefineError(f"--results: {arguments.results} holds no runs{wanted} yet")
    grouped = arguments.ablation or arguments.curves
    without, lines = read_groups(cases_file(arguments.cases)) if grouped else ([], {})
    text = ablation.table(records, without) if arguments.ablation else tables(records)
    say(text)
    if arguments.table:
        with written_aside(arguments.table) as aside:
            aside.write_text(text, encoding="utf-8")
    if arguments.picture and arguments.curves:
        curves.draw(records, lines, Path(arguments.picture))
    elif arguments.picture:
        picture.draw(records, Path(arguments.picture))
