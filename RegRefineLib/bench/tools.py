"""The tools: each a row of data that says what runs, in which environment, with which settings.

Settings are those that the tool's authors recommend or ship as defaults; `source` says where.
Every tool gets images that are affinely aligned, so that only its deformable stage runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import unknown

RUNNERS = Path(__file__).resolve().parent / "runners"
OWN = "regrefine"  # the environment of the running Python


@dataclass(frozen=True)
class Tool:
    """A row.

    Attributes:
        runner: script of the folder runners/.
        environment: name of the virtual environment; several tools may share one.
        packages: what pip installs there.
        settings: passed to the runner unchanged.
        source: where the settings are from.
        align: whether the pair is affinely aligned first, if its set asks for it.
        mask: whether the tool gets a mask of the moving image's field of view, if there is one.
    """

    runner: str
    environment: str = OWN
    packages: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    align: bool = True
    mask: bool = True

    @property
    def script(self) -> Path:
        """The runner script's path."""
        return RUNNERS / self.runner

    @property
    def is_peer(self) -> bool:
        """Whether the tool is a third party's."""
        return self.environment != OWN


def _own(preset: str) -> Tool:
    return Tool("run_regrefine.py", settings={"preset": preset}, source="presets.py")


def _syn(source: str, **settings: Any) -> Tool:
    return Tool("run_syn.py", "syn", ("antspyx==0.6.3", "SimpleITK"), settings, source)


_TORCH = ("torch==2.13.0", "SimpleITK")

TOOLS: dict[str, Tool] = {
    **{name: _own(name) for name in ("default", "fast", "accurate", "multimodal", "released")},
    "greedy": Tool(
        "run_greedy.py",
        "greedy",
        ("picsl_greedy==1.4.0.3", "SimpleITK"),
        {"metric": "NCC 2x2x2", "iterations": "100x50x10"},
        "greedy.readthedocs.io, quick start; smoothing is the program's default",
    ),
    "elastix": Tool(
        "run_elastix.py",
        "elastix",
        ("itk-elastix",),
        {"map": "bspline"},
        "elastix's own default B-spline parameter map",
    ),
    "syn-mattes": _syn(
        "antspyx's defaults of type_of_transform SyN",
        syn_metric="mattes",
        syn_sampling=32,
        reg_iterations=[40, 20, 0],
    ),
    "syn-cc": _syn(
        "ANTs' antsRegistrationSyN.sh: SyN[0.1,3,0], CC radius 4, 100x70x50x20",
        syn_metric="CC",
        syn_sampling=4,
        reg_iterations=[100, 70, 50, 20],
        grad_step=0.1,
        flow_sigma=3,
        total_sigma=0,
    ),
    "convexadam": Tool(
        "run_convexadam.py",
        "convexadam",
        (*_TORCH, "convexAdam"),
        {},
        "the package's defaults (MIND, grid 6, range 4, 80 Adam steps)",
    ),
    "fireants": Tool(
        "run_fireants.py",
        "fireants",
        (*_TORCH, "fireants==1.5.0"),
        {
            "scales": [4, 2, 1],
            "iterations": [200, 100, 50],
            "cc_kernel_size": 5,
            "deformation_type": "compositive",
            "smooth_grad_sigma": 1,
            "optimizer": "adam",
            "optimizer_lr": 0.5,
        },
        "the README's example of greedy registration",
    ),
}


def tool_named(name: str, variants: Mapping[str, Mapping[str, Any]]) -> Tool:
    """Return a row of TOOLS, or a variant of one: {"tool", "settings" that change, ...}.

    "align" and "mask" of a variant are those of Tool.

    Raises:
        RegRefineError: no such name; the message offers the nearest ones.
    """
    if name in TOOLS:
        return TOOLS[name]
    if name not in variants:
        raise unknown("tool", name, [*TOOLS, *variants])
    row = variants[name]
    base = tool_named(str(row.get("tool", "default")), {})
    settings = {**base.settings, **row.get("settings", {})}
    align, mask = (bool(row.get(name, getattr(base, name))) for name in ("align", "mask"))
    return replace(base, settings=settings, align=align, mask=mask)
