"""Features in thingsvision's own way, as its documentation composes it; `features_timm.py` runs it beside ours.

An extractor, an `ImageDataset`, its `DataLoader`, `extract_features` and `save_features`. It reads in its own process
and computes in fp32; there is no setting for either.
"""

import argparse
import importlib
import json
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("settings", type=json.loads, help="JSON, as `features_timm.py` makes it")
settings = parser.parse_args().settings
# not among the packages of this project: it wants older ones
thingsvision = importlib.import_module("thingsvision")
data = importlib.import_module("thingsvision.utils.data")
storing = importlib.import_module("thingsvision.utils.storing")
extractor = thingsvision.get_extractor(
    model_name=settings["network"],
    source="torchvision",
    device=settings["device"],
    pretrained=False,
    model_path=settings["weights"],
)
backend = extractor.get_backend()
output = Path(settings["output"])
dataset = data.ImageDataset(
    root=settings["data"], out_path=str(output), backend=backend, transforms=extractor.get_transformations()
)
batches = data.DataLoader(dataset=dataset, batch_size=settings["batch_size"], backend=backend)
features = extractor.extract_features(batches=batches, module_name=settings["module"], flatten_acts=True)
storing.save_features(features, out_path=str(output), file_format="npy")
