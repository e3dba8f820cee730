"""`_`, which translates the texts of the panel: Slicer's own in Slicer, else the text itself."""

from __future__ import annotations

try:
    from slicer.i18n import tr as _
except ImportError:

    def _(text: str) -> str:
        return text


__all__ = ["_"]
