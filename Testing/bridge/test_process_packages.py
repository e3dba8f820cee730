"""What the worker needs is found without imports and installed only after a yes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from RegRefineBridge.process import packages as dependencies
from support.paths import ROOT, python_path

from RegRefineLib.errors import RegRefineError

REQUIREMENTS = ROOT / "RegRefine" / "Resources" / "requirements.txt"


class Application:
    """Slicer 5.10's ways to ask and to install, as far as they are needed."""

    def __init__(self, says=True, testing=False):
        self.asked, self.installed, self.says = [], [], says
        self.app = SimpleNamespace(
            testingEnabled=lambda: testing, extensionsManagerModel=lambda: self
        )
        self.util = SimpleNamespace(
            confirmOkCancelDisplay=self._ask, pip_install=self.installed.append
        )

    def _ask(self, text, title):
        self.asked.append(text)
        return self.says

    def installExtensionFromServer(self, name, restart):
        self.installed.append(name)
        return True


@pytest.fixture
def nothing(monkeypatch):
    """A Python without any of the packages, and without slicer.packaging."""
    monkeypatch.setattr(dependencies, "torchPresent", lambda: False)
    monkeypatch.setattr(dependencies, "installedVersion", lambda name: None)
    monkeypatch.setitem(sys.modules, "slicer", ModuleType("slicer"))


def test_the_requirements_are_never_slicer_s_own():
    names = [line.partition(">")[0] for line in dependencies.requirementsOf(REQUIREMENTS)]
    assert names
    assert not {name.lower() for name in names} & {"numpy", "simpleitk", "scipy", "torch"}


def test_a_run_imports_nothing_beyond_the_requirements():
    absent = ("matplotlib", "tqdm", "slicer", "vtk", "h5py", "ants", "pandas", "skimage")
    program = f"""
import sys
sys.modules.update(dict.fromkeys({absent!r}))  # importing one of them fails
import RegRefineLib.registration, RegRefineLib.worker, RegRefineLib.starts.network
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=python_path()
    )
    assert done.returncode == 0, done.stderr


def test_torch_is_looked_for_without_being_imported():
    program = "import sys\nfrom RegRefineBridge.process import packages as dependencies\n"
    program += "found = dependencies.torchPresent(); print(found, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=python_path()
    )
    assert done.stdout.split() == ["True", "False"]


def test_nothing_is_asked_where_all_is_there(monkeypatch):
    monkeypatch.setattr(dependencies, "ready", lambda path: True)
    application = Application()
    dependencies.ensure(application, REQUIREMENTS)
    assert application.asked == []


def test_a_no_to_the_extension_installs_nothing(nothing):
    application = Application(says=False)
    with pytest.raises(RegRefineError, match="PyTorch extension"):
        dependencies.ensure(application, REQUIREMENTS)
    assert len(application.asked) == 1
    assert application.installed == []


def test_a_yes_to_the_extension_installs_it_and_asks_for_a_restart(nothing):
    application = Application()
    with pytest.raises(RegRefineError, match="Restart"):
        dependencies.ensure(application, REQUIREMENTS)
    assert application.installed == ["PyTorch"]


def test_torch_comes_through_the_extension(nothing, monkeypatch):
    calls = []
    utilities = ModuleType("PyTorchUtils")
    utilities.PyTorchUtilsLogic = lambda: SimpleNamespace(
        installTorch=lambda **options: calls.append(options)
    )
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utilities)
    with pytest.raises(RegRefineError, match="not installed"):  # None: the user said no
        dependencies.ensure(Application(), REQUIREMENTS)
    assert calls == [{"askConfirmation": True, "torchVersionRequirement": dependencies.TORCH}]


def test_slicer_5_10_is_asked_and_pins_its_own_packages(nothing, monkeypatch):
    versions = {"numpy": "2.0.2", "SimpleITK": "2.5.0"}
    monkeypatch.setattr(dependencies, "torchPresent", lambda: True)
    monkeypatch.setattr(dependencies, "installedVersion", versions.get)
    application = Application()
    pinned = []

    def install(arguments):
        path = arguments.split('"')[1]
        pinned.extend(Path(path).read_text().split())
        application.installed.append(arguments)
        versions.update({"safetensors": "1", "pooch": "1", "surface-distance": "1"})

    application.util.pip_install = install
    dependencies.ensure(application, REQUIREMENTS)
    assert pinned == ["numpy==2.0.2", "SimpleITK==2.5.0"]
    assert '"pooch>=1.8"' in application.installed[0]


def test_slicer_5_11_ensures_with_the_same_pins(nothing, monkeypatch):
    versions = {"numpy": "2.4.6"}
    monkeypatch.setattr(dependencies, "torchPresent", lambda: True)
    monkeypatch.setattr(dependencies, "installedVersion", versions.get)
    seen = {}

    def ensure(requirements, constraints, requester):
        seen.update(requirements=requirements, pins=Path(constraints).read_text().split())
        versions.update({"safetensors": "1", "pooch": "1", "surface-distance": "1"})

    packaging = ModuleType("packaging")
    packaging.load_requirements, packaging.pip_ensure = lambda path: ["listed"], ensure
    sys.modules["slicer"].packaging = packaging
    application = Application()
    dependencies.ensure(application, REQUIREMENTS)
    assert seen == {"requirements": ["listed"], "pins": ["numpy==2.4.6"]}
    assert application.asked == []


def test_a_declined_pip_ensure_is_said(nothing, monkeypatch):
    monkeypatch.setattr(dependencies, "torchPresent", lambda: True)

    def ensure(*_, **__):
        raise RuntimeError("User declined package installation")

    packaging = ModuleType("packaging")
    packaging.load_requirements, packaging.pip_ensure = lambda path: [], ensure
    sys.modules["slicer"].packaging = packaging
    with pytest.raises(RegRefineError, match="declined"):
        dependencies.ensure(Application(), REQUIREMENTS)


def test_nothing_is_installed_while_slicer_is_tested(nothing):
    application = Application(testing=True)
    dependencies.ensure(application, REQUIREMENTS)
    assert application.asked == []
    assert application.installed == []
