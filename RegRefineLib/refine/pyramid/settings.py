"""Settings of the coarse-to-fine descent (descent.py), and what they may be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from ...errors import RegRefineError

# longer steps fold, wider Gaussians leave no field, and a rate of 1 never forgets
RANGES: dict[str, tuple[float, float]] = {
    "landmarks": (0, 1),
    "labels": (0, 1),
    "information": (0, 1000),
    "step": (0, 10),
    "last_step": (0, 10),
    "force_sigma": (0, 50),
    "field_sigma": (0, 50),
    "momentum": (0, 0.999),
    "memory": (0, 0.9999),
}


@dataclass(frozen=True)
class Pyramid:
    """Settings.

    Attributes:
        levels: "factor:steps ...": voxels that many times the smallest, and how many steps.
        steps: all steps together, dealt out in the proportions of `levels`; -1: as they stand.
        small_steps: a level of at most 64^3 voxels takes so many where `levels` says fewer (but not
            none), as they are quick there; only as long as `steps` is not given.
        similarity: ncc, or a name of `regrefine list similarities`.
        window: width of the correlation's window in voxels of the level.
        information: how much mutual information is added to ncc: it knows which intensities belong
            together all over the images, where a window sees its own alone; 3 for other modalities.
        step: length of a step in the level's smallest voxel edges; it falls to `last_step` of that
            at the end.
        force_sigma, field_sigma: Gaussians in voxels on the force (fluid) and the field (elastic).
        momentum, memory: Adam's two rates of forgetting.
        landmarks: how strongly corresponding landmarks pull (landmark_force.py), 0 (they are for
            metrics alone) to 1 (as fast as steps are long).
        labels: how strongly the segmentations of both images steer (label_force.py), 0 (they are
            for metrics alone) to 1 (where a label is wrong they outweigh the images); not where a
            mask leaves out or beyond the moving image.
        symmetric: both images move to their middle (symmetric.py), so that exchanging them gives
            the inverse field (of the same start and linear part); takes 2.5 times as long.
        patience_steps, gain: leave a level when so many steps brought less than that share of the
            loss; 0 steps: never.
    """

    levels: str = "4:40 2:40 1:10"
    steps: int = -1
    small_steps: int = 0
    similarity: str = "ncc"
    window: int = 7
    information: float = 0.1
    step: float = 0.5
    last_step: float = 0.5
    force_sigma: float = 1.0
    field_sigma: float = 0.5
    momentum: float = 0.9
    memory: float = 0.99
    landmarks: float = 0.0
    labels: float = 0.0
    symmetric: bool = False
    patience_steps: int = 10
    gain: float = 0.0

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            given = getattr(self, name)
            if not least <= given <= most:
                raise RegRefineError(
                    f"setting {name}: a number from {least:g} to {most:g}, got {given:g}"
                )

    def level_list(self) -> list[tuple[float, int]]:
        """Return [(factor, steps), ...] of `levels`, coarse to fine."""
        try:
            parts = [part.split(":") for part in self.levels.replace(",", " ").split()]
            levels = [(float(factor), int(steps)) for factor, steps in parts]
        except ValueError:
            levels = []
        if not levels or any(factor < 1 or steps < 0 for factor, steps in levels):
            raise RegRefineError(
                f"setting levels: 'factor:steps ...' with factors from 1 on, got {self.levels!r}"
            )
        if self.steps < 0:
            return levels
        share = self.steps / max(1, sum(steps for _, steps in levels))
        ends = [round(share * end) for end in accumulate(steps for _, steps in levels)]
        starts = [0, *ends]
        return [(levels[n][0], end - starts[n]) for n, end in enumerate(ends)]
