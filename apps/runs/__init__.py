"""What became of runs: a table of them, two of them on the same images, one of them without its pretraining.

run A, run B -> their images, by name -> paired bootstrap -> B - A with interval, classes, images
"""

from .main import compare, gain, list_runs
from .options import CompareOptions, GainOptions, ListOptions

__all__ = ["CompareOptions", "GainOptions", "ListOptions", "compare", "gain", "list_runs"]
