"""What determines a training besides the pairs: the network, the loss and the optimisation."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import __version__, registry
from ..errors import RegRefineError
from ..networks.base import Sizes
from ..weights import load

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Recipe:
    """The settings of a training. The defaults are FiRework's recipe.

    Attributes:
        network, options: a row of registry.NETWORKS and its constructor's options.
        begin_with: weights to begin with, a model or a file, of the same network or, for
            firework-vm, of a plain VoxelMorph of the same features; "": random ones.
        steps: of the descent; the learning rate falls to zero over them.
        stages: fields in the loss: FiRework's first ones; of a plain network its cascade on its own
            output. The paper takes 2; 1 is the plain unsupervised loss.
        similarity: ncc, mean-squares, or another name of `regrefine list similarities`.
        similarity_weight, smooth_weight, dice_weight: factors of the similarity, of the squared
            gradient and of the soft Dice loss, which needs labels.
        field_weight: factor of the squared error relative to the true displacement's square, where
            a synthetic pair comes with its displacement.
        dice_stride: the Dice loss uses one voxel in this many along each axis.
        learning_rate, decay: Adam's rate is learning_rate * (1 - step / steps) ** decay.
        memory: share of the gradients' squares that Adam keeps at each step.
        amsgrad: whether Adam's steps stay as small as the largest gradients made them.
        ema: weight of the past in the mean of the weights that is saved; 0 keeps the last ones.
        batch: pairs per step, one after the other.
        precision: float32, bfloat16 for the convolutions alone, or auto: bfloat16 where CUDA is.
        seed: of the initial weights and of all randomness in the network.
    """

    network: str = "firework-vm"
    options: dict[str, Any] = field(default_factory=dict)
    begin_with: str = ""
    steps: int = 20_000
    stages: int = 2
    similarity: str = "ncc"
    similarity_weight: float = 1.0
    smooth_weight: float = 1.0
    dice_weight: float = 0.0
    field_weight: float = 0.0
    dice_stride: int = 1
    learning_rate: float = 1e-4
    decay: float = 0.9
    memory: float = 0.999
    amsgrad: bool = True
    ema: float = 0.999
    batch: int = 1
    precision: str = "auto"
    seed: int = 24

    def __post_init__(self) -> None:
        registry.find("network", self.network)
        registry.find("similarity", self.similarity)
        if min(self.steps, self.stages, self.batch, self.dice_stride) < 1:
            raise RegRefineError("training: steps, stages, batch, dice_stride are at least 1")
        rates_fit = 0 <= self.ema < 1 and 0 <= self.memory < 1
        if self.learning_rate <= 0 or self.decay < 0 or not rates_fit:
            raise RegRefineError(
                "training: learning_rate is positive, decay not negative, ema and memory from 0 to "
                "below 1"
            )
        if not 0 <= self.seed < 2**63:
            raise RegRefineError("seed: a whole number from 0 to below 2^63")
        weights = (self.similarity_weight, self.smooth_weight, self.dice_weight, self.field_weight)
        if min(weights) < 0:
            raise RegRefineError("training: the weights of the loss cannot be negative")
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise RegRefineError(f"precision: one of {known}, got {self.precision!r}")

    def completed(self, shape: Sizes) -> Recipe:
        """Return the recipe with the options that its network wants for images of `shape`.

        Options that are given win, and so do those of the weights to begin with.
        """
        if self.begin_with:
            return self
        wanted = load.kind_of(self.network).options_for(shape)
        return replace(self, options={**wanted, **self.options})

    def precision_on(self, device: str) -> str:
        """Return float32 or bfloat16, whichever the convolutions run in on a type of device."""
        if self.precision != "auto":
            return self.precision
        return "bfloat16" if device == "cuda" else "float32"

    def to_json(self) -> str:
        """Return the recipe as a line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def differences(self, line: str) -> list[str]:
        """Return the names of the settings that differ from those of a `to_json` line.

        The number of steps is not compared: a training may be prolonged.
        """
        other, own = json.loads(line), json.loads(self.to_json())
        names = [f.name for f in fields(self) if f.name != "steps"]
        return [name for name in names if other.get(name) != own[name]]

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.learning_rate * (1 - step / self.steps) ** self.decay


@lru_cache(maxsize=1)
def code_version() -> str:
    """Return the library's version and a digest of its files, which tells one state from others."""
    folder = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"
