"""API.md and SETTINGS.md, written from docstrings and settings classes.

`python -m RegRefineLib.api.pages` writes them into the documentation; a test says when they are
stale.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import RegRefineLib

from ..presets import PRESETS
from ..registry import REFINEMENTS, STARTS, settings_class
from ..settings import NamedNetwork, Setting, described

FOLDER = Path(__file__).resolve().parents[2] / "RegRefine" / "Documentation"
_TITLES = {"presets": "presets()", "settings": "settings(method=None)"}


def api_page() -> str:
    """Return API.md: every public name with its signature and docstring."""
    lines = [
        "# The Python API",
        "",
        "Written from the docstrings by `python -m RegRefineLib.api.pages`; do not edit.",
        "",
        "```python",
        "import RegRefineLib as rr",
        "",
        'result = rr.register("fixed.nii.gz", "moving.nii.gz", preset="default", threads=4)',
        'result.save("out")',
        'result.report("out/report.html")',
        'moved = result.transform.apply("labels.nii.gz", interpolation="label")',
        "points = result.transform.points([[10.0, -4.0, 32.0]])  # RAS mm",
        "transform = result.transform.to_sitk()  # for SimpleITK, in LPS",
        "```",
        "",
        "Arrays are indexed (k, j, i); points, vectors and affines are (x, y, z) in RAS mm. Errors",
        "that a user can correct are `rr.RegRefineError`. Only what is listed here is public.",
        "",
    ]
    for name in RegRefineLib.__all__:
        if name != "__version__":
            lines += _entry(name, getattr(RegRefineLib, name))
    return "\n".join(lines).rstrip() + "\n"


def settings_page() -> str:
    """Return SETTINGS.md: every setting of every refinement and start, and the presets' values."""
    lines = [
        "# Settings",
        "",
        "Written from the settings classes by `python -m RegRefineLib.api.pages`; do not edit.",
        "On the command line: `--set NAME=VALUE` for the refinement, `--set start.NAME=VALUE` for",
        'the start. In Python: `settings={"NAME": value}`, `start_settings={...}`. The same list:',
        "`regrefine list settings`, `rr.settings()`.",
        "",
    ]
    tables = (("Refinement", "refinement", REFINEMENTS), ("Start", "start", STARTS))
    for title, kind, rows in tables:
        for name, row in rows.items():
            settings = settings_class(kind, name)
            lines += [f"## {title} `{name}`", "", f"{_sentence(row.help)}", ""]
            lines += _settings_table(described(settings))
            if issubclass(settings, NamedNetwork):
                lines += [
                    "Every other name is an option of the network's constructor, lists written as "
                    "JSON.",
                    "",
                ]
    lines += ["## Presets", ""]
    for name, preset in PRESETS.items():
        values = ", ".join(f"`{field} = {_shown(value)}`" for field, value in _flat(preset.values))
        lines += [f"- **{name}**: {preset.help}. {values}"]
    return "\n".join(lines).rstrip() + "\n"


def _entry(name: str, value: Any) -> list[str]:
    title = _TITLES.get(name) or (
        f"{name}{inspect.signature(value)}" if inspect.isfunction(value) else f"class {name}"
    )
    target = type(value).__call__ if name in _TITLES else value
    lines = [f"## {name}", "", "```python", title.replace("RegRefineLib.", ""), "```", ""]
    lines += ["```text", inspect.getdoc(target) or "", "```", ""]
    if inspect.isclass(value) and value.__module__.startswith("RegRefineLib.api"):
        for member, found in vars(value).items():
            wrapped = getattr(found, "fget", None) or getattr(found, "func", None) or found
            if member.startswith("_") or not callable(wrapped):
                continue
            own = inspect.isfunction(found)
            head = f"{member}{inspect.signature(found)}" if own else member
            head = head.replace("(self, ", "(").replace("(self)", "()")
            lines += [f"### {name}.{member}", "", "```python", head, "```", ""]
            lines += ["```text", inspect.getdoc(wrapped) or "", "```", ""]
    return lines


def _settings_table(settings: list[Setting]) -> list[str]:
    if not settings:
        return ["No settings.", ""]
    lines = ["| setting | default | range | meaning |", "|---|---|---|---|"]
    for each in settings:
        allowed = each.range.replace(" | ", ", ")
        default = _shown(each.default)
        lines.append(f"| `{each.name}` | {default} | {allowed} | {each.help} |")
    return [*lines, ""]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else "-"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _flat(values: dict[str, Any]) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            flat += [(f"{name}.{key}", inner) for key, inner in value.items()]
        else:
            flat.append((name, value))
    return flat


PAGES = {"API.md": api_page, "SETTINGS.md": settings_page}


def main() -> int:
    """Write the pages."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
