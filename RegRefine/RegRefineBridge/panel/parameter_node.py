"""The parameter node of the panel: what is saved with a scene.

For Slicer alone: it needs slicer.parameterNodeWrapper. Annotations are not postponed here, because
the wrapper reads them.
"""

from dataclasses import replace
from typing import Annotated, Union

from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTransformNode,
)
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from RegRefineLib.job import Job
from RegRefineLib.presets import resolve

from ..workflow.interfaces import Inputs, Request
from ..workflow.job_choices import Catalogue, Choices, jobOf
from ..workflow.settings_list import REFINEMENT, START, read, written
from .choice_lists import Affine, Backbone, Device, Intensity, Model, Refinement, Similarity

LabelsNode = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007
ENUMS = {
    "affine": Affine,
    "backbone": Backbone,
    "refinement": Refinement,
    "similarity": Similarity,
    "intensity": Intensity,
    "device": Device,
    "model": Model,
}
# parameter -> output
WANTED = {
    "makeWarpedVolume": "warpedVolume",
    "makeWarpedSegmentation": "warpedSegmentation",
    "makeWarpedLandmarks": "warpedLandmarks",
    "makeInverse": "inverse",
    "makeLinear": "linear",
    "makeJacobian": "jacobian",
    "makeDisplacement": "displacement",
}


@parameterNodeWrapper
class RegRefineParameterNode:
    """What the panel shows; see the tooltips of RegRefine.ui for each."""

    fixedVolume: vtkMRMLScalarVolumeNode
    movingVolume: vtkMRMLScalarVolumeNode
    fixedSegmentation: LabelsNode
    movingSegmentation: LabelsNode
    fixedMask: LabelsNode
    movingMask: LabelsNode
    fixedLandmarks: vtkMRMLMarkupsFiducialNode
    movingLandmarks: vtkMRMLMarkupsFiducialNode
    initialTransform: vtkMRMLTransformNode

    preset: str = "default"
    affine: Affine
    backbone: Backbone
    model: Model
    weightsFile: str
    refinement: Refinement
    similarity: Similarity
    intensity: Intensity
    steps: Annotated[int, WithinRange(0, 2000)] = 0
    smoothness: Annotated[float, WithinRange(0.1, 10.0)] = 1.0
    workingSpacing: Annotated[float, WithinRange(0.0, 20.0)] = 0.0
    device: Device
    gpuIndex: Annotated[int, WithinRange(0, 63)] = 0
    threads: Annotated[int, WithinRange(0, 256)] = 0
    landmarksWeight: Annotated[float, WithinRange(0.0, 1.0)] = 0.0
    labelsWeight: Annotated[float, WithinRange(0.0, 1.0)] = 0.0
    symmetric: bool = False
    changedSettings: str  # of the backbone and the refinement, see workflow/settings_list.py

    outputTransform: vtkMRMLTransformNode
    outputVolume: vtkMRMLScalarVolumeNode
    makeWarpedVolume: bool = True
    makeWarpedSegmentation: bool = True
    makeWarpedLandmarks: bool = False
    makeInverse: bool = False
    makeLinear: bool = False
    makeJacobian: bool = True
    makeDisplacement: bool = False


def forgetUnknown(node) -> None:
    """Drop choices that this version does not have from a node of another version's scene."""
    for name, kind in ENUMS.items():
        if node.HasParameter(name) and node.GetParameter(name) not in kind.__members__:
            node.UnsetParameter(name)


def inputsOf(parameters) -> Inputs:
    """Return the nodes that are chosen as inputs."""
    return Inputs(
        parameters.fixedVolume,
        parameters.movingVolume,
        parameters.fixedSegmentation,
        parameters.movingSegmentation,
        parameters.fixedMask,
        parameters.movingMask,
        parameters.fixedLandmarks,
        parameters.movingLandmarks,
        parameters.initialTransform,
    )


def choicesOf(parameters) -> Choices:
    """Return what the Method section says, without single settings."""
    chosen = {name: getattr(parameters, name).value for name in ENUMS}
    return Choices(
        preset=parameters.preset,
        weightsFile=parameters.weightsFile,
        steps=parameters.steps,
        smoothness=parameters.smoothness,
        spacingMm=parameters.workingSpacing,
        gpu=parameters.gpuIndex,
        landmarks=parameters.landmarksWeight,
        labels=parameters.labelsWeight,
        symmetric=parameters.symmetric,
        **chosen,
    )


def methodOf(parameters, catalogue: Catalogue) -> Job:
    """Return the method that is chosen, single settings included.

    Raises:
        RegRefineError: the preset is not loaded.
    """
    choices = choicesOf(parameters)
    whole = resolve(jobOf(choices, catalogue))
    kept = parameters.changedSettings
    return jobOf(
        replace(
            choices,
            settings=read(REFINEMENT, whole.refinement or "none", kept),
            startSettings=read(START, whole.start or "none", kept),
        ),
        catalogue,
    )


def requestOf(parameters, catalogue: Catalogue) -> Request:
    """Return what Apply asks for.

    Raises:
        RegRefineError: the preset is not loaded.
    """
    job = methodOf(parameters, catalogue).replaced(
        inverse=parameters.makeInverse, jacobian=parameters.makeJacobian
    )
    wanted = [output for name, output in WANTED.items() if getattr(parameters, name)]
    nodes = {
        "transform": parameters.outputTransform,
        "warpedVolume": parameters.outputVolume if parameters.makeWarpedVolume else None,
    }
    return Request(
        inputsOf(parameters),
        job,
        ("transform", "metrics", "chart", *wanted),
        {output: node for output, node in nodes.items() if node is not None},
        parameters.preset,
    )


def changeSetting(parameters, catalogue: Catalogue, kind: str, name: str, value) -> None:
    """Keep a single setting of the refinement or start; None: as the preset has it.

    Raises:
        RegRefineError: the preset is not loaded.
    """
    method = getattr(resolve(methodOf(parameters, catalogue)), kind) or "none"
    changes = read(kind, method, parameters.changedSettings)
    changes.pop(name, None)
    if value is not None:
        changes[name] = value
    parameters.changedSettings = written(kind, method, parameters.changedSettings, changes)


def useAsItIs(parameters, preset: str) -> None:
    """Choose a preset and let go of all changes to the one before."""
    for name, kind in ENUMS.items():
        if name != "device":
            setattr(parameters, name, next(iter(kind)))
    parameters.weightsFile = parameters.changedSettings = ""
    parameters.steps, parameters.smoothness, parameters.workingSpacing = 0, 1.0, 0.0
    parameters.landmarksWeight = parameters.labelsWeight = 0.0
    parameters.symmetric = False
    parameters.preset = preset
