"""Features in timm's own way, as its documentation composes it; `features_timm.py` runs it beside ours.

A data set, `create_loader` with worker processes, the network without its classifier in a loop of
`torch.inference_mode`, the rows put together and saved.
"""

import json
import sys

import numpy as np
import timm
import torch

settings = json.loads(sys.argv[1])
network = timm.create_model(settings["network"], checkpoint_path=settings["weights"], num_classes=0).eval()
dataset = timm.data.ImageDataset(settings["data"])  # create_dataset would take the folder val alone
loader = timm.data.create_loader(
    dataset,
    batch_size=settings["batch_size"],
    num_workers=settings["workers"],
    use_prefetcher=False,
    device=torch.device("cpu"),
    **settings["preprocessing"],
)
rows = []
with torch.inference_mode():
    for images, _ in loader:
        rows.append(network(images).numpy())
np.savez(settings["output"], features=np.concatenate(rows), files=dataset.filenames(absolute=True))
