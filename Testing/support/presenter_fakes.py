"""A scene of plain objects and a worker that does what a test says, for tests of the presenter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from RegRefineBridge.process.client import Failure
from RegRefineBridge.process.transports import ignore
from RegRefineBridge.workflow.interfaces import Material, PairSize

from RegRefineLib.errors import RegRefineError
from RegRefineLib.geometry import Geometry, Volume
from RegRefineLib.job import Extras
from RegRefineLib.worker.job_folder import read_job, write_result
from RegRefineLib.worker.scene_result import prepared
from support.worker_behaviours import result_of

GRID = Geometry((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))


class FakeScene:
    """Nodes are texts; a result is published as the first value of its field."""

    def __init__(self):
        self.contents: dict[str, object] = {}
        self.version = 0
        self.gone = False
        self.refuses = ""
        self.steps = 1
        self.publishSteps = 0
        self.forgotten = []
        self.count = 0
        self.full = set()

    def missing(self, inputs):
        return [f"Choose the {n} volume." for n in ("fixed", "moving") if not getattr(inputs, n)]

    def refused(self, request):
        return []

    def size(self, inputs):
        return PairSize(120, 120, (1.0, 2.0, 3.0)) if inputs.fixed and inputs.moving else None

    def fingerprint(self, inputs):
        return None if self.gone else self.version

    def read(self, inputs):
        if self.refuses:
            raise RegRefineError(self.refuses)
        volume = Volume(np.zeros(GRID.shape, np.float32), GRID)
        return Material(volume, volume, Extras(), "sources")

    def remember(self, request):
        return {name: self.contents.get(name) for name in request.chosen.values()}

    def forget(self, memento):
        self.forgotten.append(memento)

    def load(self, ready):
        for _step in range(self.steps):
            yield
        return ready

    def overwritten(self, request):
        return [f"{node} is not empty." for node in request.chosen.values() if node in self.full]

    def names(self, inputs):
        return inputs.fixed, inputs.moving

    def publish(self, loaded, request, sources, made):
        if self.refuses:
            raise RegRefineError(self.refuses)
        name = request.chosen.get("transform") or self._newName()
        made["transform"] = name
        self.contents[name] = float(loaded.transform.grid.vectors.max())
        for _step in range(self.publishSteps):
            yield
        return {"transform": name}

    def _newName(self):
        self.count += 1
        return f"transform {self.count}"

    def putBack(self, nodes, memento):
        if "transform" not in nodes:
            return
        name = nodes["transform"]
        if name in memento:
            self.contents[name] = memento[name]
        else:
            self.contents.pop(name, None)


class FakeWorker:
    """Remembers what it was told; `finish`, `fail` and `tell` are its answers."""

    def __init__(self):
        self.onEvent = self.onFinished = self.onFailed = ignore
        self.folder: Path | None = None
        self.told: list[str] = []

    @property
    def running(self):
        return self.folder is not None

    @property
    def warm(self):
        return True

    def warmUp(self):
        self.told.append("warm up")

    def start(self, jobFolder):
        self.folder = jobFolder

    def stop(self):
        self.told.append("stop")

    def cancel(self):
        self.told.append("cancel")

    def poll(self):
        pass

    def close(self):
        self.told.append("close")
        self.folder = None

    def tell(self, event, **values):
        self.onEvent({"event": event, **values})

    def progress(self, stage, step=0, steps=0, loss=None, **metrics):
        terms = {} if loss is None else {"total": loss}
        values = {"stage": stage, "step": step, "steps": steps, "message": ""}
        self.tell("progress", **values, loss=terms, metrics=metrics, eta_s=3.0)

    def finish(self, value=1.0, stopped=False, **changes):
        """End the run with a field of `value` mm and these fields of the result changed."""
        folder, self.folder = self.folder, None
        task = read_job(folder)
        result = result_of(task.fixed, task.job, value)
        for name, change in changes.items():
            object.__setattr__(result, name, change)
        write_result(folder, prepared(result))
        self.onFinished({"event": "done", "folder": str(folder), "stopped": stopped})

    def fail(self, kind, message="", details=""):
        self.folder = None
        self.onFailed(Failure(kind, message, details))
