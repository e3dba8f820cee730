"""The settings of the coarse-to-fine descent (descent.py); loads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from ...errors import RegRefineError
from ...registry import SIMILARITIES
from ...settings import Conditions, Settings, setting

ONE_KIND = 0.1  # the value that an information of -1 stands for if the images are of one kind


@dataclass(frozen=True)
class Pyramid(Settings):
    """Settings of the descent.

    The ranges leave out what cannot work: longer steps fold, wider Gaussians leave no field, and
    stronger diffusion is unstable.
    """

    levels: str = setting(
        "4:40 2:40 1:10",
        "'factor:steps ...': voxel size as a multiple of the smallest, and number of steps",
    )
    steps: int = setting(
        -1, "total number of steps, in the proportions of `levels`; -1: as given there", low=-1
    )
    small_steps: int = setting(
        0, "minimum number of steps on levels of at most 64^3 voxels, unless `steps` is given",
        low=0,
    )  # fmt: skip
    similarity: str = setting(
        "ncc", "what is compared; see `regrefine list similarities`", choices=tuple(SIMILARITIES)
    )
    window: int = setting(7, "width of ncc's window in voxels of the level, an odd number", low=3)
    information: float = setting(
        0.1,
        "weight of mutual information beside ncc; -1: 0.1, or it alone for images of two kinds",
        low=-1, high=1000,
    )  # fmt: skip
    step: float = setting(
        0.5, "length of a step, in units of the level's smallest voxel edge", low=0, high=10
    )
    last_step: float = setting(
        0.5, "length of the last step of a level, as a share of `step`", low=0, high=10
    )
    force_sigma: float = setting(
        1.0, "Gaussian on the force in voxels (fluid regularisation)", low=0, high=50
    )
    field_sigma: float = setting(
        0.4, "Gaussian on the field in voxels (elastic regularisation)", low=0, high=50
    )
    full_force: float = setting(
        0.7, "forces above this share of the typical force take full steps", low=0, high=100
    )
    evenness: float = setting(
        0.3, "diffusion of ln det J in each step, in voxels squared; 0: none", low=0, high=1
    )
    landmarks: float = setting(
        0.0, "weight of corresponding landmarks; 0: only measure their error", low=0, high=1
    )
    labels: float = setting(
        0.0, "weight of both segmentations; 0: metrics only, 1: they outweigh the images",
        low=0, high=1,
    )  # fmt: skip
    symmetric: bool = setting(
        False, "exchanging the images inverts the field; takes 2.5 times as long"
    )
    patience_steps: int = setting(
        10, "leave a level after so many steps with less gain than `gain`; 0: never", low=0
    )
    gain: float = setting(
        0.0, "share of the loss by which `patience_steps` steps must lower it", low=0, high=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.level_list()
        if self.window % 2 == 0:
            raise RegRefineError(f"setting window: an odd width is needed, got {self.window}")
        if -1 < self.information < 0:
            raise RegRefineError(
                f"setting information: 0 or more, or -1, is needed, got {self.information:g}"
            )

    def check(self, conditions: Conditions) -> None:
        """Refuse to use labels or landmarks that were not given."""
        if self.labels > 0 and not conditions.labels:
            raise RegRefineError(
                "setting labels: segmentations of both images are needed; give both, or 0"
            )
        if self.labels > 0 and not conditions.common_labels():
            raise RegRefineError("setting labels: the two segmentations have no label in common")
        if self.landmarks > 0 and not conditions.landmarks:
            raise RegRefineError(
                "setting landmarks: landmarks of both images are needed; give both, or 0"
            )

    def level_list(self) -> list[tuple[float, int]]:
        """Return [(factor, steps), ...] of `levels`, coarse to fine."""
        try:
            parts = [part.split(":") for part in self.levels.replace(",", " ").split()]
            levels = [(float(factor), int(steps)) for factor, steps in parts]
        except ValueError:
            levels = []
        if not levels or not all(1 <= factor < 1e3 and steps >= 0 for factor, steps in levels):
            raise RegRefineError(
                f"setting levels: 'factor:steps ...' with factors from 1 on, got {self.levels!r}"
            )
        if self.steps < 0:
            return levels
        share = self.steps / max(1, sum(steps for _, steps in levels))
        ends = [round(share * end) for end in accumulate(steps for _, steps in levels)]
        starts = [0, *ends]
        return [(levels[n][0], end - starts[n]) for n, end in enumerate(ends)]
