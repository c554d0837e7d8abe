"""Print the accuracy figures of the parity suite after its tests, passed or failed."""

import pytest

REPORT = pytest.StashKey[list]()


@pytest.fixture
def report(pytestconfig):
    """A list of lines for the end of the run."""
    return pytestconfig.stash.setdefault(REPORT, [])


def pytest_terminal_summary(terminalreporter, config):
    """Write the lines that the tests left."""
    lines = config.stash.get(REPORT, [])
    if lines:
        terminalreporter.section("accuracy against float64")
        for line in lines:
            terminalreporter.write_line(line)
