"""The state of a training between two steps, which can be saved and restored."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch

from ..errors import RegRefineError
from ..io.paths import present, written_aside
from ..networks.base import RegistrationNetwork
from ..weights import load
from ..weights.checkpoint import save
from .recipe import Recipe, code_version
from .source import Source

FORMAT = 1
STATE, WEIGHTS = "state.pt", "weights.safetensors"


class State:
    """The network, the mean of its weights, the optimiser and the next step.

    Args:
        source: of the pairs; its fingerprint and preprocessing are written down.
        begins: load the recipe's initial weights; a resumed training has its own.
    """

    def __init__(
        self, recipe: Recipe, source: Source, device: torch.device, begins: bool = True
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.data, self.step = recipe, source.fingerprint(), 0
        self.preprocessing = dict(source.preprocessing)
        self.network = load.build(recipe.network, recipe.options).to(device).train()
        if recipe.begin_with and begins:
            _begin(self.network, recipe.begin_with)
        self.mean = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(),
            lr=recipe.learning_rate,
            betas=(0.9, recipe.memory),
            amsgrad=recipe.amsgrad,
        )

    @torch.no_grad()
    def follow(self) -> None:
        """Move the mean weights towards the current ones; quickly in early training."""
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
        if self.network.recursive:  # it is to register with the steps that it was trained on
            options.setdefault("steps", self.recipe.stages)
        save(folder / WEIGHTS, self.mean, self.recipe.network, options, more)
        with written_aside(folder / STATE) as aside:  # last: what it says is there is there
            torch.save(content, aside)

    def load(self, folder: Path) -> str:
        """Restore the state from a folder; return a warning, or "".

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
        if content["step"] > self.recipe.steps:
            raise RegRefineError(
                f"steps: {content['step']} are done already in {folder}, got {self.recipe.steps}; "
                "steps can be raised, or train into another folder"
            )
        self.network.load_state_dict(content["network"])
        self.mean.load_state_dict(content["mean"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.step = content["step"]
        return "; ".join(self._changes(content))

    def _changes(self, content: dict[str, Any]) -> list[str]:
        """Return in words what makes a continued training differ from an uninterrupted one."""
        before, changes = json.loads(content["recipe"])["steps"], []
        if before != self.recipe.steps:
            changes.append(
                f"steps are {self.recipe.steps} now and were {before}: from step {self.step} on "
                "the learning rate is that of the new number"
            )
        if content["code"] != code_version():
            changes.append(
                f"the code changed since step {self.step} ({content['code']}, now "
                f"{code_version()}); the weights may not come out as from one run"
            )
        return changes


def _begin(network: RegistrationNetwork, weights: str) -> None:
    """Start a network from the weights of a model or a file."""
    try:
        network.begin_with(load.load(weights).network)
    except RuntimeError as error:
        raise RegRefineError(
            f"begin_with: {weights} is of another network, or of other options; give the network "
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
