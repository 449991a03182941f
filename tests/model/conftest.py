"""One thread: on a busy machine two threads are many times slower on small tensors."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
