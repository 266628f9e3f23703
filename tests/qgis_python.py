"""QGIS' own Python, where it is installed: it opens what quadrat writes, and says what it sees."""

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PYTHON = Path("/usr/bin/python3")

BEGIN = """
import json, sys
from qgis.core import *
application = QgsApplication([], False)
application.initQgis()
"""

END = """
print("\\n" + json.dumps(seen))
sys.stdout.flush()
import os
os._exit(0)  # QGIS takes objects of Python apart in the wrong order
"""


def asked(code: str, *arguments: Path) -> Any:
    """Run ``code`` in QGIS' Python with paths as ``sys.argv[1:]``; return what it leaves in ``seen``.

    Skips the test where QGIS isn't installed.
    """
    if not installed():
        pytest.skip("QGIS is not installed")
    done = _run(BEGIN + code + END, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@cache
def installed() -> bool:
    """Return whether the system's Python has QGIS."""
    return PYTHON.exists() and _run("import qgis.core").returncode == 0


def _run(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GDAL_", "PROJ_"))}
    command = [str(PYTHON), "-c", code, *map(str, arguments)]
    about = {**clean, "QT_QPA_PLATFORM": "offscreen"}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=about)
