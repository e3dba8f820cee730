"""Run by `make test-slicer` inside Slicer: the module's self tests; Slicer's exit status tells."""

from __future__ import annotations

import unittest

import slicer

from RegRefine import RegRefineTest

suite = unittest.defaultTestLoader.loadTestsFromTestCase(RegRefineTest)
outcome = unittest.TextTestRunner(verbosity=2).run(suite)
slicer.util.exit(0 if outcome.wasSuccessful() else 1)
