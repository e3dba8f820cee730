"""The settings of the refinements: names, defaults, ranges and help; loads without torch.

Those of the coarse-to-fine descent are in pyramid/settings.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..errors import RegRefineError
from ..geometry import sizes_text
from ..registry import REGULARISERS, SIMILARITIES
from ..settings import Conditions, NamedNetwork, Settings, setting

GRADICON = "gradicon"
NCC_SSIM = "ncc+ssim"


@dataclass(frozen=True)
class RegTTR(Settings):
    """Settings of Reg-TTR; the defaults are the preset reg-ttr-mended."""

    steps: int = setting(10, "steps of Adam", low=0)
    learning_rate: float = setting(
        0.1, "length of Adam's steps in voxels; published: 0.1 (abdomen), 0.025 (cardiac)", above=0
    )
    similarity: str = setting(
        NCC_SSIM, "what is compared; see `regrefine list similarities`",
        choices=(NCC_SSIM, *SIMILARITIES),
    )  # fmt: skip
    windows: str = setting(
        "5:0.5 9:0.3 13:0.2", "windows of local NCC and their weights, 'width:weight ...'"
    )
    ncc_weight: float = setting(1.0, "weight of NCC, lambda 1")
    ssim_weight: float = setting(2.0, "weight of SSIM, lambda 2; 0 is the paper's ablation")
    smooth_weight: float = setting(1.0, "weight of the smoothness, lambda 3")
    smoothness: str = setting(
        "l1", "l1 (released) or l2 (the paper's diffusion)", choices=("l1", "l2")
    )
    grid_sp: int = setting(1, "spacing of the displacements in voxels along each axis", low=1)
    warp: str = setting(
        "exact", "exact, or reg-ttr: the published loss warp, which moves N/(N-1) too far",
        choices=("exact", "reg-ttr"),
    )  # fmt: skip
    keep: str = setting(
        "best", "the field of least loss, the one after it (published), or the last",
        choices=("best", "after-best", "last"),
    )  # fmt: skip
    patience: int = setting(3, "stop after so many steps without improvement; 0: never", low=0)
    clip: float = setting(0.0, "largest norm of the gradient; 0: no limit", low=0)
    plateau: bool = setting(False, "halve the rate on plateaus, as the published program does")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.window_list()

    def window_list(self) -> list[tuple[int, float]]:
        """Return [(width, weight), ...] of `windows`."""
        try:
            parts = [part.split(":") for part in self.windows.replace(",", " ").split()]
            windows = [(int(width), float(weight)) for width, weight in parts]
        except ValueError:
            raise RegRefineError(
                f"setting windows: 'width:weight ...' is needed, got {self.windows!r}"
            ) from None
        sound = all(w >= 3 and w % 2 == 1 and math.isfinite(share) for w, share in windows)
        if not windows or not sound:
            raise RegRefineError(f"setting windows: odd widths from 3 on, got {self.windows!r}")
        return windows

    def check(self, conditions: Conditions) -> None:
        """Refuse a pooled grid of one voxel."""
        if self.grid_sp > min(conditions.shape) // 2:
            raise RegRefineError(
                f"setting grid_sp: at most {min(conditions.shape) // 2} for the working grid's "
                f"{sizes_text(conditions.shape)} voxels, got {self.grid_sp}"
            )


@dataclass(frozen=True)
class ConvexAdamAdam(Settings):
    """Settings of ConvexAdam's Adam stage; the published program's names in brackets."""

    recipe: str = setting(
        "fixed", "fixed (exact positions) or released (the published program's numbers)",
        choices=("fixed", "released"),
    )  # fmt: skip
    mind_radius: int = setting(1, "radius of the MIND features in voxels [mind_r]", low=1)
    mind_dilation: int = setting(2, "reach of the MIND features in voxels [mind_d]", low=1)
    spacing: int = setting(
        2, "edge of a cell of the optimised grid in voxels [grid_sp_adam]", low=1
    )
    steps: int = setting(
        80, "Adam steps [selected_niter]; in released, one less takes effect", low=0
    )
    learning_rate: float = setting(1.0, "length of Adam's steps, in cells", above=0)
    smoothness: float = setting(1.25, "weight of the regulariser [lambda_weight]", low=0)
    smoothing: int = setting(
        0, "odd width of three box averages of the final field [selected_smooth]; 0: none", low=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smoothing and self.smoothing % 2 == 0:
            raise RegRefineError(f"setting smoothing: 0 or an odd width, got {self.smoothing}")

    def check(self, conditions: Conditions) -> None:
        """Refuse cells, or averages, that are larger than the grid."""
        size, smallest = sizes_text(conditions.shape), min(conditions.shape)
        if smallest < self.spacing:
            raise RegRefineError(
                f"convexadam-adam: cells of {self.spacing} voxels do not fit in an image of "
                f"{size}; set spacing to 1"
            )
        if self.recipe == "released" and self.steps and self.smoothness:
            smallest //= self.spacing
            if smallest < 3:  # released averages the field in cells with windows of 3
                raise RegRefineError(
                    f"convexadam-adam: an average of width 3 is wider than the field of cells in "
                    f"{size} voxels; use less spacing, or the recipe fixed"
                )
        if self.smoothing > min(conditions.shape):
            raise RegRefineError(
                f"convexadam-adam: an average of width {self.smoothing} is wider than the field, "
                f"{size}; use less smoothing"
            )


@dataclass(frozen=True)
class FiRework(NamedNetwork):
    """Settings of FiRework's steps; what is not one of them is an option of the network."""

    takes_field: ClassVar[bool] = True

    steps: int = setting(12, "maximum number of network evaluations", low=0)
    similarity: str = setting(
        "ncc", "the criterion; see `regrefine list similarities`", choices=tuple(SIMILARITIES)
    )
    patience: int = setting(2, "stop after so many steps without improvement; 0: never", low=0)
    keep: str = setting(
        "best", "the best field by the criterion, or the last (as published)",
        choices=("best", "last"),
    )  # fmt: skip
    precision: str = setting(
        "float32", "bfloat16 runs only the convolutions in half precision (GPUs)",
        choices=("float32", "bfloat16"),
    )  # fmt: skip


@dataclass(frozen=True)
class NetworkIO(NamedNetwork):
    """Settings of instance optimisation; the defaults are uniGradICON's."""

    steps: int = setting(50, "steps of Adam", low=0)
    learning_rate: float = setting(2e-5, "length of Adam's steps", above=0)
    similarity: str = setting(
        "lncc", "what is compared; see `regrefine list similarities`", choices=tuple(SIMILARITIES)
    )
    regulariser: str = setting(
        GRADICON, "gradicon, which evaluates the network both ways, or one of the list",
        choices=(GRADICON, *REGULARISERS),
    )  # fmt: skip
    regulariser_weight: float = setting(1.5, "weight of the regulariser")
    keep: str = setting(
        "last", "the last field (as published), or that of the least loss", choices=("last", "best")
    )
    seed: int = setting(0, "seed of the random shifts of GradICON's points", low=0)
