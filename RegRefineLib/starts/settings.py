"""The settings of the starts: names, defaults, ranges and help; loads without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..errors import RegRefineError
from ..geometry import sizes_text
from ..settings import Conditions, NamedNetwork, Settings, setting

PRECISIONS = ("float32", "bfloat16")
RECIPES = ("fixed", "released")
METRICS = ("mattes", "cc", "meansquares", "demons")
TABLE_LIMIT = 4 * 2**30  # bytes of one table of costs; above half of it in half precision


@dataclass(frozen=True)
class Network(NamedNetwork):
    """Settings of the network start."""

    precision: str = setting(
        "float32", "bfloat16 runs only the convolutions in half precision (GPUs)",
        choices=PRECISIONS,
    )  # fmt: skip


@dataclass(frozen=True)
class ConvexAdam(Settings):
    """Settings of ConvexAdam's discrete stage; the published program's names in brackets."""

    recipe: str = setting(
        "fixed", "fixed (exact positions) or released (the published program's numbers)",
        choices=RECIPES,
    )  # fmt: skip
    mind_radius: int = setting(1, "radius of the MIND features in voxels [mind_r]", low=1)
    mind_dilation: int = setting(2, "reach of the MIND features in voxels [mind_d]", low=1)
    spacing: int = setting(6, "edge of a cell in voxels [grid_sp]", low=1)
    reach: int = setting(
        4, "largest displacement in cells: spacing * reach voxels [disp_hw]", low=1
    )
    inverse_consistent: bool = setting(True, "search both ways and reconcile the two fields [ic]")

    def check(self, conditions: Conditions) -> None:
        """Refuse cells that do not fit into the grid, and tables that do not fit into memory."""
        shape = conditions.shape
        if min(shape) < self.spacing:
            raise RegRefineError(
                f"convexadam: cells of {self.spacing} voxels do not fit in an image of "
                f"{sizes_text(shape)}; set spacing to {max(min(shape) // 2, 1)} or less"
            )
        needed = self.table_bytes(shape)
        if needed > TABLE_LIMIT:
            raise RegRefineError(
                f"convexadam: spacing {self.spacing} and reach {self.reach} need "
                f"{needed / 2**30:.1f} GB for one table of costs; use a larger spacing or less "
                "reach"
            )

    def table_bytes(self, shape: tuple[int, int, int]) -> int:
        """Return the bytes of one table of costs in half precision, for a grid of that shape."""
        cells = math.prod(n // self.spacing for n in shape)
        return 2 * cells * (2 * self.reach + 1) ** 3


@dataclass(frozen=True)
class SyN(Settings):
    """Settings of SyN; the defaults are antspyx's own, which papers mean by "SyN"."""

    packages: ClassVar[Mapping[str, str]] = {"ants": "antspyx: pip install 'RegRefineLib[syn]'"}

    metric: str = setting("mattes", "what is compared", choices=METRICS)
    sampling: int = setting(
        32, "histogram bins of mattes, radius in voxels of cc (2 to 4 is usual)", low=1
    )
    iterations: str = setting(
        "40,20,0", "at 1/4, 1/2 and full resolution; more numbers begin coarser"
    )
    gradient_step: float = setting(0.2, "length of a step", above=0)
    flow_sigma: float = setting(3.0, "smoothing of the update", low=0)
    total_sigma: float = setting(0.0, "smoothing of the whole field", low=0)
    threads: int = setting(0, "threads of ITK; 0 leaves the number to it", low=0)
    seed: int = setting(1, "seed of the random sampling", low=0)
    time_limit_s: float = setting(3600.0, "seconds after which the process is ended", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.numbers:
            raise RegRefineError(
                "setting iterations: whole numbers like 40,20,0 are needed, got "
                f"{self.iterations!r}"
            )

    @property
    def numbers(self) -> list[int]:
        """The iterations of each resolution; empty where the text is wrong."""
        words = [word.strip() for word in self.iterations.split(",")]
        return [int(word) for word in words] if all(word.isdecimal() for word in words) else []
