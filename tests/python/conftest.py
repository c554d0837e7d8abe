"""What holds for all tests."""

import signal


def pytest_configure():
    # A shell lets programs in the background ignore Ctrl-C; tests of it would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
