"""What the presenter is given and what it needs of others: requests, states, and small Protocols.

No toolkit: nodes are passed through as they are and only the Scene looks into them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from RegRefineLib.geometry import FloatArray, Volume
from RegRefineLib.job import Extras, Job
from RegRefineLib.worker.scene_result import Ready

from ..process.client import Failure

Node = Any
Nodes = Mapping[str, Node]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The nodes a run starts from; all but the first two may be None."""

    fixed: Node = None
    moving: Node = None
    fixedSegmentation: Node = None
    movingSegmentation: Node = None
    fixedMask: Node = None
    movingMask: Node = None
    fixedLandmarks: Node = None
    movingLandmarks: Node = None
    initialTransform: Node = None

    def given(self) -> dict[str, Node]:
        """Return the nodes that are chosen, by name."""
        named = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: node for name, node in named.items() if node is not None}


@dataclass(frozen=True, eq=False)
class Request:
    """What Apply asks for.

    Attributes:
        wanted: names of mrml.output_nodes.OUTPUTS.
        chosen: nodes picked to receive an output, by its name; without one a new node is made.
        title: how the run is called in the history.
        download: whether the user has agreed to the download of weights that are not here.
    """

    inputs: Inputs
    job: Job
    wanted: tuple[str, ...] = ("transform",)
    chosen: Nodes = field(default_factory=dict)
    title: str = ""
    download: bool = False


@dataclass(frozen=True, eq=False)
class Material:
    """The inputs as arrays, and what publishing needs to know of them later (small).

    Attributes:
        movingToWorld: 4x4 from the moving node's own coordinates; None where that is no 4x4.
        remarks: sentences that the user must read, such as structures without a namesake.
    """

    fixed: Volume
    moving: Volume
    extras: Extras
    sources: Any
    movingToWorld: FloatArray | None = None
    remarks: tuple[str, ...] = ()


class PairSize(NamedTuple):
    """How large two volumes are: voxels of the fixed and the moving one, fixed spacing in mm."""

    fixedVoxels: int
    movingVoxels: int
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class State:
    """What the panel shows of the presenter.

    Attributes:
        phase: idle, running, stopping or publishing.
        stage: what is going on, in words; secondsLeft where known; fraction 0..1 of the whole run.
        live: loss, dice, folds_percent, sdlogj, largest_mm of the moment.
        losses, dices: one value a step.
        message: a sentence; level is info, warning or error; details for who wants to know.
        warnings: of the present or last run.
        worse: the metrics by which the published result is worse than the start.
        current: the number of the run that is in the scene, 0 for none.
    """

    phase: str = "idle"
    stage: str = ""
    fraction: float = 0.0
    secondsLeft: float | None = None
    live: Mapping[str, float] = field(default_factory=dict)
    losses: tuple[float, ...] = ()
    dices: tuple[float, ...] = ()
    message: str = ""
    level: str = "info"
    details: str = ""
    warnings: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()
    current: int = 0

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self.phase != "idle"


class Scene(Protocol):
    """The nodes (mrml/scene.py, on MRML)."""

    def missing(self, inputs: Inputs) -> list[str]:
        """Return a sentence for each thing that keeps a run from starting."""

    def refused(self, request: Request) -> list[str]:
        """Return a sentence where a chosen node cannot receive an output."""

    def overwritten(self, request: Request) -> list[str]:
        """Return a sentence for each chosen node that holds something else; asked before a run."""

    def names(self, inputs: Inputs) -> tuple[str, str]:
        """Return the names of the fixed and the moving volume."""

    def size(self, inputs: Inputs) -> PairSize | None:
        """Return how large the volumes are, or None where they are not both there."""

    def fingerprint(self, inputs: Inputs) -> Hashable:
        """Return what changes when an input does; None when one is gone."""

    def read(self, inputs: Inputs) -> Material:
        """Return the inputs as arrays; raises RegRefineError."""

    def remember(self, request: Request) -> Any:
        """Return what `putBack` needs to undo a publication that has not happened yet."""

    def forget(self, memento: Any) -> None:
        """Let go of what `remember` returned: it will not be put back."""

    def load(self, ready: Ready) -> Generator[None, None, Any]:
        """Return, in short steps, a result as `publish` takes it; the scene is not touched."""

    def publish(
        self, loaded: Any, request: Request, sources: Any, made: dict[str, Node]
    ) -> Generator[None, None, Nodes]:
        """Put a result into the scene, in short steps, and return its nodes.

        `made` is filled as the nodes are, for `putBack`; raises RegRefineError.
        """

    def putBack(self, nodes: Nodes, memento: Any) -> None:
        """Undo a publication: nodes it made go, those it filled are as before."""


class Worker(Protocol):
    """The client of the worker process (process/client.py)."""

    onEvent: Callable[[dict[str, Any]], None]
    onFinished: Callable[[dict[str, Any]], None]
    onFailed: Callable[[Failure], None]

    @property
    def running(self) -> bool:
        """Whether a run is under way."""

    @property
    def warm(self) -> bool:
        """Whether the process is there already."""

    def warmUp(self) -> None:
        """Start the process before it is needed."""

    def start(self, jobFolder: Path) -> None:
        """Start the run whose job lies in a folder."""

    def stop(self) -> None:
        """End the run at its next step with the best field so far."""

    def cancel(self) -> None:
        """Drop the run."""

    def poll(self) -> None:
        """Take what has come."""

    def close(self) -> None:
        """End the process."""
