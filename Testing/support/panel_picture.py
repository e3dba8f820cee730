"""Draws the panel after a real run: every figure in the picture is measured.

    python Testing/support/panel_picture.py FILE.png FIXED FIXED_LABELS MOVING MOVING_LABELS [WIDTH]

The module is opened as in module_in_stubs.py (no Slicer: a drawing of the panel), two volumes with
label maps are registered by pressing Apply, and the panel is saved as a picture. For the
documentation.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import slicer
from RegRefineBridge.mrml.transforms import toVtkMatrix

from RegRefineLib.io.volumes import read_labels, read_volume
from support import module_in_stubs, slicer_python


def load(path: str, kind: str = "vtkMRMLScalarVolumeNode"):
    """Return a node of a file's volume."""
    is_labels = kind != "vtkMRMLScalarVolumeNode"
    volume = read_labels(Path(path)).volume if is_labels else read_volume(Path(path))
    name = Path(path).name.partition(".")[0]
    array = volume.array.astype(np.int16) if is_labels else volume.array
    return slicer.util.addVolumeFromArray(
        array, ijkToRAS=toVtkMatrix(volume.geometry.affine), name=name, nodeClassName=kind
    )


def main() -> int:
    """Register, and save the picture."""
    file, fixed, fixed_labels, moving, moving_labels = sys.argv[1:6]
    width = int(sys.argv[6]) if len(sys.argv) > 6 else 480
    slicer_python.prepare(module_in_stubs.MODULE)
    _module, widget = module_in_stubs.openModule()
    parameters = widget._parameterNode
    parameters.fixedVolume, parameters.movingVolume = load(fixed), load(moving)
    kind = "vtkMRMLLabelMapVolumeNode"
    parameters.fixedSegmentation = load(fixed_labels, kind)
    parameters.movingSegmentation = load(moving_labels, kind)
    widget.settle()
    window = widget.parent.layout()._object.parentWidget()
    window.setWindowTitle("RegRefine")
    window.resize(width, 800)
    window.show()
    widget.ui.applyButton.click()
    while widget.logic.presenter.state.busy:
        slicer.app.processEvents()
        time.sleep(0.01)
    for _ in range(3):  # until the heights of wrapped texts have settled
        window.layout().activate()
        window.resize(width, window.layout().totalHeightForWidth(width))
        slicer.app.processEvents()
    widget.panel.showState(widget.logic.presenter.state)
    slicer.app.processEvents()
    saved = window.grab().save(file)
    sys.stderr.write(widget.logic.presenter.state.message + "\n")
    widget.cleanup()
    return 0 if saved else 1


if __name__ == "__main__":
    sys.exit(main())
