"""The training loop: a pair, its fields, the loss, a step of Adam; resumable to the step.

FiRework's loss (arXiv 2410.09595, eq. 5), over the fields of the first stages,

    L = sum over k of  NCC(I_f, I_m o phi^k) + lambda * |grad phi^k|^2  (+ mu * Dice)

and with one stage the plain unsupervised (semi-supervised) loss of VoxelMorph and its descendants.
All randomness in a step depends only on the seed and the step, so a run that was killed and resumed
gives the weights of an uninterrupted one: bit for bit on a CPU, up to rounding on a GPU.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import memory, registry
from ..errors import RegRefineError, Stopped
from ..io.paths import written_aside
from ..job import Progress
from ..losses.dice import warped_dice_loss
from ..losses.smoothness import gradient_l2
from ..networks.base import RegistrationNetwork, autocast
from ..ops.warp import warp
from ..pair import Report, ignore
from .convolution import quick_convolutions
from .log import Log, plot, rows
from .recipe import Recipe
from .source import Draw, Sample, Source, sizes_of
from .state import STATE, WEIGHTS, State
from .validation import validate

LOG, PICTURE, ARGUMENTS = "log.csv", "log.png", "arguments.json"


@dataclass(frozen=True, eq=False)
class Run:
    """How a training runs, which does not change its weights.

    Attributes:
        device: auto, cpu, cuda or mps.
        save_every: steps between two saves; a killed run loses fewer than that.
        minutes: save and end after this time, to be resumed later; 0: at the last step.
        validation: pairs with labels that are registered at every save.
        report: called at every step; it may raise Stopped (save and end) or Cancelled.
        arguments: JSON values to keep in the folder, from which the caller can make the same
            recipe and pairs again (see `kept_arguments`).
    """

    device: str = "auto"
    save_every: int = 500
    minutes: float = 0.0
    validation: Sequence[Sample] = ()
    report: Report = ignore
    arguments: Mapping[str, Any] | None = None


def train(recipe: Recipe, source: Source, folder: str | Path, run: Run | None = None) -> Path:
    """Train, or resume the training in the folder; return the path of the weights.

    The folder gets weights.safetensors (the mean weights, which `--weights` takes), state.pt (to
    resume from), log.csv and log.png.

    Raises:
        RegRefineError: the folder holds a training of another recipe or of other pairs, or the loss
            is no longer a number.
    """
    run, folder = run or Run(), Path(folder)
    device = torch.device(memory.device(run.device))
    resumes = (folder / STATE).is_file()
    recipe = recipe.completed(sizes_of(source.sample(0, device)))
    state = State(recipe, source, device, begins=not resumes)
    if resumes:
        warning = state.load(folder)
        if warning:
            run.report(Progress("train", message=warning, warning=True))
    _try_out(state, source, device)
    if run.arguments is not None:
        with written_aside(folder / ARGUMENTS) as aside:
            aside.write_text(json.dumps(dict(run.arguments), indent=1), encoding="utf-8")
    if state.step == recipe.steps:
        run.report(Progress("train", message=_done(recipe)))
    log = Log(folder / LOG, state.step)
    ends = time.monotonic() + 60 * run.minutes if run.minutes else math.inf
    stopped = False
    while state.step < recipe.steps and not stopped:
        row = take_step(state, source, device)
        done = state.step + 1
        stopped = time.monotonic() > ends
        saves = stopped or done % run.save_every == 0 or done == recipe.steps
        if saves and run.validation:
            row |= validate(state.mean, run.validation, recipe.stages)
        log.write({"step": state.step, **row})
        try:
            run.report(Progress("train", state.step, recipe.steps, loss=row))
        except Stopped:
            saves = stopped = True
        state.step = done
        if saves:
            state.save(folder)
            plot(rows(folder / LOG), folder / PICTURE)
    if not (folder / WEIGHTS).is_file():
        state.save(folder)
    return folder / WEIGHTS


def kept_arguments(folder: str | Path) -> dict[str, Any]:
    """Return the `Run.arguments` of a folder's training, {} where there are none.

    Raises:
        RegRefineError: the file is damaged.
    """
    path = Path(folder) / ARGUMENTS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise RegRefineError(f"{path}: cannot be read ({error}); remove it") from error
    if not isinstance(content, dict):
        raise RegRefineError(f"{path}: does not hold arguments of a training; remove it")
    return content


def _done(recipe: Recipe) -> str:
    return f"all {recipe.steps} steps are done; more of them continue (--set steps=...)"


def _try_out(state: State, source: Source, device: torch.device) -> None:
    """Raise, before anything is written, if the network does not accept the pairs."""
    recipe, sample = state.recipe, source.sample(0, device)
    shape = sizes_of(sample)
    if state.network.fitting(shape) != shape:
        wanted, got = (" ".join(map(str, s)) for s in (state.network.fitting(shape), shape))
        raise RegRefineError(
            f"shape: {recipe.network} as set does not take {got} voxels; the next larger sizes "
            f"that it takes are {wanted}"
        )
    # the pass moves batch norm's statistics, which would differ in a run that was resumed
    before = {name: buffer.clone() for name, buffer in state.network.named_buffers()}
    try:
        with torch.no_grad():
            loss(state.network, sample, recipe)
            for name, buffer in state.network.named_buffers():
                buffer.copy_(before[name])
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise RegRefineError(
            f"network: {recipe.network} as set cannot be trained on these pairs ({reason})"
        ) from error


def take_step(state: State, source: Source, device: torch.device) -> dict[str, float]:
    """Take the state's next step (its number stays); return the terms of the loss and the rate."""
    recipe, started = state.recipe, time.perf_counter()
    # stochastic depth and the like draw from torch's own numbers
    torch.manual_seed(Draw(recipe.seed, state.step).choice(2**63))
    rate = recipe.rate(state.step)
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.zero_grad()
    means: dict[str, float] = {}
    for number in range(recipe.batch):
        sample = source.sample(state.step * recipe.batch + number, device)
        with quick_convolutions(device):
            terms = loss(state.network, sample, recipe)
        (terms["total"] / recipe.batch).backward()
        for name, term in terms.items():
            means[name] = means.get(name, 0.0) + float(term.detach()) / recipe.batch
    if not math.isfinite(means["total"]):
        raise RegRefineError(
            f"training: the loss is no number at step {state.step}; lower the learning_rate, or "
            "use precision float32, and go on from the last save"
        )
    state.optimiser.step()
    state.follow()
    return {**means, "learning_rate": rate, "seconds": time.perf_counter() - started}


