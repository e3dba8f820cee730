"""regrefine convert IN [IN ...] OUT: transforms from one program's kind of file to another's."""

from __future__ import annotations

import argparse

from .terminal import say


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """kinds, named as in flirt:matrix.mat where the file does not say its own:
  itk        .tfm .h5 .txt .mat, fields as .nrrd .mha .nii.gz (ITK, ANTs, Greedy's warps, Slicer)
  ras        4x4 text in RAS mm, fixed to moving (Greedy, c3d, NiftyReg)
  flirt      FSL's 4x4 text; needs --fixed and --moving
  fnirt      FSL's warps (.nii.gz); needs --moving
  lta        FreeSurfer's .lta; to write it needs --fixed and --moving
  elastix    TransformParameters.txt; to write it needs --fixed
  niftyreg   deformation field (.nii.gz);  spm  y_ field (.nii.gz)
  voxels     displacements in voxels (VoxelMorph, SynthMorph)"""
    parser.add_argument(
        "transforms",
        metavar="IN",
        nargs="+",
        help="one or several, in the order in which fixed points pass them; FILE,-1 is inverted",
    )
    parser.add_argument("output", metavar="OUT", help="[KIND:]FILE to write")
    parser.add_argument("--fixed", "--reference", metavar="FILE", help="the fixed image: its grid")
    parser.add_argument("--moving", metavar="FILE", help="the moving image: its grid")


def run(arguments: argparse.Namespace) -> int:
    """Read, join, and write."""
    from ..io.images import geometry_of_file
    from ..io.transforms import Grids, named, read_chain, write_chain

    fixed, moving = (
        geometry_of_file(path) if path else None for path in (arguments.fixed, arguments.moving)
    )
    grids = Grids(fixed, moving)
    write_chain(read_chain(arguments.transforms, grids), arguments.output, grids)
    say(named(arguments.output).path)
    return 0
