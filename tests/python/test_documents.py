"""The documents: their code runs, their commands exist, their links resolve, and they stay short.

The Python blocks of a document run from top to bottom in one namespace, in a temporary folder. A
block that needs more than NumPy says so in its first line, where a reader sees it; without that
package it is skipped. The Rust blocks are doctests of the crate.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bptt

ROOT = next(folder for folder in Path(__file__).parents if (folder / "Makefile").exists())
FOLDERS = ("docs", "benches", "examples", "python", "src", "tests")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md"))])
WITH_CODE = ("README.md", "docs/guide.md", "docs/lab.md")
#: Those that describe the present state.
OF_TODAY = (*WITH_CODE, "docs/benchmark.md", "ARCHITECTURE.md", "CONTRIBUTING.md")

#: What the first line of a block names, and the module that it means.
NEEDS = {
    "PyTorch": "torch",
    "scikit-learn": "sklearn",
    "Matplotlib": "matplotlib",
    "pandas": "pandas",
}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def blocks_of(document, language=None):
    """Return (line, language, text) of the fenced blocks of a document."""
    fence = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    text = (ROOT / document).read_text()
    blocks = [(text.count("\n", 0, m.start(2)) + 1, m[1], m[2]) for m in fence.finditer(text)]
    return [block for block in blocks if language in (None, block[1])]


def prose_of(document):
    """Return a document without its fenced blocks."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(), flags=re.M | re.S)
    assert "```" not in text, f"{document} has a fence that does not close"
    return text


@pytest.mark.parametrize("document, most", [("README.md", 130), ("ARCHITECTURE.md", 220)])
def test_a_document_stays_short(document, most):
    assert len((ROOT / document).read_text().splitlines()) <= most


@pytest.mark.parametrize("document", WITH_CODE)
def test_every_block_names_its_language(document):
    # rustdoc takes a block without a language, or an indented one, for Rust.
    languages = {language for _, language, _ in blocks_of(document)}
    assert languages <= {"bash", "python", "rust", "text"}
    assert not re.search(r"\n\n {4}\S", prose_of(document))


class Session:
    """The Python blocks of a document, each run once, in order, in one namespace."""

    def __init__(self, document, folder):
        self.document, self.folder = document, folder
        self.blocks = blocks_of(document, "python")
        self._done, self._names = 0, {"__name__": "__main__"}

    def needs(self, n):
        """Return the modules that block n says it needs."""
        first = re.match(r"# Needs ([^:]+): ", self.blocks[n][2])
        return [NEEDS[package] for package in first[1].split(" and ")] if first else []

    def run_to(self, n, monkeypatch):
        """Run the blocks up to number n that have not run."""
        while self._done <= n:
            line, _, text = self.blocks[self._done]
            needs = self.needs(self._done)
            self._done += 1
            if missing(needs):
                continue
            with monkeypatch.context() as patch:
                patch.chdir(self.folder)
                for module in () if needs else NEEDS.values():
                    patch.setitem(sys.modules, module, None)  # importing it is an error
                source = "\n" * (line - 1) + text
                exec(compile(source, ROOT / self.document, "exec"), self._names)


def missing(modules):
    """Return those of some modules that are not installed."""
    return [module for module in modules if importlib.util.find_spec(module) is None]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    threads = bptt.get_num_threads()
    yield {document: Session(document, tmp_path_factory.mktemp("doc")) for document in WITH_CODE}
    bptt.set_num_threads(threads)


PYTHON = [
    (document, n) for document in WITH_CODE for n in range(len(blocks_of(document, "python")))
]


@pytest.mark.parametrize("document, n", PYTHON, ids=lambda value: str(value).replace("/", "-"))
def test_python_runs(document, n, sessions, monkeypatch):
    session = sessions[document]
    if not_there := missing(session.needs(n)):
        pytest.skip(f"{document}, line {session.blocks[n][0]}, needs {' and '.join(not_there)}")
    session.run_to(n, monkeypatch)


def commands_of(document):
    """Return the shell commands of a document: those in blocks, and those within the text."""
    blocks = "\n".join(text for _, _, text in blocks_of(document, "bash"))
    lines = blocks.replace("\\\n", " ").splitlines()
    inline = re.findall(r"`((?:make|cargo bench|python) [^`]+)`", prose_of(document))
    for command in [*lines, *(" ".join(command.split()) for command in inline)]:
        words = shlex.split(command, comments=True)
        if words:
            yield shlex.join(words)


