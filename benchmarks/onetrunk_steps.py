"""Runs an onetrunk command, and writes down when each of its optimizer steps ended, as JSON seconds.

    python benchmarks/onetrunk_steps.py steps.json classification train --data pets/ ...

`finetune_torchvision.py` runs it: a run's own log has the seconds of whole epochs, in which validation is.
"""

import argparse
import json
import time
from pathlib import Path

from onetrunk.apps.cli import main
from onetrunk.apps.process_settings import settle_process

settle_process()  # as the command line does, before torch is imported

from torch.optim.optimizer import register_optimizer_step_post_hook  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("steps", type=Path, help="the file to write")
parser.add_argument("words", nargs=argparse.REMAINDER, help="what stands behind `onetrunk`")
given = parser.parse_args()
stamps: list[float] = []
register_optimizer_step_post_hook(lambda *_: stamps.append(time.monotonic()))
code = main(given.words)
given.steps.write_text(json.dumps(stamps))
raise SystemExit(code)
