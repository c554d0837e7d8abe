"""Kills a training process at random moments: its checkpoint must always load, and training go on.

A child trains with a checkpoint after every epoch. It is killed (SIGKILL) at a random moment, in
training or while it writes, and started again with resume=True, until it has trained all epochs;
then its parameters and history must have the bits of a run that nobody killed, and it begins anew.
After every kill the file must load, if there is one, and must not be older than before; of the
files that were not finished there is at most one, because who writes the next removes the others.

    python tests/kill.py                # 200 kills, some minutes
    python tests/kill.py --times 20
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import bptt
from bptt._support import safetensors

EPOCHS = 40


def train(path, epochs=EPOCHS):
    """Train to the end, from the checkpoint if it is there; give the model."""
    rng = np.random.default_rng(0)
    x = [rng.integers(0, 9, length) for length in rng.integers(1, 30, 60)]
    y = [(part * 2 + 1) % 9 for part in x]
    model = bptt.Sequential(
        bptt.Embedding(9, 16, rng=0),
        bptt.Dropout(0.1, rng=1),
        bptt.LSTM(16, 100, num_layers=2, dropout=0.1, rng=2),
        bptt.Linear(100, 9, rng=3),
    )
    options = {"checkpoint": path, "resume": True} if path else {}
    model.fit(
        x,
        y,
        loss="cross_entropy",
        optimizer=bptt.Adam(0.003),
        epochs=epochs,
        batch_size=16,
        rng=7,
        progress=False,
        **options,
    )
    return model


def result(model):
    """What must be the same, bit for bit."""
    return [array.tobytes() for array in model.state_dict().values()], model.history.loss


def epochs_of(path):
    """How many epochs a checkpoint has; the file must load."""
    if not path.exists():
        return 0
    bptt.load(path)
    return json.loads(safetensors.read(path)[1]["bptt.training"])["epochs"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--child", type=Path, default=None, help="train to this checkpoint")
    arguments = parser.parse_args()
    if arguments.child:
        train(arguments.child)
        return
    moments = random.Random(arguments.seed)
    directory = Path(tempfile.mkdtemp(dir=arguments.directory))
    path = directory / "run.safetensors"
    want = result(train(None))
    kills = runs = inside = 0
    known = set()
    while kills < arguments.times:
        before = epochs_of(path)
        child = subprocess.Popen([sys.executable, __file__, "--child", str(path)])
        # Most moments are soon after the first file that the child wrote, some are anywhere.
        start = time.monotonic()
        if moments.random() < 0.9:
            mark = path.stat().st_mtime_ns if path.exists() else 0
            while child.poll() is None and time.monotonic() - start < 60:
                if path.exists() and path.stat().st_mtime_ns != mark:
                    break
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.05))
        else:
            time.sleep(moments.uniform(0, 1.0))
        ended = child.poll() is not None
        if not ended:
            child.send_signal(signal.SIGKILL)
        code = child.wait()
        if not ended and code == -signal.SIGKILL:
            kills += 1
        elif code != 0:
            sys.exit(f"training ended with {code}")
        left = [entry for entry in directory.iterdir() if entry != path]
        if len(left) > 1:
            sys.exit(f"what earlier kills left of files is still there: {left}")
        inside += bool(set(left) - known)
        known = set(left)
        after = epochs_of(path)
        if after < before:
            sys.exit(f"the checkpoint went back from {before} to {after} epochs")
        if after == EPOCHS:
            if result(train(path)) != want:
                sys.exit("the resumed run has other bits than the unbroken one")
            runs += 1
            path.unlink()
    if result(train(path)) != want:
        sys.exit("the resumed run has other bits than the unbroken one")
    print(
        f"{kills} kills, {inside} of them within writing a file: every checkpoint loaded, and "
        f"{runs + 1} resumed runs have the bits of the unbroken one"
    )


if __name__ == "__main__":
    main()
