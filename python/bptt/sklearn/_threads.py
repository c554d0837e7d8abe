"""The number of threads of an estimator in a worker process of joblib."""

from __future__ import annotations

import multiprocessing
import os

from bptt._core import get_num_threads, set_num_threads


def limit_worker_threads() -> None:
    """Lower the number of threads to a worker's share of the cores.

    joblib gives every worker its share (the cores over ``n_jobs``, or ``inner_max_num_threads``) in
    ``OMP_NUM_THREADS``. Other processes of multiprocessing get one thread. In the main process, and
    if ``BPTT_NUM_THREADS`` is set, the number does not change.
    """
    if multiprocessing.parent_process() is None or "BPTT_NUM_THREADS" in os.environ:
        return
    text = os.environ.get("OMP_NUM_THREADS", "1").split(",")[0].strip()
    share = int(text) if text.isdigit() and int(text) > 0 else 1
    if get_num_threads() > share:
        set_num_threads(share)
