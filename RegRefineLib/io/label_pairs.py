"""Two label maps made comparable: segments of the same name under the same number."""

from __future__ import annotations

import numpy as np

from ..geometry import Volume, narrowest_integer
from .notices import notice
from .volumes import LabelMap


def paired(fixed: LabelMap, moving: LabelMap) -> LabelMap:
    """Return the moving map with the fixed one's numbers for segments of the same name.

    Only where both files name their segments and the numbers differ is anything changed, which is
    said; moving segments without a partner get numbers that the fixed map does not use.
    """
    if not fixed.names or not moving.names:
        return moving
    return renumbered(moving, numbers(fixed, moving))


def _no_name_in_common(fixed: LabelMap, moving: LabelMap) -> bool:
    names = ({_plain(name) for name in each.names.values()} for each in (fixed, moving))
    return not set.intersection(*names)


def numbers(fixed: LabelMap, moving: LabelMap) -> dict[int, int]:
    """Return the new number of every label of the moving map, 0 to 0.

    Where no name is in both maps the numbers stay, which is said.
    """
    if _no_name_in_common(fixed, moving):
        notice("the two segmentations share no segment's name; paired by their numbers")
        return {int(v): int(v) for v in np.unique(moving.volume.array)} | {0: 0}
    by_name = {_plain(name): label for label, name in sorted(fixed.names.items(), reverse=True)}
    present = {int(v) for v in np.unique(moving.volume.array)} | set(moving.names)
    new = {
        label: by_name[_plain(moving.names[label])]
        for label in sorted(present)
        if label in moving.names and _plain(moving.names[label]) in by_name
    }
    taken = {int(v) for v in np.unique(fixed.volume.array)} | set(fixed.names) | set(new.values())
    following = max(taken | present, default=0) + 1
    for label in sorted(present - set(new) - {0}):
        if label in taken:
            new[label], following = following, following + 1
        else:
            new[label] = label
            taken.add(label)
    return {0: 0, **new}


def renumbered(labels: LabelMap, new: dict[int, int]) -> LabelMap:
    """Return the map with other numbers; a change is said."""
    changed = sorted(label for label, other in new.items() if label != other)
    if not changed:
        return labels
    first = changed[0]
    notice(
        f"segments are paired by name: {len(changed)} of the moving map have other numbers than in "
        f"the fixed one ({labels.names.get(first, first)!r}: {first} for {new[first]})"
    )
    values, places = np.unique(labels.volume.array, return_inverse=True)
    table = np.array([new.get(int(v), int(v)) for v in values], dtype=np.int64)
    array = table[places].reshape(labels.volume.array.shape)
    kind = narrowest_integer(int(table.max(initial=0)), int(table.min(initial=0)))
    return LabelMap(
        Volume(array.astype(kind), labels.volume.geometry),
        {new.get(label, label): name for label, name in labels.names.items()},
        {new.get(label, label): colour for label, colour in labels.colours.items()},
    )


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()
