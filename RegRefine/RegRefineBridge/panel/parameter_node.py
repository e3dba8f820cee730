"""The parameter node of the panel: what is saved with a scene.

For Slicer alone: it needs slicer.parameterNodeWrapper. Annotations are not postponed here, because
the wrapper reads them.
"""

from typing import Annotated, Union

from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTransformNode,
)
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from ..workflow.interfaces import Inputs, Request
from ..workflow.job_choices import Catalogue, Choices, jobOf
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


def requestOf(parameters, catalogue: Catalogue) -> Request:
    """Return what Apply asks for.

    Raises:
        RegRefineError: the preset is not loaded.
    """
    chosen = {name: getattr(parameters, name).value for name in ENUMS}
    choices = Choices(
        preset=parameters.preset,
        weightsFile=parameters.weightsFile,
        steps=parameters.steps,
        smoothness=parameters.smoothness,
        spacingMm=parameters.workingSpacing,
        **chosen,
    )
    job = jobOf(choices, catalogue).replaced(
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


def useAsItIs(parameters, preset: str) -> None:
    """Choose a preset and let go of all changes to the one before."""
    for name, kind in ENUMS.items():
        if name != "device":
            setattr(parameters, name, next(iter(kind)))
    parameters.weightsFile = ""
    parameters.steps, parameters.smoothness, parameters.workingSpacing = 0, 1.0, 0.0
    parameters.preset = preset
