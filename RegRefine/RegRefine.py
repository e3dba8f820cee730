"""The Slicer module RegRefine: deformable registration with live metrics. Wiring only.

What the panel does is in RegRefineBridge (workflow/presenter.py and around it), what is computed in
RegRefineLib. From a script, in Slicer's Python console or with --python-script:

    from RegRefine import RegRefineLogic
    run = RegRefineLogic().run(fixedNode, movingNode)     # waits; run.nodes["transform"], ...
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

HERE = Path(__file__).resolve().parent
try:
    import RegRefineLib  # noqa: F401
except ImportError:  # in a checkout the library is the module folder's neighbour
    sys.path.append(str(HERE.parent))

from RegRefineBridge.mrml.scene import MrmlScene
from RegRefineBridge.mrml.slice_views import Views
from RegRefineBridge.panel import about, sample_data
from RegRefineBridge.panel.follow_parameters import FollowsParameters
from RegRefineBridge.panel.method_section import MethodSection
from RegRefineBridge.panel.panel import Panel
from RegRefineBridge.panel.parameter_node import (
    RegRefineParameterNode,
    forgetUnknown,
    inputsOf,
    requestOf,
)
from RegRefineBridge.panel.results_section import ResultsSection, fitViews
from RegRefineBridge.panel.scripting import requestFor, runBlocking
from RegRefineBridge.panel.self_tests import SelfTests
from RegRefineBridge.process import packages as dependencies
from RegRefineBridge.process.client import WorkerClient
from RegRefineBridge.process.transports import QProcessTransport, ignore
from RegRefineBridge.workflow.job_folders import JobFolders
from RegRefineBridge.workflow.presenter import Presenter
from RegRefineBridge.workflow.settings_list import wrong
from RegRefineBridge.workflow.timings import Timings

from RegRefineLib.errors import RegRefineError

REQUIREMENTS = HERE / "Resources" / "requirements.txt"
POLL_MS = 100


class RegRefine(ScriptedLoadableModule):
    """The module's description."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("RegRefine")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        self.parent.dependencies = []
        self.parent.contributors = ["RegRefine's contributors"]
        self.parent.helpText = about.helpText()
        self.parent.acknowledgementText = about.acknowledgementText()
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Add the tutorial's pair to the Sample Data module."""
    import SampleData

    icon = HERE / "Resources" / "Icons" / "RegRefine.png"
    sample_data.register(SampleData.SampleDataLogic, icon, _("RegRefine"))


