"""Fixtures of the parity suite; its accuracy figures are printed after it, passed or failed."""

import warnings

import pytest

REPORT = pytest.StashKey[list]()


@pytest.fixture
def report(pytestconfig):
    """A list of lines for the end of the run."""
    return pytestconfig.stash.setdefault(REPORT, [])


@pytest.fixture
def fresh():
    """Nothing installed, nothing warned about yet, the same random numbers."""
    torch = pytest.importorskip("torch")
    import bptt.torch
    from bptt.torch import _path

    torch.manual_seed(7)
    _path._warned.clear()
    yield
    bptt.torch.uninstall()


@pytest.fixture
def strict():
    """Every warning is an error: the core's path must have been taken."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def pytest_terminal_summary(terminalreporter, config):
    """Write the lines that the tests left."""
    lines = config.stash.get(REPORT, [])
    if lines:
        terminalreporter.section("accuracy against float64")
        for line in lines:
            terminalreporter.write_line(line)
