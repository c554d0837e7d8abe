"""The package as installed: what it needs, and how heavy it is to import."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import bptt
from bptt._support.extras import require


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


def test_what_is_missing_is_named_with_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    told = r'this needs scikit-learn: pip install scikit-learn \(the extra "sklearn"\)'
    with pytest.raises(ImportError, match=told):
        require("sklearn", "sklearn")


def test_no_text_installs_the_package_from_an_index():
    # There is no release: pip would find nothing.
    root = Path(bptt.__file__).parent
    texts = {path.name: path.read_text() for path in root.rglob("*.py")}
    assert [name for name, text in texts.items() if 'pip install "bptt' in text] == []
