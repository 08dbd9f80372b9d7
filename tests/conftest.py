"""What holds for every test."""

import os

# The suite runs in as many processes as there are cores; with more threads than that everything waits for everything.
os.environ.setdefault("OMP_NUM_THREADS", "1")
