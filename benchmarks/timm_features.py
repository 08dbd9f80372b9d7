"""Features in timm's own way, as its documentation composes it; `features_timm.py` runs it beside ours.

A data set, `create_loader` with worker processes, the network without its classifier in a loop of
`torch.inference_mode`, the rows put together and saved. What a user may add in a line each is off unless the settings
say so: `channels_last`, and `autocast` to bf16.
"""

import argparse
import json

import numpy as np
import timm
import torch

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("settings", type=json.loads, help="JSON, as `features_timm.py` makes it")
settings = parser.parse_args().settings
device = torch.device(settings["device"])
layout = torch.channels_last if settings["channels_last"] else torch.contiguous_format
network = timm.create_model(settings["network"], checkpoint_path=settings["weights"], num_classes=0)
network = network.eval().to(device, memory_format=layout)
dataset = timm.data.ImageDataset(settings["data"])  # create_dataset would take the folder val alone
loader = timm.data.create_loader(
    dataset,
    batch_size=settings["batch_size"],
    num_workers=settings["workers"],
    use_prefetcher=False,
    device=device,
    **settings["preprocessing"],
)
rows = []
with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=settings["autocast"]):
    for images, _ in loader:
        features = network(images.to(device, memory_format=layout))
        rows.append(features.float().cpu().numpy())
np.savez(settings["output"], features=np.concatenate(rows), files=dataset.filenames(absolute=True))
