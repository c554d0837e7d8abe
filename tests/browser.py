"""Notebooks in JupyterLab and Notebook 7, run and looked at by a headless Chromium.

Each notebook is run from top to bottom; pictures show it while it runs, when it has ended, and when
its saved file is opened again by a server that does not trust it. Without notebooks, a small one
with two trainings is taken, and it is checked that each display of training is one output, which is
updated and static in the end.

    python tests/browser.py                          the display of training
    python tests/browser.py examples/lab.ipynb       a notebook of ours
    python tests/browser.py --client lab --theme light --pictures target/browser

It needs jupyterlab, notebook, nbconvert, playwright, and Chromium (Debian's package chromium).
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

#: Command, its options, and the address of a notebook.
CLIENTS = {
    "lab": ("lab", "--LabApp.expose_app_in_browser=True", "lab/tree"),
    "notebook": ("notebook", "--JupyterNotebookApp.expose_app_in_browser=True", "notebooks"),
}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

#: Chromium as root, without calls to the network.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

CELLS = [
    """import numpy as np
import bptt

rng = np.random.default_rng(0)
x = rng.integers(0, 8, (400, 60))
model = bptt.Sequential(bptt.OneHot(8), bptt.LSTM(8, 64, rng=0), bptt.Linear(64, 8, rng=1))
settings = {"loss": "cross_entropy", "optimizer": bptt.Adam(0.003), "metrics": ["accuracy"]}
model.fit(x[:300, :-1], x[:300, 1:], validation=(x[300:, :-1], x[300:, 1:]), epochs=EPOCHS,
          **settings)""",
    """first = model.history
