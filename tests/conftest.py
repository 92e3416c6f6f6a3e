"""What all tests share."""

from __future__ import annotations

import os

# Before torch is imported, and for the processes that tests start: work this small is slowed down by
# threads that wait for each other, tenfold where two test processes share two cores.
os.environ["OMP_NUM_THREADS"] = "1"
