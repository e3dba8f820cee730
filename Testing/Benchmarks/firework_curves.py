"""Dice over n = 1..12: FiRework, VoxelMorph cascaded on its own output, VoxelMorph trained so.

    regrefine pack oasis.npz --images *_SS.nii.gz --labels *_glm.nii.gz --align \\
        --shape 40 48 40 --spacing 4
    python Testing/Benchmarks/firework_curves.py oasis.npz RUNS --train \\
        --begin-with noise/weights.safetensors

The paper's Fig. 7 on the last six of the pack's subjects, which the trainings do not see: all 30
ordered pairs. RUNS gets a folder per method, and what the documentation shows: a table and a
picture.
"""

from __future__ import annotations

import argparse
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import wilcoxon
from torch import Tensor

from RegRefineLib.geometry import Geometry
from RegRefineLib.metrics.jacobian import determinant, folds_percent
from RegRefineLib.metrics.overlap import count_labels, dice, mean
from RegRefineLib.ops.warp import warp
from RegRefineLib.pair import Pair, ignore
from RegRefineLib.plots import charts
from RegRefineLib.refine import reg_ttr
from RegRefineLib.training.convolution import quick_convolutions
from RegRefineLib.training.loop import Run, train
from RegRefineLib.training.pack import Pack
from RegRefineLib.training.recipe import Recipe
from RegRefineLib.training.state import WEIGHTS
from RegRefineLib.weights.load import load

HELD_OUT, LONGEST = 6, 12
REG_TTR_AFTER = (1, 5, 12)
FEATURES = {"encoder": [16, 32, 32], "decoder": [32, 32, 16, 8]}
# name -> what the tables call it, network, stages in the loss, colour
METHODS = {
    "firework": ("FiRework-VM (2 stages)", "firework-vm", 2, "#ffb454"),
    "vm": ("VM, cascaded", "voxelmorph", 1, "#7aa6d8"),
    "vm2": ("VM-2, trained with one recursion", "voxelmorph", 2, "#8fce9b"),
}
DRAWS = 5000


def recipe(name: str, steps: int, begin_with: str) -> Recipe:
    """Return the training of a method: all alike but for the network and the stages."""
    _, network, count, _ = METHODS[name]
    return Recipe(
        network=network,
        options=FEATURES,
        begin_with=begin_with,
        steps=steps,
        stages=count,
        learning_rate=5e-4,
        memory=0.98,
        amsgrad=False,
        ema=0.99,
    )


def judged(labels: tuple[Tensor, Tensor], displacement: Tensor) -> float:
    """Return the mean Dice of the structures in both maps; nearest-neighbour labels."""
    fixed, moving = labels
    moved = warp(moving[None, None].float(), displacement, mode="nearest")
    maps = (fixed.numpy().astype(np.int64), moved[0, 0].numpy().astype(np.int64))
    return mean(dice(count_labels(*maps)))


@torch.no_grad()
def curves(network: torch.nn.Module, pack: Pack) -> list[dict[str, Any]]:
    """Return a record per ordered pair: Dice and folds over n, Reg-TTR's on top of some."""
    grid = Geometry.from_parts(pack.shape, (1.0, 1.0, 1.0), np.eye(3), (0.0, 0.0, 0.0))
    records = []
    for one, other in permutations(range(len(pack.images)), 2):
        moving, fixed = pack.images[one][None, None], pack.images[other][None, None]
        labels = pack.labels[other], pack.labels[one]
        with quick_convolutions(torch.device("cpu")):
            found = network.stages(moving, fixed, LONGEST)
        pair, after = Pair(fixed, moving, grid), {}
        for n in REG_TTR_AFTER:
            with torch.enable_grad():
                refined = reg_ttr.refine(pair, found[n - 1], {}, ignore).displacement
            after[str(n)] = [judged(labels, refined), folded(refined)]
        records.append(
            {
                "moving": one,
                "fixed": other,
                "dice": [judged(labels, torch.zeros_like(found[0]))]
                + [judged(labels, displacement) for displacement in found],
                "folds": [folded(displacement) for displacement in found],
                "reg_ttr": after,
            }
        )
    return records


def folded(displacement: Tensor) -> float:
    return folds_percent(determinant(displacement[0].double().numpy()))


