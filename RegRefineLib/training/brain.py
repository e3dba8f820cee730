"""Synthetic skull-stripped T1 images from head label maps with FreeSurfer's numbers.

Labels outside the brain are removed, rare labels are merged with the tissue around them, and each
structure gets its typical T1-weighted intensity, chosen by eye and not taken from any scan.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..geometry import Volume

FLUID = 24
FLUID_RIM_MM = 2.0  # of fluid is left around the brain, as by skull stripping

# of the left and the right side: intensity, 1 the brightest
_SIDES = {
    (2, 41): 0.82,  # white matter
    (3, 42): 0.55,  # cortex
    (4, 43): 0.12,  # lateral ventricle
    (5, 44): 0.14,  # its inferior part
    (7, 46): 0.80,  # cerebellar white matter
    (8, 47): 0.52,  # cerebellar cortex
    (10, 49): 0.66,  # thalamus
    (11, 50): 0.56,  # caudate
    (12, 51): 0.60,  # putamen
    (13, 52): 0.70,  # pallidum
    (17, 53): 0.53,  # hippocampus
    (18, 54): 0.53,  # amygdala
    (26, 58): 0.55,  # accumbens
    (28, 60): 0.72,  # ventral diencephalon
}
INTENSITIES = {
    **{number: value for sides, value in _SIDES.items() for number in sides},
    14: 0.12,  # third ventricle
    15: 0.12,  # fourth ventricle
    16: 0.74,  # brain stem
    FLUID: 0.12,
}
# (percentile, value) of the positive voxels of painted pairs, mean of 80 images: white matter's
LEVEL = (95, 0.85)
# vessels, lesions, the chiasm and others of a few voxels
_JOINED = {25: 2, 30: 2, 136: 2, 137: 2, 57: 41, 62: 41, 163: 41, 164: 41, 72: FLUID, 85: FLUID}


def structures(labels: Volume) -> Volume:
    """Return the label map (int16) with the structures of INTENSITIES alone."""
    array = labels.array.astype(np.int16)
    for rare, tissue in _JOINED.items():
        array[array == rare] = tissue
    array[~np.isin(array, list(INTENSITIES))] = 0
    found = ndimage.find_objects((array != 0).astype(np.int8))
    if found:  # the rest of a head's volume would take most of the time
        part = array[found[0]]
        outside = (part == 0) | (part == FLUID)
        away = ndimage.distance_transform_edt(outside, sampling=labels.geometry.spacing[::-1])
        part[(part == FLUID) & (away > FLUID_RIM_MM)] = 0
    return Volume(array, labels.geometry)


def painted(labels: Volume) -> Volume:
    """Return the image (float32, 0..1) of a map of `structures`."""
    values = np.zeros(int(labels.array.max()) + 1, dtype=np.float32)
    for number, value in INTENSITIES.items():
        if number < len(values):
            values[number] = value
    return Volume(values[labels.array], labels.geometry)
