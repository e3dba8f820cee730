"""The user's store of published weights: downloaded on consent, verified by SHA-256, removable.

If the hash of a published file is not known, the first download shows the computed one and asks for
confirmation; the answer is stored per address.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pooch

from ..errors import RegRefineError
from ..io.paths import quiet_pooch, written_aside
from .catalogue import Model, cache_folder, find_model, local_file
from .download import ProgressBytes, check_address, download

# called with a question in sentences; True means yes
Consent = Callable[[str], bool]


def known_hash(model: Model) -> str | None:
    """Return the SHA-256 of models.json, else the one accepted at the first download, or None."""
    return model.sha256 or _accepted().get(model.url or "")


def _accepted() -> dict[str, str]:
    try:
        content = json.loads((cache_folder() / "accepted.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _accept(url: str, digest: str | None) -> None:
    """Store (or with None delete) the hash of the file at `url`."""
    kept = {**_accepted(), url: digest}
    text = json.dumps({u: d for u, d in kept.items() if d}, indent=1)
    with written_aside(cache_folder() / "accepted.json") as aside:
        aside.write_text(text, encoding="utf-8")


def fetch(name: str, consent: Consent, progress: ProgressBytes | None = None) -> Path:
    """Return the verified file of a model, downloading it on consent if it is not here.

    Args:
        consent: called before anything is downloaded, and again with the computed hash if none is
            known.
        progress: called with the bytes so far and the total.

    Raises:
        RegRefineError: no such model, no address, the answer is no, the file is not the one
            known, or the download fails (see download.py).
    """
    model = find_model(name)
    here = local_file(model)
    if here is not None:
        if _unaccepted(model, here):
            _trust_or_delete(model, here, consent)
        verify(name)
        return here
    if model.url is None:
        raise RegRefineError(
            f"model {name}: has no address to download from; get it from {model.page} and give "
            "its path as the weights"
        )
    check_address(model.url)
    if not consent(_question(model)):
        raise RegRefineError(f"model {name}: not downloaded, because the answer was no")
    path = _retrieve(model, progress)
    if known_hash(model) is None:
        _trust_or_delete(model, path, consent)
    return path


def _question(model: Model) -> str:
    size = f"about {model.size_mb:.0f} MB" if model.size_mb else "a file of unknown size"
    return (
        f"Download {model.name} ({size}) from {urlsplit(model.url or '').hostname} to "
        f"{cache_folder()}? Licence: {model.licence}. Trained on: {model.training_data}."
    )


def _retrieve(model: Model, progress: ProgressBytes | None) -> Path:
    digest = known_hash(model)
    place = cache_folder() / model.name
    resumable = place / f"{model.file}.unverified"  # pooch's target has another name each time

    def go(url: str, target: str, _: Any) -> None:
        download(url, resumable, progress, pinned=digest is not None)
        resumable.replace(target)

    known = f"sha256:{digest}" if digest else None
    try:
        with quiet_pooch():
            found = pooch.retrieve(
                url=model.url, known_hash=known, fname=model.file, path=place, downloader=go
            )
    except ValueError as error:  # pooch's word for a wrong hash; the file is gone by then
        raise RegRefineError(
            f"model {model.name}: what {model.url} sent is not the file known here (its SHA-256 "
            "differs), so it was deleted; try again later, and do not use it from elsewhere"
        ) from error
    except OSError as error:
        raise RegRefineError(f"{place}: cannot be written ({error.strerror or error})") from error
    return Path(found)


def _unaccepted(model: Model, path: Path) -> bool:
    """Whether a downloaded file waits for the answer about its hash."""
    return known_hash(model) is None and cache_folder() in path.parents


def _trust_or_delete(model: Model, path: Path, consent: Consent) -> None:
    """Ask about a file without a published hash; keep both file and hash, or neither."""
    digest = sha256(path)
    question = (
        f"No SHA-256 of {model.name} has been published. The file that came has {digest}. "
        "Keep it, and accept only this file from now on?"
    )
    if not consent(question):
        path.unlink()
        raise RegRefineError(f"model {model.name}: deleted, because its hash was not accepted")
    _accept(model.url or "", digest)


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    return str(pooch.file_hash(str(path), alg="sha256"))


def verify(name: str) -> str:
    """Return the SHA-256 of a model's file on this machine after comparing it with the known one.

    Raises:
        RegRefineError: the file is not here, or differs.
    """
    model = find_model(name)
    path = local_file(model)
    if path is None:
        get = "fetch it first" if model.url else f"get it from {model.page} and name it by its path"
        raise RegRefineError(f"model {name}: is not on this machine; {get}")
    if _unaccepted(model, path):
        raise RegRefineError(f"{path}: its hash was never accepted; fetch {name} again")
    found, known = sha256(path), known_hash(model)
    if known is not None and found != known:
        raise RegRefineError(
            f"{path}: is damaged or altered: its SHA-256 is {found}, not {known}; remove it and "
            "fetch it anew"
        )
    return found


def remove(name: str) -> bool:
    """Delete a downloaded model and any partial download; return whether there was one.

    An accepted hash that was not published is deleted with it.
    """
    model = find_model(name)
    place = cache_folder() / model.name
    if not place.is_dir():
        return False
    try:
        shutil.rmtree(place)
    except OSError as error:
        raise RegRefineError(f"{place}: cannot be deleted ({error.strerror})") from error
    if model.url in _accepted():
        _accept(model.url or "", None)
    return True