def loss(network: RegistrationNetwork, sample: Sample, recipe: Recipe) -> dict[str, Tensor]:
    """Return similarity, smoothness, dice_loss (if it counts) and total, weighted scalars."""
    device = sample.fixed.device
    with autocast(device, recipe.precision_on(device.type)):
        found = network.stages(sample.moving, sample.fixed, recipe.stages)
    measure = registry.find("similarity", recipe.similarity)
    zero = torch.zeros((), device=device)
    terms = {"similarity": zero, "smoothness": zero}
    for displacement in found:
        moved = warp(sample.moving, displacement)
        similarity = recipe.similarity_weight * measure(sample.fixed, moved)
        terms["similarity"] = terms["similarity"] + similarity
        terms["smoothness"] = terms["smoothness"] + recipe.smooth_weight * gradient_l2(displacement)
        if recipe.dice_weight:
            dice = recipe.dice_weight * _dice(sample, displacement, recipe.dice_stride)
            terms["dice_loss"] = terms.get("dice_loss", zero) + dice
        if recipe.field_weight and sample.displacement is not None:
            gap = recipe.field_weight * _unexplained(displacement, sample.displacement)
            terms["field_loss"] = terms.get("field_loss", zero) + gap
    return {**terms, "total": sum(terms.values(), zero)}


def _unexplained(displacement: Tensor, true: Tensor) -> Tensor:
    """Return the squared error relative to the true displacement's square; 1 for a zero one."""
    return (displacement - true).square().mean() / true.square().mean().clamp_min(1e-6)


def _dice(sample: Sample, displacement: Tensor, stride: int) -> Tensor:
    if sample.fixed_labels is None or sample.moving_labels is None:
        raise RegRefineError("dice_weight: the pairs have no labels; set it to 0")
    every = (..., *3 * (slice(None, None, stride),))
    fixed, moving = sample.fixed_labels[every], sample.moving_labels[every]
    return warped_dice_loss(fixed, moving, displacement[every] / stride, smooth=1e-5)
