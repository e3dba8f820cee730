"""What Slicer shows of the module besides the panel: help, acknowledgement, how to cite."""

from __future__ import annotations

from ..i18n import _

HOME = "https://github.com/RegRefine/SlicerRegRefine"
PAGES = f"{HOME}/blob/main/RegRefine/Documentation"


def helpText() -> str:
    """Return the module's help, with links to its pages."""
    return _(
        "Deformable registration of two volumes, or the refinement of any transform that other "
        "modules found, with live overlap and folding metrics. Choose a fixed and a moving volume "
        'and press Apply. See the <a href="{pages}/TUTORIAL.md">tutorial</a>, the '
        '<a href="{pages}/CATALOGUE.md">methods and settings</a> and the '
        '<a href="{pages}/NETWORKS.md">networks</a>.'
    ).format(pages=PAGES)


def acknowledgementText() -> str:
    """Return whose methods the module runs, and how to cite."""
    return _(
        'How to cite: name RegRefine, its version and its <a href="{home}">address</a>, and the '
        "paper of the method that was run. Reg-TTR: Chen et al., arXiv 2601.19114. FiRework: arXiv "
        "2410.09595. ConvexAdam: Siebert, Hansen and Heinrich. The paper of each network and "
        'similarity is named in the <a href="{pages}/NETWORKS.md">documentation</a>; the weights '
        "of published networks have licences of their own, shown before a download. The program "
        "is under the Apache License 2.0. For research: not cleared as a medical device."
    ).format(home=HOME, pages=PAGES)
