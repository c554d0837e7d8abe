"""The package as installed: what it needs, and how heavy it is to import."""

import importlib.metadata
import subprocess
import sys

import bptt


def test_numpy_is_all_it_requires():
    required = [
        line for line in importlib.metadata.requires("bptt") or [] if "extra ==" not in line
    ]
    assert [line.split(">")[0] for line in required] == ["numpy"]
    assert bptt.__version__ == importlib.metadata.version("bptt")


def test_import_brings_in_no_extra():
    code = (
        "import sys, bptt; "
        "print([m for m in ('torch', 'matplotlib', 'IPython', 'sklearn') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_is_documented():
    for name in bptt.__all__:
        if not name.startswith("__"):
            assert getattr(bptt, name).__doc__, name
