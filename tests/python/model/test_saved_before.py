"""Files that version 0.1.0 wrote load, and training continues from them with the same bits."""

import os
import subprocess
import sys

import pytest
from golden_files import GOLDEN

import bptt

SCRIPT = """
import shutil, sys
import numpy as np
import bptt
import make_saved as saved

level = sys.argv[1]
assert bptt.simd_level() == level
checkpoint = sys.argv[2]
shutil.copy(saved.checkpoint_path(level), checkpoint)
model = saved.trained()
history = saved.resume(model, checkpoint, 6)
found = {"predictions": saved.predictions(bptt.load(saved.MODEL)), **saved.results(model, history)}
with np.load(saved.expected_path(level)) as expected:
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert np.asarray(found[name]).tobytes() == array.tobytes(), name
"""
LEVELS = ["portable", "avx2", "avx512"]


# Each level has bits of its own. There are no files of AVX-512: such a machine checks the others.
@pytest.mark.parametrize("level", LEVELS[:2])
def test_files_of_version_0_1_0_load_and_continue(level, tmp_path):
    if LEVELS.index(level) > LEVELS.index(bptt.simd_level()):
        pytest.skip(f"this process runs on {bptt.simd_level()}")
    paths = os.pathsep.join([str(GOLDEN), *filter(None, sys.path)])
    environment = os.environ | {"BPTT_SIMD": level, "PYTHONPATH": paths}
    arguments = [sys.executable, "-c", SCRIPT, level, str(tmp_path / "run.safetensors")]
    run = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
