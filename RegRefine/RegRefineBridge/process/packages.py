"""The packages the worker needs: found without importing them, installed at Apply after a yes.

torch comes through the PyTorch extension, the rest through slicer.packaging (Slicer 5.11 and later)
or slicer.util.pip_install (5.10). numpy, scipy and SimpleITK are Slicer's own and are pinned to
what they are during an installation.

Nothing here runs at import time; `slicer` is the application's module, handed in.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from RegRefineLib.errors import RegRefineError

from ..i18n import _

SLICERS_OWN = ("numpy", "scipy", "SimpleITK", "requests", "pip")
# torch 2.13 has paths too long for many Windows machines
TORCH = ">=2.2,<2.13" if sys.platform == "win32" else ">=2.2"
REQUESTER = "RegRefine"


def installedVersion(name: str) -> str | None:
    """Return the version of an installed package, or None; the package is not imported."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def torchPresent() -> bool:
    """Return whether torch is there, without importing it into this process."""
    return installedVersion("torch") is not None and importlib.util.find_spec("torch") is not None


def requirementsOf(path: Path) -> list[str]:
    """Return the lines of a requirements file, comments left out."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [line for line in (raw.partition("#")[0].strip() for raw in lines) if line]


def missingPackages(path: Path) -> list[str]:
    """Return the requirements whose packages are not installed."""
    return [
        line
        for line in requirementsOf(path)
        if installedVersion(re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0]) is None
    ]


def ready(path: Path) -> bool:
    """Return whether all is there, so that the worker can be started without asking."""
    return torchPresent() and not missingPackages(path)


def ensure(slicer: Any, path: Path) -> None:
    """Install what is missing, after asking; return at once where nothing is.

    Raises:
        RegRefineError: the user said no, or the installation failed.
    """
    if ready(path):
        return
    try:
        if not torchPresent():
            _installTorch(slicer)
        _installPackages(slicer, path)
    except RuntimeError as error:  # raised by pip_ensure where the user declined
        raise RegRefineError(str(error)) from error
    except OSError as error:
        raise RegRefineError(
            _("The packages could not be installed ({reason}).").format(reason=error)
        ) from error
    if not slicer.app.testingEnabled() and not ready(path):
        raise RegRefineError(
            _("The packages are still incomplete; restart Slicer and press Apply again.")
        )


def _installTorch(slicer: Any) -> None:
    if slicer.app.testingEnabled():
        return
    try:
        import PyTorchUtils  # of the PyTorch extension
    except ImportError:
        _offerExtension(slicer)
        return
    torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
        askConfirmation=True, torchVersionRequirement=TORCH
    )
    if torch is None:
        raise RegRefineError(_("RegRefine needs PyTorch, which was not installed."))


def _offerExtension(slicer: Any) -> None:
    wanted = slicer.util.confirmOkCancelDisplay(
        _(
            "RegRefine computes with PyTorch, which the extension 'PyTorch' installs. "
            "Install that extension and restart Slicer now?"
        ),
        REQUESTER,
    )
    if not wanted:
        raise RegRefineError(
            _("RegRefine needs the PyTorch extension; install it in the Extensions Manager.")
        )
    # absent in a Slicer that was built without the Extensions Manager
    model = getattr(slicer.app, "extensionsManagerModel", None)
    if model is None or not model().installExtensionFromServer("PyTorch", True):
        raise RegRefineError(
            _("The PyTorch extension could not be installed; try it in the Extensions Manager.")
        )
    raise RegRefineError(_("Restart Slicer to finish the installation of PyTorch."))


def _installPackages(slicer: Any, path: Path) -> None:
    missing = missingPackages(path)
    if not missing:
        return
    with _constraints() as constraints:
        try:
            from slicer import packaging
        except ImportError:
            packaging = None
        if packaging is not None and hasattr(packaging, "pip_ensure"):
            packaging.pip_ensure(
                packaging.load_requirements(str(path)),
                constraints=str(constraints),
                requester=REQUESTER,
            )
            return
        if slicer.app.testingEnabled():
            return
        question = _("RegRefine needs these Python packages: {names}. Install them now?")
        if not slicer.util.confirmOkCancelDisplay(
            question.format(names=", ".join(missing)), REQUESTER
        ):
            raise RegRefineError(_("The packages were not installed."))
        wanted = " ".join(f'"{each}"' for each in missing)
        slicer.util.pip_install(f'--constraint "{constraints}" {wanted}')


@contextmanager
def _constraints() -> Iterator[Path]:
    """A file that pins Slicer's own packages to the versions they have."""
    handle, name = tempfile.mkstemp(prefix="RegRefine-", suffix="-constraints.txt")
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for package in SLICERS_OWN:
                version = installedVersion(package)
                if version is not None:
                    file.write(f"{package}=={version}\n")
        yield path
    finally:
        path.unlink(missing_ok=True)