class RegRefineWidget(FollowsParameters, ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic, self.newTimer = None, newTimer

    def setup(self):
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/RegRefine.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = RegRefineLogic()
        presenter = self.logic.presenter
        self.panel = Panel(self.ui, qt)
        views = Views(slicer.mrmlScene, newTimer, fitViews)
        self.results = ResultsSection(self.ui, self.panel, qt, presenter, views)
        self.method = MethodSection(
            self.ui, qt, self.panel, lambda: self._parameterNode, self.settle
        )
        self.logic.onState = self.onState
        presenter.onPublished = self.onPublished
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.abortButton.connect("clicked(bool)", self.onAbortButton)
        slicer.app.connect("aboutToQuit()", self.logic.close)
        self.followScene()
        self.onState(presenter.state)

    def cleanup(self):
        """End the worker: the module is reloaded or Slicer closes."""
        if self.logic is None:  # setup did not get that far
            return
        self.setParameterNode(None)
        self.removeObservers()
        self.results.leave()
        self.logic.onState = ignore
        self.logic.close()

    def onReload(self):
        """Reload the bridge along with the module."""
        for name in [n for n in sys.modules if n.partition(".")[0] == "RegRefineBridge"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def sceneClosing(self):
        """Drop the run and what it made."""
        self.results.leave()
        self.logic.presenter.sceneClosing()

    def request(self):
        """Return what Apply asks for.

        Raises:
            RegRefineError: the preset is not loaded.
        """
        return requestOf(self._parameterNode, self.method.catalogue)

    def chosenNodes(self):
        """Return the nodes whose changes the panel must know of."""
        return inputsOf(self._parameterNode).given().values()

    def onParametersChanged(self):
        """Say what the method does, what it takes, and what is missing."""
        presenter, missing, estimate = self.logic.presenter, [], None
        try:
            request = self.request()
            self.method.show(request.job)
            missing = list(filter(None, [*presenter.missing(request), wrong(request.job)]))
            estimate = presenter.estimate(request)
        except RegRefineError as error:
            missing = [str(error)]
        if not presenter.state.busy:
            self.panel.showReady(missing, estimate)
            self.results.show()
            if not missing:
                self.logic.warmUp()

    def onApplyButton(self, checked=False):
        """Start a run, or stop the one that goes on."""
        if self.logic.presenter.state.busy:
            self.logic.presenter.stop()
            return
        with slicer.util.tryWithErrorDisplay(_("RegRefine could not start."), waitCursor=True):
            dependencies.ensure(slicer, REQUIREMENTS)
            request = self.request()
            question = self.logic.presenter.question(request)
            if question and not slicer.util.confirmOkCancelDisplay(question, _("RegRefine")):
                return
            self.logic.worker.useThreads(self._parameterNode.threads)
            self.logic.start(replace(request, download=True))

    def onAbortButton(self, checked=False):
        """Drop the run."""
        self.logic.presenter.cancel()

    def onState(self, state):
        """Show how the run goes; when it has ended, what may be done next."""
        self.panel.showState(state)
        if not state.busy:
            self.results.show()
            self.settle()

    def onPublished(self, run):
        """Show a result, and fill the same nodes the next time."""
        parameters = self._parameterNode or self.logic.getParameterNode()  # another panel is open
        parameters.outputTransform = run.nodes["transform"]
        if "warpedVolume" in run.nodes:
            parameters.outputVolume = run.nodes["warpedVolume"]
        self.results.showRun(run)


class RegRefineLogic(ScriptedLoadableModuleLogic):
    """Runs, from the panel and from scripts.

    Attributes:
        presenter: all runs; worker: the process that computes them.
        onState: called with a State (RegRefineBridge/workflow/interfaces.py) at every change.
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.onState = ignore
        self._timer = newTimer(self.poll, POLL_MS)
        self._warm, self._script = False, None
        self.worker = WorkerClient(lambda: QProcessTransport(qt))
        self.presenter = newPresenter(self.worker)
        self.presenter.onChanged = self._onChanged

    def getParameterNode(self):
        """Return the scene's parameters of the panel."""
        node = super().getParameterNode()
        forgetUnknown(node)
        return RegRefineParameterNode(node)

    def run(self, fixedNode, movingNode, job=None, blocking=True, onState=None, **options):
        """Register the moving volume to the fixed one.

        Args:
            job: a RegRefineLib.job.Job, the name of a preset, or None for the default preset.
            blocking: wait for the result; else return at once and let the event loop go on.
            onState: called with a State at every step; when it is no longer busy, the run is over.
            options: fixedSegmentation, movingSegmentation, fixedMask, movingMask, fixedLandmarks,
                movingLandmarks, initialTransform: nodes; wanted: names of outputs
                (RegRefineBridge/mrml/output_nodes.py); chosen: nodes to be filled, by output;
                download: True agrees to the download of weights that are not here.

        Returns:
            When blocking, the Run (RegRefineBridge/workflow/history.py): nodes by output
            (transform, warpedVolume, metrics, ...), metrics by stage, warnings, field (in mm on the
            fixed grid). Else None, and presenter.shown() is the Run in the end.

        Raises:
            RegRefineError: an input is missing or wrong, or there is no result; it says why.
        """
        request = requestFor(fixedNode, movingNode, job, **options)
        if blocking:
            return runBlocking(self.presenter, request, onState, slicer.app.processEvents)
        self._script = onState
        if not self.start(request):
            raise RegRefineError(self.presenter.state.message)
        return None

    def start(self, request):
        """Start a run of the panel; return whether it started."""
        self._timer.start()
        return self.presenter.start(request)

    def poll(self):
        """Take what has come from the worker."""
        self.presenter.poll()

    def warmUp(self):
        """Start the worker once the user is about to press Apply, if its packages are there."""
        if not self._warm and dependencies.ready(REQUIREMENTS):
            self._warm = True
            self.presenter.warmUp()

    def close(self):
        """End the workers, and runs with them."""
        self._timer.stop()
        self._warm = False
        self.presenter.close()

    def _onChanged(self, state):
        if not state.busy:
            self._timer.stop()
        self.onState(state)
        if self._script is not None:  # a moment later, so that what it throws stops no run
            qt.QTimer.singleShot(0, partial(self._script, state))
            self._script = self._script if state.busy else None


def newPresenter(worker):
    """Return a presenter of the scene with this worker."""

    timings = Path(str(slicer.app.slicerUserSettingsFilePath)).parent / "RegRefine-timings.json"
    return Presenter(
        MrmlScene(slicer.mrmlScene),
        worker,
        JobFolders(Path(str(slicer.app.temporaryPath))),
        Timings(timings),
    )


def newTimer(callback, milliseconds):
    """Return a timer that calls a function every so often, once it is started."""
    timer = qt.QTimer()
    timer.setInterval(milliseconds)
    timer.connect("timeout()", callback)
    return timer


class RegRefineTest(SelfTests, ScriptedLoadableModuleTest):
    """The self tests: RegRefineBridge/panel/self_tests.py."""
