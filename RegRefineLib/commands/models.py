"""regrefine models list | fetch NAME | verify NAME | remove NAME"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from .terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("action", choices=("list", "fetch", "verify", "remove"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="models; see `models list`")
    parser.add_argument("--yes", action="store_true", help="answer yes to the download's question")


def run(arguments: argparse.Namespace) -> int:
    """Do it for each name, or list all models."""
    from ..errors import RegRefineError
    from ..weights import catalogue, store

    if arguments.action == "list":
        if catalogue.missing():
            raise RegRefineError(catalogue.missing())
        for model in catalogue.catalogue().values():
            say(f"{model.name}\n    {model.help}")
            size = f", {model.size_mb:g} MB" if model.size_mb else ""
            say(f"    {model.network}{size}, {catalogue.status(model)}; {model.licence}")
        return 0
    if not arguments.names:
        raise RegRefineError(
            f"models {arguments.action}: name a model; see `regrefine models list`"
        )
    for name in arguments.names:
        if arguments.action == "fetch":
            say(str(_fetched(name, arguments.yes)))
        elif arguments.action == "verify":
            say(f"{name}: {store.verify(name)}")
        else:
            say(f"{name}: {'removed' if store.remove(name) else 'was not there'}")
    return 0


def _fetched(name: str, agreed: bool) -> Path:
    """Fetch with a bar; --yes answers the question of the download, not one about its hash."""
    from ..weights import store

    bar: tqdm | None = None
    questions = 0

    def close() -> None:
        nonlocal bar
        if bar is not None:
            bar.close()
        bar = None

    def consent(question: str) -> bool:
        nonlocal questions
        close()
        questions += 1
        if questions > 1:
            return _asked(question, "this takes somebody at a terminal")
        return agreed or _asked(question, "--yes says yes")

    def progress(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(unit="B", unit_scale=True, desc=name, leave=False, disable=None)
        bar.total = total or None
        bar.update(done - bar.n)

    try:
        return store.fetch(name, consent, progress)
    finally:
        close()


def _asked(question: str, otherwise: str) -> bool:
    """Return the user's answer; without anybody to ask it is no, and `otherwise` is said."""
    if not sys.stdin.isatty():
        say(f"{question} ({otherwise})")
        return False
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