def bootstrap(differences: dict[tuple[int, int], float], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of a mean difference when subjects, not pairs, are drawn."""
    rng = np.random.default_rng(seed)
    count = 1 + max(max(pair) for pair in differences)
    table = np.full((count, count), np.nan)
    for pair, value in differences.items():
        table[pair] = value
    means = []
    for _ in range(DRAWS):
        drawn = rng.integers(count, size=count)
        means.append(np.nanmean(table[np.ix_(drawn, drawn)]) if len(set(drawn)) > 1 else np.nan)
    low, high = np.nanpercentile(means, (2.5, 97.5))
    return float(low), float(high)


def compared(ours: list[dict], theirs: list[dict], n: int, m: int) -> str:
    """Return the mean difference of Dice at n and m steps, its interval, and Wilcoxon's p."""
    gaps = {
        (a["moving"], a["fixed"]): a["dice"][n] - b["dice"][m]
        for a, b in zip(ours, theirs, strict=True)
    }
    low, high = bootstrap(gaps)
    p = wilcoxon(list(gaps.values())).pvalue
    return f"{np.mean(list(gaps.values())):+.4f} [{low:+.4f}, {high:+.4f}], p = {p:.1e}"


def means(records: list[dict], name: str) -> np.ndarray:
    return np.mean([record[name] for record in records], axis=0)


def report(found: dict[str, list[dict]]) -> str:
    """Return the tables in Markdown."""
    lines = ["| n | " + " | ".join(f"{METHODS[m][0]} | folds %" for m in found) + " |"]
    lines.append("|---" * (1 + 2 * len(found)) + "|")
    values = {m: (means(r, "dice"), [0.0, *means(r, "folds")]) for m, r in found.items()}
    for n in range(LONGEST + 1):
        cells = (f"{d[n]:.4f} | {f[n]:.3f}" for d, f in values.values())
        lines.append(f"| {n} | " + " | ".join(cells) + " |")
    lines += ["", "| Reg-TTR on top of n | " + " | ".join(METHODS[m][0] for m in found) + " |"]
    lines.append("|---" * (1 + len(found)) + "|")
    for n in REG_TTR_AFTER:
        cells = []
        for records in found.values():
            dice_after, folds_after = np.mean([r["reg_ttr"][str(n)] for r in records], axis=0)
            cells.append(f"{dice_after:.4f} ({folds_after:.3f} % folds)")
        lines.append(f"| {n} | " + " | ".join(cells) + " |")
    lines.append("")
    if "firework" in found:
        lines.append("| FiRework-VM minus | at n = 5 | at n = 12 | each at its best n |")
        lines.append("|---|---|---|---|")
        ours = found["firework"]
        top = {m: 1 + int(np.argmax(d[1:])) for m, (d, _) in values.items()}
        for other in [m for m in found if m != "firework"]:
            theirs = found[other]
            cells = [compared(ours, theirs, n, n) for n in (5, 12)]
            cells.append(
                f"{compared(ours, theirs, top['firework'], top[other])} "
                f"(n = {top['firework']} and {top[other]})"
            )
            lines.append(f"| {METHODS[other][0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(found: dict[str, list[dict]], path: Path) -> None:
    """Draw mean Dice over n."""
    figure = Figure(figsize=(8, 4.5), dpi=110, facecolor=charts.PAPER)
    axis = figure.add_subplot()
    for name, records in found.items():
        label, _, _, colour = METHODS[name]
        values = means(records, "dice")
        axis.plot(range(len(values)), values, label=label, color=colour, marker="o", markersize=4)
    charts.plain(axis, "mean Dice, 30 ordered pairs of 6 unseen subjects")
    axis.set_xlabel("n, calls of the network (0: affine alone)", color=charts.INK)
    axis.legend(frameon=False, labelcolor=charts.INK, loc="lower left")
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", facecolor=charts.PAPER, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--train", action="store_true", help="train what is not trained yet")
    parser.add_argument("--steps", type=int, default=3000, help="of each training (3000)")
    parser.add_argument("--begin-with", default="", help="a plain network, which all begin with")
    parser.add_argument("--only", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--minutes", type=float, default=0.0, help="of each training at a time")
    parser.add_argument("--picture", type=Path, help="where the picture goes (RUNS/curves.png)")
    arguments = parser.parse_args()
    pack = Pack.read(arguments.pack)
    count = len(pack.images) - HELD_OUT
    found = {}
    for name in arguments.only:
        folder = arguments.runs / name
        if arguments.train:
            source = pack.part(0, count).scans()
            how = Run("cpu", save_every=250, minutes=arguments.minutes)
            train(recipe(name, arguments.steps, arguments.begin_with), source, folder, how)
        records = folder / "curves.json"
        if not records.is_file() and (folder / WEIGHTS).is_file():
            network = load(str(folder / WEIGHTS)).network
            made = curves(network, pack.part(count, len(pack.images)))
            records.write_text(json.dumps(made))
        if records.is_file():
            found[name] = json.loads(records.read_text())
    table = report(found)
    (arguments.runs / "curves.md").write_text(table)
    print(table)
    draw(found, arguments.picture or arguments.runs / "curves.png")


if __name__ == "__main__":
    main()
