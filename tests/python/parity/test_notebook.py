"""The display of training in a real kernel."""

import nbformat
from nbclient import NotebookClient

TRAIN = """
import numpy as np, bptt
x = np.random.default_rng(0).standard_normal((40, 50, 1))
model = bptt.Sequential(bptt.GRU(1, 8, rng=0), bptt.Linear(8, 1, rng=0))
model.fit(x, -x, loss="mse", optimizer=bptt.Adam(0.01), epochs=200)
"""


def test_a_notebook_keeps_one_static_output(monkeypatch):
    cells = [nbformat.v4.new_code_cell(source) for source in (TRAIN, "model.history")]
    book = nbformat.v4.new_notebook(cells=cells)
    updates = []
    client = NotebookClient(book, timeout=300)
    process = client.process_message

    def seen(message, *rest):
        if message["msg_type"] in ("display_data", "update_display_data"):
            updates.append(message["content"]["data"]["text/plain"])
        return process(message, *rest)

    client.process_message = seen
    client.execute()
    shown, result = cells[0].outputs
    assert (shown.output_type, result.output_type) == ("display_data", "execute_result")
    assert shown.data["text/plain"] == updates[-1]
    assert updates[-1].startswith("200 epochs in ")
    assert "<img" in shown.data["text/html"] and "<progress" not in shown.data["text/html"]
    assert result.data.keys() == {"text/plain"}  # the same curves are not shown twice
    assert "<img" in cells[1].outputs[0].data["text/html"]
