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
    from ..job import RegRefineError
    from ..weights import catalogue, store

    if arguments.action == "list":
        for model in catalogue.catalogue().values():
            say(f"{model.name}\n    {model.help}")
            say(f"    {model.network}, {catalogue.status(model)}; {model.licence}")
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
    from ..weights import catalogue, store

    catalogue.find_model(name)  # before there is a bar
    questions = 0

    def consent(question: str) -> bool:
        nonlocal questions
        questions += 1
        return (agreed and questions == 1) or _asked(question)

    with tqdm(unit="B", unit_scale=True, desc=name, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        return store.fetch(name, consent, progress)


def _asked(question: str) -> bool:
    """Return the user's answer; without anybody to ask it is no."""
    if not sys.stdin.isatty():
        say(f"{question} (--yes says yes)")
        return False
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