long = np.tile(x, (LONG, 1))
model.fit(long[:, :-1], long[:, 1:], epochs=1, **settings)""",
    "first",
]


def small_notebook(path, epochs, long):
    """Write a notebook with a training of many epochs, and one of a single long epoch."""
    sources = [cell.replace("EPOCHS", str(epochs)).replace("LONG", str(long)) for cell in CELLS]
    cells = [
        {
            "cell_type": "code",
            "id": f"cell{n}",
            "source": source,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for n, source in enumerate(sources)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(book))


@contextlib.contextmanager
def server(client, root, home, theme):
    """Start a server whose settings and signatures are in `home`; give its address."""
    settings = home / "settings"
    for name, value in {
        "apputils-extension/themes": {"theme": THEMES[theme]},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    command, option, _ = CLIENTS[client]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA")}
    environment = {
        **os.environ,
        **paths,
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    arguments = [
        *(sys.executable, "-m", "jupyter", command, "--no-browser", "--allow-root", option),
        *("--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token=", "--port-retries=0"),
        f"--ServerApp.root_dir={root}",
    ]
    address = f"http://127.0.0.1:{port}"
    with open(home / "server.log", "w") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, env=environment)
        try:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"{address}/api", timeout=5).close()
                    break
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()
            process.wait(30)


class Page:
    """A notebook in the browser."""

    def __init__(self, browser, address, client, name):
        self.page = browser.new_page(viewport={"width": 1100, "height": 1200})
        self.page.goto(f"{address}/{CLIENTS[client][2]}/{name}")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
        self.page.wait_for_function("window.jupyterapp !== undefined")

    def command(self, name):
        self.page.evaluate(f"void window.jupyterapp.commands.execute('{name}')")

    def run(self):
        """Run all cells."""
        kernel = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
        self.page.wait_for_function(f"{kernel}?.status === 'idle'", timeout=120_000)
        self.command("notebook:run-all-cells")

    def running(self):
        prompts = self.page.locator(".jp-InputPrompt").all_inner_texts()
        return any("*" in prompt for prompt in prompts)

    def outputs(self):
        """The HTML of all outputs of each code cell, without prompts."""
        return self.page.evaluate(
            "[...document.querySelectorAll('.jp-CodeCell')].map(cell => "
            "[...cell.querySelectorAll('.jp-OutputArea-output')].map(output => output.innerHTML))"
        )

    def images(self):
        """How wide the images are; 0 if one is not shown."""
        return self.page.evaluate(
            "[...document.querySelectorAll('.jp-OutputArea-output img')].map(i => i.naturalWidth)"
        )

    def picture(self, path, whole=True):
        """Take a picture of the window, or of the whole notebook."""
        if whole:
            height = self.page.evaluate(
                "Math.max(...[...document.querySelectorAll('.jp-NotebookPanel-notebook, "
                ".jp-WindowedPanel-outer')].map(e => e.scrollHeight), 700)"
            )
            self.page.set_viewport_size({"width": 1100, "height": min(height + 200, 16_000)})
            self.page.wait_for_timeout(1500)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
        if whole:
            self.page.set_viewport_size({"width": 1100, "height": 1200})


def run_notebook(browser, client, theme, source, folder, seconds):
    """Run a notebook; return what was seen, the saved file, and what the reopened file shows."""
    seen = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "root"
        root.mkdir()
        book = root / source.name
        shutil.copy(source, book)
        home = Path(temporary) / "home"
        home.mkdir()
        with server(client, root, home, theme) as address:
            page = Page(browser, address, client, book.name)
            page.run()
            begin, shots = time.monotonic(), 0
            page.page.wait_for_timeout(500)
            while page.running():
                seen.append(page.outputs())
                if time.monotonic() - begin > 2 + 5 * shots and shots < 4:
                    shots += 1
                    page.picture(folder / f"{source.stem}-{shots}-running.png", whole=False)
                if time.monotonic() - begin > seconds:
                    raise TimeoutError(f"{source} runs for more than {seconds} s")
                page.page.wait_for_timeout(200)
            page.page.wait_for_timeout(1000)
            seen.append(page.outputs())
            page.picture(folder / f"{source.stem}-5-ended.png")
            page.command("docmanager:save")
            page.page.wait_for_timeout(2000)
            page.page.close()
        saved = json.loads(book.read_text())
        errors = [
            output["evalue"]
            for cell in saved["cells"]
            for output in cell.get("outputs", [])
            if output["output_type"] == "error"
        ]
        if errors:
            raise AssertionError(f"{source}: {errors}")
        home = Path(temporary) / "another-home"  # without the signatures: the file is not trusted
        home.mkdir()
        with server(client, root, home, theme) as address:
            page = Page(browser, address, client, book.name)
            page.page.wait_for_timeout(2000)
            reopened, images = page.outputs(), page.images()
            page.picture(folder / f"{source.stem}-6-reopened.png")
            page.page.close()
        html = Path(temporary) / "converted.html"
        convert = [sys.executable, "-m", "nbconvert", "--to", "html", "--log-level=ERROR"]
        options = ["--theme", theme, "--output", str(html), str(book)]
        subprocess.run([*convert, *options], check=True)
        page = browser.new_page(viewport={"width": 1100, "height": 1200})
        page.goto(html.as_uri(), wait_until="domcontentloaded")
        page.screenshot(path=folder / f"{source.stem}-7-converted.png", full_page=True)
        page.close()
    if 0 in images:
        raise AssertionError(f"{source}: an image of the reopened file is not shown")
    return seen, saved, reopened


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def check_display(seen, saved, reopened):
    """Check the small notebook: one output, which is updated, and static in the end."""
    for cell in (0, 1):
        outputs = [of_cells[cell] for of_cells in seen if of_cells[cell]]
        check({len(output) for output in outputs} <= {1, 2}, "a display is more than one output")
        alive = {output[0] for output in outputs if "<progress" in output[0]}
        check(len(alive) >= 3, f"cell {cell} was updated {len(alive)} times only")
        if cell == 1:
            told = {text for html in alive for text in re.findall(r"loss so far [\d.]+", html)}
            check(len(told) >= 2, f"no loss is seen within a long epoch: {told}")
        display, result = saved["cells"][cell]["outputs"]
        check(display["output_type"] == "display_data", f"{display['output_type']} is no display")
        html = "".join(display["data"]["text/html"])
        check("<progress" not in html and "<script" not in html, "the saved output is not static")
        check(" in " in "".join(display["data"]["text/plain"]), "the text is not that of the end")
        check("text/html" not in result["data"], "the same curves are shown twice")
        check("data:image/svg+xml" in reopened[cell][0], "the reopened file has no curves")
        check("<td" in reopened[cell][0], "the reopened file has no numbers")
    html = "".join(saved["cells"][1]["outputs"][0]["data"]["text/html"])
    check("continues at epoch" in html, "it is not said that the second fit continues")
    (result,) = saved["cells"][2]["outputs"]
    check("<img" in "".join(result["data"]["text/html"]), "a history in a later cell has no curves")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--client", choices=CLIENTS, action="append")
    parser.add_argument("--theme", choices=THEMES, action="append")
    parser.add_argument("--pictures", type=Path, default=Path("target/browser"))
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--seconds", type=float, default=1800, help="limit for a notebook")
    options = parser.parse_args()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as temporary:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=FLAGS)
        for client in options.client or CLIENTS:
            for theme in options.theme or THEMES:
                folder = options.pictures / f"{client}-{theme}"
                folder.mkdir(parents=True, exist_ok=True)
                if options.notebooks:
                    for path in options.notebooks:
                        run_notebook(browser, client, theme, path, folder, options.seconds)
                        print(f"{path} in {client}, {theme}: ran")
                else:
                    path = Path(temporary) / "training.ipynb"
                    small_notebook(path, epochs=60, long=100)
                    arguments = browser, client, theme, path, folder, options.seconds
                    check_display(*run_notebook(*arguments))
                    print(f"the display of training in {client}, {theme}: as it should be")
        browser.close()
    print(f"pictures: {options.pictures}")


if __name__ == "__main__":
    main()
