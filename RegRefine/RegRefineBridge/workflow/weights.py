"""Models whose weights are not on this machine yet: what is asked before they are downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from RegRefineLib.errors import RegRefineError
from RegRefineLib.job import Job

from ..i18n import _
from .job_choices import missingWeights, weightsOf

if TYPE_CHECKING:
    from RegRefineLib.weights.catalogue import Model


def toFetch(job: Job) -> list[Model]:
    """Return the models that a job needs and that are still to be downloaded.

    None are known before the packages of Resources/requirements.txt are there.

    Raises:
        RegRefineError: a model is unknown, or can only be got by hand; it says where.
    """
    try:
        from RegRefineLib.weights.catalogue import find_model, local_file
    except ImportError:
        return []
    models = [find_model(name) for name in weightsOf(job) if not _isFile(name)]
    missing = [model for model in models if local_file(model) is None]
    for model in missing:
        if model.url is None:
            raise RegRefineError(
                _(
                    "The weights {name} cannot be downloaded by a program. Get them from {page} "
                    "and choose the file."
                ).format(name=model.name, page=model.page)
            )
    return missing


class NetworkRow(NamedTuple):
    """A line of the list of networks."""

    name: str
    text: str
    tip: str
    fetched: bool


def networkRows() -> list[NetworkRow]:
    """Return a line for each model: organ, kind of image, size, and whether it is here."""
    from RegRefineLib.weights.catalogue import catalogue

    try:
        models = catalogue()
    except RegRefineError:
        return []
    return [_networkRow(model) for model in models.values()]


def _networkRow(model: Model) -> NetworkRow:
    state = _state(model)
    place = {
        "bundled": _("here"),
        "fetched": _("here"),
        "published": _("to be fetched, {size}").format(size=_size(model)),
        "by hand": _("by hand"),
    }[state]
    kind = ", ".join(filter(None, [model.organ, model.modality]))
    tip = [
        model.help,
        _("For: {kind}").format(kind=kind or _("see its page")),
        _("Size: {size}").format(size=_size(model)),
        _("Licence: {licence}").format(licence=model.licence),
        _("Trained on: {data}").format(data=model.training_data),
    ]
    if state == "published":
        tip.append(_("Not on this computer; you are asked before it is downloaded."))
    if state == "by hand":
        tip.append(_("Get it from {page} and choose the file.").format(page=model.page))
    text = f"{kind}: {model.name} ({place})" if kind else f"{model.name} ({place})"
    return NetworkRow(model.name, text[:1].upper() + text[1:], "\n".join(tip), state == "fetched")


def _state(model: Model) -> str:
    """Return bundled, fetched, published or by hand."""
    from RegRefineLib.weights.catalogue import status

    try:
        return status(model)
    except ImportError:  # pooch is not installed before the first run: nothing was fetched yet
        return "published" if model.url else "bundled" if model.sha256 else "by hand"


def removeFetched(names: Sequence[str]) -> list[str]:
    """Delete downloaded weights; return the names of those that were there.

    Raises:
        RegRefineError: a file cannot be deleted.
    """
    from RegRefineLib.weights.store import remove

    return [name for name in names if remove(name)]


def missing(job: Job) -> str:
    """Return what keeps a job from running as to its networks' weights, or ""."""
    wrong = missingWeights(job)
    try:
        if not wrong:
            toFetch(job)
    except RegRefineError as error:
        return str(error)
    return wrong


def question(models: Sequence[Model]) -> str:
    """Return what the user is asked: what comes, how much, from where, under which licence."""
    return "\n\n".join([*map(_described, models), _("Download now?")])


def summary(job: Job) -> str:
    """Return a line about the weights a job will download, or ""."""
    try:
        return " ".join(
            _("The weights {name} ({size}) will be downloaded; you are asked first.").format(
                name=model.name, size=_size(model)
            )
            for model in toFetch(job)
        )
    except RegRefineError:
        return ""  # `missing` reports it


def _described(model: Model) -> str:
    from RegRefineLib.weights.catalogue import cache_folder
    from RegRefineLib.weights.store import known_hash

    lines = [
        _("The network needs the weights {name}, which are not on this computer.").format(
            name=model.name
        ),
        _("Size: {size}").format(size=_size(model)),
        _("Licence: {licence}").format(licence=model.licence),
        _("Trained on: {data}").format(data=model.training_data),
        _("From: {url}").format(url=model.url),
        _("Kept in: {folder}").format(folder=cache_folder()),
    ]
    if known_hash(model) is None:
        lines.append(
            _(
                "No checksum of this file has been published: the one that comes is accepted, and "
                "from then on only that one."
            )
        )
    return "\n".join(lines)


def _size(model: Model) -> str:
    if not model.size_mb:
        return _("not known")
    return _("about {size:.0f} MB").format(size=model.size_mb)


def _isFile(weights: str) -> bool:
    """Whether the weights are given as a file: models' names have no ending."""
    return "." in weights or "/" in weights
