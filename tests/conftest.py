"""Makes `servers` (real servers that tests start) importable from every test."""

import sys
from pathlib import Path

_TESTS = str(Path(__file__).parent)

if _TESTS not in sys.path:
    sys.path.insert(0, _TESTS)
