import os
import subprocess
import sys
from pathlib import Path


def test_storage_leaves_numpy_and_pandas_alone_and_importable(tmp_path: Path) -> None:
    for name in ("numpy", "pandas"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("print('imported', __name__)")
    code = (
        "import sys, storage.database, storage.writer\n"
        "assert not {'numpy', 'pandas'} & set(sys.modules)\n"
        "print('storage imported')\n"
        "import numpy, pandas\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path.cwd())])

    child = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )

    assert child.stderr == ""
    assert child.stdout.split("\n")[:3] == ["storage imported", "imported numpy", "imported pandas"]


def test_numpy_imported_before_storage_stays_imported(tmp_path: Path) -> None:
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").touch()
    code = "import sys, numpy, storage.database; assert sys.modules['numpy'] is numpy"
    path = os.pathsep.join([str(tmp_path), str(Path.cwd())])

    child = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )

    assert child.stderr == ""
    assert child.returncode == 0
