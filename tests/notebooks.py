"""Run the notebooks of examples/, store their outputs, and hold their prose against them.

`make notebooks` runs all of them and writes the outputs into the files. `make check-notebooks`
writes nothing; it is what a submission must pass. Both fail if a figure in the prose is not what
the cells compute.

A figure is a number in the text that a cell computed. The metadata of its text cell say how:

    "figures": {"0.2155": ["floors['training']", 0.0001]}

That is: the number as the text has it, an expression in the names that the notebook has at this
place, and how far the value may be from the text. On other CPUs sums are rounded differently, so
a training ends elsewhere; the range must hold there too. Numbers that are settings, not results,
stand in backticks or in a formula.
"""

import argparse
import hashlib
import re
import sys
import tempfile
from pathlib import Path

try:
    import nbformat
    from nbclient import NotebookClient
except ImportError:  # a test reads this file's rules without running notebooks
    pass

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))
#: Code hosts do not show notebooks that are much larger.
MOST_BYTES = 1_000_000
#: What the metadata of a notebook call the digest of the code that made its outputs.
MADE_BY = "outputs_made_by"


def digest(notebook):
    """Return a digest of the code cells, to see outputs that older code made."""
    code = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    text = "\0".join(source if isinstance(source, str) else "".join(source) for source in code)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decimals(text):
    """Return the numbers with decimals in a text, but for those in code, formulas and links."""
    text = re.sub(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)|<!--.*?-->", " ", text, flags=re.DOTALL)
    return re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", text)


def figures_of(cell):
    """Return the figures of a text cell: the number as written, its expression and its range."""
    figures = cell["metadata"].get("figures", {})
    return [(text, expression, within) for text, (expression, within) in figures.items()]


def kinds(cell):
    """Return what the outputs of a cell are, without what they hold."""
    return [
        (output["output_type"], *sorted(output.get("data", {output.get("name"): None})))
        for output in cell.get("outputs", [])
    ]


def texts(cell):
    """Yield the texts of the outputs of a cell."""
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        yield from (text for kind, text in output.get("data", {}).items() if "text/" in kind)


def run(path):
    """Run a notebook; return it with its outputs, and what is wrong with its figures."""
    notebook = nbformat.read(path, as_version=4)
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=600, record_timing=False, resources=place)
        with client.setup_kernel():
            for n, cell in enumerate(notebook.cells):
                client.execute_cell(cell, n)
                for text, expression, within in figures_of(cell):
                    value = evaluate(client, expression)
                    if not abs(value - float(text)) <= within:
                        wrong.append(f"says {text}, but {expression} is {value:.6g}")
    return notebook, wrong


def evaluate(client, expression):
    """Return the value of an expression in the kernel of a client."""
    message = client.kc.execute("", user_expressions={"value": f"float({expression})"})
    reply = client.wait_for_reply(message)["content"]["user_expressions"]["value"]
    if reply["status"] != "ok":
        raise SystemExit(f"{expression}: {reply['ename']}: {reply['evalue']}")
    return float(reply["data"]["text/plain"])


def tidy(notebook):
    """Keep of a notebook what belongs to it: no times, no widgets, no warnings of this machine."""
    for n, cell in enumerate(code_cells(notebook), 1):
        cell["execution_count"] = n
        outputs = []
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = n
            if output.get("name") == "stderr":
                continue
            if outputs and is_more(output, outputs[-1]):
                outputs[-1]["text"] += output["text"]
            else:
                outputs.append(output)
        cell["outputs"] = outputs
    for cell in notebook["cells"]:
        cell["metadata"].pop("execution", None)
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        MADE_BY: digest(notebook),
    }
    return notebook


def is_more(output, before):
    """Tell whether an output is text that continues the output before it."""
    return all(
        one["output_type"] == "stream" and one["name"] == output.get("name")
        for one in (before, output)
    )


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def faults(notebook):
    """Yield what a reader should not find in outputs."""
    for cell in code_cells(notebook):
        for text in texts(cell):
            for found in re.findall(rf"{Path.home()}\S*|{ROOT}\S*|/tmp/\S*| at 0x[0-9a-f]+", text):
                yield f"an output holds {found}"


def main():
    """Run the notebooks; return how many have faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("notebooks", nargs="*", type=Path, default=EXAMPLES)
    options = parser.parse_args()
    failed, runs = 0, {}
    for path in options.notebooks:
        before = nbformat.read(path, as_version=4)
        if digest(before) in runs:  # the same notebook in another language
            notebook = nbformat.read(path, as_version=4)
            wrong = []
            for cell, twin in zip(code_cells(notebook), code_cells(runs[digest(before)])):
                cell["outputs"] = twin["outputs"]
        else:
            notebook, wrong = run(path)
            runs[digest(before)] = notebook
        notebook = tidy(notebook)
        wrong += faults(notebook)
        text = nbformat.writes(notebook) + "\n"
        if len(text.encode()) > MOST_BYTES:
            wrong.append(f"it has {len(text.encode())} bytes, the most is {MOST_BYTES}")
        if options.check:
            pairs = zip(code_cells(before), code_cells(notebook))
            if before["metadata"].get(MADE_BY) != digest(notebook) or any(
                kinds(stored) != kinds(now) for stored, now in pairs
            ):
                wrong.append("its outputs are not those of its code: run `make notebooks`")
        else:
            path.write_text(text, encoding="utf-8")
        for fault in wrong:
            print(f"{path.name}: {fault}", file=sys.stderr)
        print(f"{path.name}: {'FAILED' if wrong else 'ok'}", flush=True)
        failed += bool(wrong)
    return failed


if __name__ == "__main__":
    sys.exit(main())
