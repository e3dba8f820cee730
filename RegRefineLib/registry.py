"""The registry: each row gives the location of a component and a one-line description.

To add a loss, a network, a start or a refinement: write its file, add its row here. Rows are
strings that are resolved on use, so this file needs the standard library alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .errors import unknown
from .settings import Settings


class Row(NamedTuple):
    """A component's location and line of help; starts and refinements also name a settings class.

    Places are "module:name", relative to RegRefineLib; settings classes load without torch.
    """

    target: str
    help: str
    settings: str = "settings:Settings"


# start(pair: Pair, settings, report) -> displacement (1, 3, D, H, W) in voxels (see starts/)
STARTS: dict[str, Row] = {
    "none": Row("starts.simple:zero", "no displacement: the refinement does all the work"),
    "initial": Row("starts.simple:initial", "the transform given with --init"),
    "network": Row(
        "starts.network:predict",
        "a trained network (see `models list`)",
        "starts.settings:Network",
    ),
    "convexadam": Row(
        "starts.convexadam:predict",
        "dense search on MIND features (ConvexAdam)",
        "starts.settings:ConvexAdam",
    ),
    "syn": Row(
        "starts.syn:predict", "symmetric normalisation (needs antspyx)", "starts.settings:SyN"
    ),
}

# a networks.base.RegistrationNetwork, made with its options as keywords
NETWORKS: dict[str, Row] = {
    "voxelmorph": Row("networks.voxelmorph:VoxelMorph", "classic U-Net, small and quick"),
    "voxelmorph-strided": Row(
        "networks.voxelmorph:VoxelMorphStrided", "VoxelMorph-1/-2 of the TransMorph paper"
    ),
    "voxelmorph-pairwise": Row(
        "networks.voxelmorph_pairwise:VoxelMorphPairwise", "VoxelMorph of the package since 0.3"
    ),
    "transmorph": Row("networks.transmorph:TransMorph", "Swin encoder, convolutional decoder"),
    "transmorph-cardiac": Row(
        "networks.transmorph:TransMorphCardiac", "TransMorph for short-axis stacks"
    ),
    "fouriernet": Row("networks.fouriernet:FourierNet", "a band-limited field, decoded exactly"),
    "fouriernet-plus": Row("networks.fouriernet:FourierNetPlus", "band-limited images as well"),
    "rdp": Row("networks.rdp:RDP", "recursive deformable pyramid"),
    "lapwarp": Row("networks.lapwarp:LapWarp", "feature-warping pyramid for short-axis stacks"),
    "memwarp": Row("networks.memwarp:MemWarp", "LapWarp with a memory of tissues; allows sliding"),
    "corrmlp": Row("networks.corrmlp:CorrMLP", "correlation and MLPs in windows, coarse to fine"),
    "unigradicon": Row(
        "networks.unigradicon:UniGradICON", "four U-Nets for any anatomy (also multiGradICON)"
    ),
    "xmorpher": Row("networks.xmorpher:XMorpher", "two streams, cross-window attention"),
    "dmr": Row("networks.dmr:DMR", "displacement attention, refined over four levels"),
    "prplusplus": Row("networks.prplusplus:PRPlusPlus", "dual pyramid, correlation (SMILE lab)"),
    "prplusplus-official": Row(
        "networks.prplusplus_official:PRPlusPlusOfficial", "PR++ as its authors published it"
    ),
    "firework-vm": Row(
        "networks.firework:FiReworkVM", "VoxelMorph that corrects its own last field"
    ),
    "firework-tm": Row(
        "networks.firework:FiReworkTM", "TransMorph that corrects its own last field"
    ),
}

# refine(pair, start, settings, report) -> Refined (see pair.py)
REFINEMENTS: dict[str, Row] = {
    "none": Row("refine.none:refine", "keep the start as it is"),
    "pyramid": Row(
        "refine.pyramid.descent:refine",
        "coarse-to-fine diffeomorphic descent (the default)",
        "refine.pyramid.settings:Pyramid",
    ),
    "reg-ttr": Row(
        "refine.reg_ttr:refine",
        "ten Adam steps on NCC + SSIM + smoothness (Reg-TTR)",
        "refine.settings:RegTTR",
    ),
    "convexadam-adam": Row(
        "refine.convexadam_adam:refine",
        "Adam on MIND features (ConvexAdam)",
        "refine.settings:ConvexAdamAdam",
    ),
    "firework": Row(
        "refine.firework:refine",
        "a FiRework network, continuing from any start",
        "refine.settings:FiRework",
    ),
    "network-io": Row(
        "refine.network_io:refine",
        "fine-tune a copy of the network on this pair",
        "refine.settings:NetworkIO",
    ),
}

# loss(fixed, moving, mask=None) -> scalar tensor, smaller is better
SIMILARITIES: dict[str, Row] = {
    "ncc": Row("losses.ncc:local_ncc", "squared local correlation, 9^3 windows (VoxelMorph)"),
    "multi-ncc": Row("losses.ncc:multi_window_ncc", "the same in 5^3, 9^3, 13^3 windows (Reg-TTR)"),
    "lncc": Row("losses.lncc:lncc", "local correlation, Gaussian windows (uniGradICON)"),
    "lncc-squared": Row("losses.lncc:lncc_squared", "the same squared: contrast may be inverted"),
    "ssim": Row("losses.ssim:ssim_loss", "structural similarity, for intensities in [0, 1]"),
    "mean-squares": Row("losses.mean_squares:mean_squares", "squared difference of intensities"),
    "global-ncc": Row("losses.global_ncc:global_ncc", "one correlation for the whole image"),
    "mind": Row("losses.mind:mind", "self-similarities (MIND-SSC), across modalities"),
    "mutual-information": Row(
        "losses.mutual_information:mutual_information", "joint histogram, across modalities"
    ),
    "normalised-mutual-information": Row(
        "losses.mutual_information:normalised_mutual_information", "the same by Studholme"
    ),
}

# loss(displacement, mask=None) -> scalar tensor
REGULARISERS: dict[str, Row] = {
    "gradient-l1": Row("losses.smoothness:gradient_l1", "mean absolute gradient: allows edges"),
    "gradient-l2": Row("losses.smoothness:gradient_l2", "mean squared gradient (diffusion)"),
    "bending": Row("losses.bending:bending_energy", "mean squared curvature: affine maps are free"),
    "folding": Row("losses.jacobian:folding_penalty", "Jacobian determinants below 0.05"),
}

TABLES: dict[str, Mapping[str, Row]] = {
    "start": STARTS,
    "network": NETWORKS,
    "refinement": REFINEMENTS,
    "similarity": SIMILARITIES,
    "regulariser": REGULARISERS,
}


def row(kind: str, name: str) -> Row:
    """Return row `name` of table `kind`.

    Raises:
        RegRefineError: no such name; the message offers the nearest ones.
    """
    table = TABLES[kind]
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]


def find(kind: str, name: str) -> Callable[..., Any]:
    """Return what row `name` of table `kind` points at.

    Raises:
        RegRefineError: no such name; the message offers the nearest ones.
    """
    return _resolved(row(kind, name).target)  # type: ignore[no-any-return]


def settings_class(kind: str, name: str) -> type[Settings]:
    """Return the settings class of a start or refinement; loads no torch.

    Raises:
        RegRefineError: no such name; the message offers the nearest ones.
    """
    return _resolved(row(kind, name).settings)  # type: ignore[no-any-return]


def _resolved(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(f"{__package__}.{module}"), attribute)
