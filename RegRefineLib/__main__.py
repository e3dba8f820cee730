"""python -m RegRefineLib = regrefine."""

import sys

from .cli import main

sys.exit(main())
