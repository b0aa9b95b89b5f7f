"""Tests run on one thread: on tiny tensors a thread pool costs more than the work (26 s against 0.9 s measured)."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
