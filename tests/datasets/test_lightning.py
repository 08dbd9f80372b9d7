"""The loader inside Lightning's loops, where iterators, epochs and checkpoints come in an order of their own."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from onetrunk.datasets import Batch, ResumableLoader, SampleDataset, open_dataset, train_transform

EPOCHS = 3


class Recorder(pl.LightningModule):
    """Learns nothing worth knowing; writes down what it was given."""

    def __init__(self, epoch_of) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, int, tuple[int, ...], int]] = []
        self._epoch_of = epoch_of

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        assert isinstance(batch, Batch)
        self.seen.append((self._epoch_of(), index, tuple(batch.indices.tolist()), int(batch.images.long().sum())))
        return (self.scale - batch.images.float().mean()).square()

    def validation_step(self, batch: Batch, index: int) -> None:
        pass

    def predict_step(self, batch: Batch, index: int) -> list[int]:
        return batch.indices.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-4)


class SaveAt(pl.Callback):
    def __init__(self, step: int, hook: str, path: Path) -> None:
        self.step, self.hook, self.path = step, hook, path

    def _save(self, trainer: pl.Trainer, hook: str) -> None:
        if hook == self.hook and trainer.global_step == self.step and not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)

    def on_train_batch_end(self, trainer: pl.Trainer, *_) -> None:
        self._save(trainer, "batch")

    def on_validation_end(self, trainer: pl.Trainer, *_) -> None:
        self._save(trainer, "validation")


def _trainer(folder: Path, *callbacks: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        default_root_dir=folder,
        max_epochs=EPOCHS,
        accelerator="cpu",
        precision="bf16-mixed",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


@pytest.fixture
def make_loader(pets):
    loaders = []

    def make(split: str, workers: int) -> ResumableLoader:
        data = open_dataset(pets, split)
        samples = SampleDataset(data.records, train_transform((32, 32)), classes=data.classes, seed=1)
        loaders.append(ResumableLoader(samples, batch_size=5, shuffle=split == "train", seed=2, workers=workers))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


def _fit(folder: Path, make_loader, *, workers: int = 0, save: SaveAt | None = None, resume: Path | None = None):
    train, val = make_loader("train", workers), make_loader("val", 0)
    module = Recorder(lambda: train.batch_sampler.epoch)
    trainer = _trainer(folder, *([save] if save else []))
    trainer.fit(module, train, val, ckpt_path=resume, weights_only=True)
    return module.seen, module.scale.item()


# 5 batches an epoch: the middle of the first and second epoch, the last batch of one (whose validation a resumed run
# skips, so that runs save after it instead), and after validation at an epoch's end
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("step", "hook"), [(2, "batch"), (7, "batch"), (4, "batch"), (5, "batch"), (10, "validation")])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_the_remaining_samples_and_no_others(tmp_path, make_loader, step, hook, workers):
    save = SaveAt(step, hook, tmp_path / "saved.ckpt")
    complete, weight = _fit(tmp_path, make_loader, save=save)
    assert [(epoch, index) for epoch, index, *_ in complete] == [(e, i) for e in range(EPOCHS) for i in range(5)]
    assert len({indices for _, _, indices, _ in complete}) == 15, "each epoch has an order of its own"

    resumed, resumed_weight = _fit(tmp_path, make_loader, workers=workers, resume=save.path)
    assert resumed == complete[step:]
    assert resumed_weight == weight


@pytest.mark.filterwarnings("ignore")
def test_lightning_predicts_in_the_loaders_order(tmp_path, make_loader):
    loader = make_loader("val", 2)
    predicted = _trainer(tmp_path).predict(Recorder(lambda: 0), loader)
    assert [index for indices in predicted for index in indices] == [0, 1, 2, 3, 4]
