"""Stand-ins for the places where progress is shown."""

import io
import sys
import types


class Notebook:
    """A kernel with IPython's display: `outputs` has all that each display has shown, in order."""

    def __init__(self, monkeypatch):
        self.outputs, self.fails_after = [], None
        self.kernel, self.execution_count = object(), 1
        ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
        ipython.get_ipython = lambda: self
        display.display = self._display
        ipython.display = display
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setitem(sys.modules, "IPython.display", display)

    def _display(self, bundle, *, raw, display_id):
        assert raw and display_id
        shown = []
        self.outputs.append(shown)

        def update(bundle, *, raw):
            assert raw
            if self.fails_after is not None and len(shown) >= self.fails_after:
                raise RuntimeError("the front end is gone")
            shown.append(bundle)

        update(bundle, raw=raw)
        return types.SimpleNamespace(update=update)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self):
        return True


class Broken(Terminal):
    """A terminal that is closed after some writes."""

    def __init__(self, writes, error):
        super().__init__()
        self.left, self.error = writes, error

    def write(self, text):
        if not self.left:
            raise self.error
        self.left -= 1
        return super().write(text)
