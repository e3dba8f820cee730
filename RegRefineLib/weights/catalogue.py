"""The models listed in models.json: what each is, the images it requires, where its file is."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import RegRefineError, unknown
from ..io import paths
from ..job import INTENSITIES

FORMAT = 1  # of models.json
FOLDER_VARIABLE = "REGREFINE_MODELS"


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of images that a model requires.

    Attributes:
        intensity: the ranges (job.INTENSITIES) that fit, the usual one first.
        orientation: the directions of the array's axes, such as "LIA"; None: unchanged.
        spacing_mm: voxel size; None: unchanged.
        shape: sizes that the images are resampled to; None: unchanged, but padded.
        level: (percentile, value): each image is multiplied so that this percentile of its positive
            voxels has this value; None: unchanged.
    """

    intensity: tuple[str, ...] = ("minmax",)
    orientation: str | None = None
    spacing_mm: float | None = None
    shape: tuple[int, int, int] | None = None
    level: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        strange = [name for name in self.intensity if name not in INTENSITIES]
        if strange:
            raise RegRefineError(f"intensity: one of {', '.join(INTENSITIES)}, got {strange[0]!r}")
        axes = {frozenset("RL"), frozenset("AP"), frozenset("IS")}
        letters = self.orientation or "RAS"
        if len(letters) != 3 or {a for a in axes if a & set(letters)} != axes:
            raise RegRefineError(f"orientation: such as RAS or LIA, got {self.orientation!r}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Return it from models.json or a file's metadata; lists become tuples."""
        names = {f.name for f in fields(cls)}
        strange = sorted(set(values) - names)
        if strange:
            raise RegRefineError(f"preprocessing: unknown {', '.join(strange)}")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**given)


@dataclass(frozen=True)
class Model:
    """An entry of models.json; the schema beside it says what each value means."""

    name: str
    help: str
    network: str
    licence: str
    training_data: str
    citation: str
    file: str
    options: dict[str, Any] = field(default_factory=dict)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    url: str | None = None
    page: str | None = None
    sha256: str | None = None
    size_mb: float | None = None
    training: str = ""
    notes: str = ""
    organ: str = ""
    modality: str = ""


def folder() -> Path:
    """Return the folder of models.json: $REGREFINE_MODELS, the checkout's, or the installed one."""
    given = os.environ.get(FOLDER_VARIABLE)
    checkout = Path(__file__).resolve().parents[2] / "models"
    installed = Path(sys.prefix) / "share" / "regrefine" / "models"
    places = [Path(given)] if given else [checkout, installed]
    return next((p for p in places if (p / "models.json").is_file()), places[0])


def cache_folder() -> Path:
    """Return the folder of downloaded weights, in the user's cache."""
    return paths.cache_folder() / "models"


def catalogue() -> dict[str, Model]:
    """Return every model of models.json by name; none where there is no such file (`missing`).

    Raises:
        RegRefineError: the file is damaged, or of a newer format than this version reads.
    """
    path = folder() / "models.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise RegRefineError(
                f"{path}: format {content['format']} is newer than this version reads ({FORMAT}); "
                "update RegRefine"
            )
        return {name: _model(name, values) for name, values in content["models"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegRefineError(f"{path}: is damaged ({error}); install RegRefine anew") from error


def missing() -> str:
    """Return the sentence that there is no models.json, or "" where there is one."""
    path = folder() / "models.json"
    if path.is_file():
        return ""
    return (
        f"{path}: there is no such file, so no models are known by name; install RegRefine anew, "
        f"or set {FOLDER_VARIABLE} to the folder that holds it"
    )


def _model(name: str, values: Mapping[str, Any]) -> Model:
    preprocessing = Preprocessing.from_json(values.get("preprocessing", {}))
    return Model(**{**values, "name": name, "preprocessing": preprocessing})


def find_model(name: str) -> Model:
    """Return the model of that name.

    Raises:
        RegRefineError: there is none; the message suggests the nearest, or says that the catalogue
            is missing.
    """
    models = catalogue()
    if name not in models:
        if missing():
            raise RegRefineError(f"unknown model {name!r}; {missing()}")
        raise unknown("model", name, models)
    return models[name]


def recognised(digest: str) -> Model | None:
    """Return the model whose file has this SHA-256, whatever the file is called, or None."""
    return next((m for m in catalogue().values() if m.sha256 == digest), None)


def local_file(model: Model) -> Path | None:
    """Return the path of the model's file, bundled or downloaded, or None.

    Only files that the project itself ships are looked for beside models.json.
    """
    places = [cache_folder() / model.name / model.file]
    if model.url is None or model.sha256 is not None:
        places.insert(0, folder() / model.file)
    return next((p for p in places if p.is_file()), None)


def status(model: Model) -> str:
    """Return bundled, fetched, published (to be fetched) or by hand (from its page)."""
    path = local_file(model)
    if path is None:
        return "published" if model.url else "by hand"
    return "fetched" if cache_folder() in path.parents else "bundled"