COMMANDS = sorted({command for document in OF_TODAY for command in commands_of(document)})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command):
    words, environment = shlex.split(command), dict(os.environ)
    while "=" in words[0]:
        name, value = words.pop(0).split("=")
        assert name in ("BPTT_SIMD", "BPTT_NUM_THREADS")
        environment[name] = value
    match words:
        case ["make", *targets]:
            assert targets and set(targets) <= make_targets()
        case ["pip", "install", package]:
            given = re.fullmatch(r"(?:\.|bptt)(?:\[([\w,]+)\])?", package)
            assert given, f"{package} is not this package"
            assert set((given[1] or "").split(",")) <= extras() | {""}
        case ["python", "-m", "bptt", name, *arguments]:
            options = [argument for argument in arguments if argument.startswith("--")]
            run = [sys.executable, "-m", "bptt", name, *([] if name == "info" else ["--help"])]
            told = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
            assert [
                option for option in options if not re.search(rf"{option}\b", told.stdout)
            ] == []
        case ["python", script, *_]:
            assert (ROOT / script).is_file()
        case ["cargo", "bench", "--bench", name, *_]:
            benches = tomllib.loads((ROOT / "Cargo.toml").read_text())["bench"]
            assert name in [bench["name"] for bench in benches]
        case ["cargo", "doc", "--open"]:
            pass
        case _:
            pytest.fail(f"no rule says how to check {command}")


def make_targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return set(project["optional-dependencies"])


def anchors_of(path):
    """Return the anchors that a document's headings have where Markdown is shown."""
    headings = re.findall(r"^#+ (.*)$", prose_of(name_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: name_of(path).replace("/", "-"))
def test_links_resolve(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(name_of(document))):
        if re.match(r"[a-z]+:", target):
            continue  # somebody else's
        file, _, anchor = target.partition("#")
        path = (document.parent / file).resolve() if file else document
        assert path.exists(), f"{name_of(document)} links to {target}"
        if anchor:
            assert anchor in anchors_of(path), f"{name_of(document)} links to {target}"


def section(document, heading):
    """Return the text below a heading, up to the next one of its rank."""
    return re.split(r"^## ", prose_of(document).split(f"\n## {heading}\n")[1], flags=re.M)[0]


def rows_of(text):
    """Return the rows of a table, without its head, as lists of cells."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def code_of(*folders):
    return {p: p.read_text() for f in folders for p in (ROOT / f).rglob("*") if is_code(p)}


def is_code(path):
    return path.suffix in (".rs", ".py")


def test_the_glossary_is_short_and_no_word_is_there_twice():
    words = [word for word, _ in rows_of(section("ARCHITECTURE.md", "Glossary"))]
    assert 0 < len(words) <= 25
    assert len(set(words)) == len(words)


def test_every_contract_names_tests_that_exist():
    code = "\n".join(code_of("src", "python", "tests").values())
    there = set(re.findall(r"\b(?:fn|def) (\w+)\(", code))
    contracts = rows_of(section("ARCHITECTURE.md", "Contracts"))
    assert contracts
    for contract, tests in contracts:
        names = set(re.findall(r"`(\w+)`", tests))
        assert names and names - there == set(), contract


def test_unsafe_code_is_where_the_page_says():
    named = set(re.findall(r"`([\w/]+(?:\.rs)?)`", section("ARCHITECTURE.md", "Unsafe code")))
    allowing = set()
    for path, text in code_of("src", "python").items():
        if path.suffix == ".rs" and "allow(unsafe_code)" in text:
            whole = path.name == "mod.rs" and "#![allow(unsafe_code)]" in text
            place = name_of(path.parent if whole else path)
            allowing.add(place.removeprefix("src/"))
    assert allowing and allowing <= named
    assert {name for name in named if name.endswith(".rs")} <= allowing


def test_decisions_are_dated_numbered_and_listed():
    folder = ROOT / "docs" / "decisions"
    records = sorted(folder.glob("[0-9]*.md"))
    listed = re.findall(r"\]\(([^)]+\.md)\)", (folder / "README.md").read_text())
    assert [record.name for record in records] == [name for name in listed if name[0].isdigit()]
    for n, record in enumerate(records, 1):
        text = record.read_text()
        assert record.name.startswith(f"{n:04}-") and text.startswith(f"# {n}. ")
        assert re.search(r"^Date: \d{4}-\d\d-\d\d\. CPU: ", text, re.MULTILINE)
        for heading in ("Context", "Figures", "Decision"):
            assert f"\n## {heading}\n" in text


@pytest.mark.parametrize("document", OF_TODAY)
def test_files_that_are_named_exist(document):
    there = {f"/{name_of(p)}" for f in (".", *FOLDERS) for p in (ROOT / f).glob("*")}
    there |= {f"/{name_of(p)}" for f in FOLDERS for p in (ROOT / f).rglob("*")}
    for code in re.findall(r"`(?!cargo )([^`]+)`", prose_of(document)):
        for name in re.findall(r"(?<![\w.])[\w./-]+(?:\.(?:rs|py|pyi|toml|ipynb)|\w/)(?!\S)", code):
            found = any(path.endswith(f"/{name.rstrip('/')}") for path in there)
            assert found, f"{document} names {name}"


def test_rust_blocks_are_doctests():
    for document in WITH_CODE:
        if blocks_of(document, "rust"):
            assert f'include_str!("../{document}")' in (ROOT / "src" / "lib.rs").read_text()
