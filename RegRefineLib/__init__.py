"""Deformable registration of medical volumes: a start field, refined at test time.

    import RegRefineLib as rr

    result = rr.register("fixed.nii.gz", "moving.nii.gz", preset="default")
    result.save("out")

Public is what `__all__` names (API.md describes it), and nothing else. Names are loaded when they
are first used, so that the import costs nothing, and `geometry` and `job` load without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.convert import Image as Image
    from .api.result import Registration as Registration
    from .api.run import register as register
    from .api.tools import apply as apply
    from .api.tools import doctor as doctor
    from .api.tools import evaluate as evaluate
    from .api.tools import read as read
    from .api.tools import read_transform as read_transform
    from .api.transform import Transform as Transform
    from .errors import Cancelled as Cancelled
    from .errors import RegRefineError as RegRefineError
    from .errors import Stopped as Stopped
    from .geometry import DisplacementField as DisplacementField
    from .geometry import Geometry as Geometry
    from .geometry import Volume as Volume
    from .job import Job as Job
    from .job import Progress as Progress

__version__ = "0.1.0"

# public name -> the module that holds it; presets and settings are modules that can be called
_PLACES = {
    "register": "api.run",
    "Registration": "api.result",
    "Transform": "api.transform",
    "Image": "api.convert",
    "read": "api.tools",
    "read_transform": "api.tools",
    "apply": "api.tools",
    "evaluate": "api.tools",
    "doctor": "api.tools",
    "presets": "presets",
    "settings": "settings",
    "Job": "job",
    "Progress": "job",
    "Volume": "geometry",
    "Geometry": "geometry",
    "DisplacementField": "geometry",
    "RegRefineError": "errors",
    "Stopped": "errors",
    "Cancelled": "errors",
}
__all__ = [*_PLACES, "__version__"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_PLACES[name]}", __name__)
    value = module if name == _PLACES[name] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
