"""A training as it stands between two steps: all that the next step needs, on disk and back."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import RegRefineError
from ..io.paths import present, written_aside
from ..networks.firework import FiReworkVM
from ..networks.voxelmorph import VoxelMorph
from ..weights import load
from ..weights.checkpoint import save
from .recipe import Recipe, code_version
from .source import Source

FORMAT = 1
STATE, WEIGHTS = "state.pt", "weights.safetensors"


class State:
    """The network, the mean of its weights, the optimiser and the step that comes next.

    Args:
        source: of the pairs; its fingerprint and preprocessing are written down.
        begins: with the recipe's weights; a training that goes on has its own.
    """

    def __init__(
        self, recipe: Recipe, source: Source, device: torch.device, begins: bool = True
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.data, self.step = recipe, source.fingerprint(), 0
        self.preprocessing = dict(source.preprocessing)
        self.network = load.build(recipe.network, recipe.options).to(device).train()
        if recipe.begin_with and begins:
            _begin(self.network, load.load(recipe.begin_with).network, recipe.begin_with)
        self.mean = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(),
            lr=recipe.learning_rate,
            betas=(0.9, recipe.memory),
            amsgrad=recipe.amsgrad,
        )

    @torch.no_grad()
    def follow(self) -> None:
        """Move the mean weights towards the present ones; quickly at first, while these are raw."""
        past = min(self.recipe.ema, (1 + self.step) / (10 + self.step)) if self.recipe.ema else 0.0
        own = self.network.state_dict()
        for name, mean in self.mean.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(own[name], 1 - past)
            else:
                mean.copy_(own[name])

    def save(self, folder: Path) -> None:
        """Write the state, and the mean weights as a file that registers."""
        content = {
            "format": FORMAT,
            "step": self.step,
            "recipe": self.recipe.to_json(),
            "data": self.data,
            "code": code_version(),
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        more = {
            "preprocessing": self.preprocessing,
            "training": {
                "recipe": self.recipe.to_json(),
                "steps_done": self.step,
                "data": self.data,
                "code": content["code"],
            },
        }
        options = dict(self.recipe.options)
        if hasattr(self.network, "following"):  # registers with as many steps as it was trained on
            options.setdefault("steps", self.recipe.stages)
        save(folder / WEIGHTS, self.mean, self.recipe.network, options, more)
        with written_aside(folder / STATE) as aside:  # last: what it says is there is there
            torch.save(content, aside)

    def load(self, folder: Path) -> str:
        """Take up the state of a folder; return a warning, or "".

        Raises:
            RegRefineError: the file is damaged, or of another recipe or other pairs.
        """
        path = present(folder / STATE)
        content = _content(path)
        differing = self.recipe.differences(content["recipe"])
        if content["data"] != self.data:
            differing.append("the pairs")
        if differing:
            raise RegRefineError(
                f"{path}: was made with another {', '.join(differing)}; give the same, or train "
                "into another folder"
            )
        self.network.load_state_dict(content["network"])
        self.mean.load_state_dict(content["mean"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.step = content["step"]
        if content["code"] != code_version():
            return (
                f"the code changed since step {self.step} ({content['code']}, now "
                f"{code_version()}); the weights may not come out as from one run"
            )
        return ""


def _begin(network: nn.Module, given: nn.Module, name: str) -> None:
    """Give a network the weights of another of its kind, FiRework also those of a plain one."""
    try:
        if isinstance(network, FiReworkVM) and isinstance(given, VoxelMorph):
            if given.int_steps:
                raise RegRefineError(
                    f"begin_with: {name} integrates a velocity; FiRework begins with a displacement"
                )
            network.begin_as(given)
        else:
            network.load_state_dict(given.state_dict())
    except RuntimeError as error:
        raise RegRefineError(
            f"begin_with: {name} is of another network, or of other options; give the network "
            "the same (encoder, decoder, half_resolution ...)"
        ) from error


def _content(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        version = content["format"]
    except (RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise RegRefineError(
            f"{path}: is damaged ({str(error)[:80]}); remove it to train from the start"
        ) from error
    if version != FORMAT:
        raise RegRefineError(f"{path}: of format {version}, this version reads {FORMAT}")
    return content
