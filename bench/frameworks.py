"""The same training, written in the ways that people write it: by hand, with Accelerate, the HF Trainer, Lightning, fastai, and ours.

Every way trains the same network from the same weights on the same batches in the same order, with the same AdamW, the same
clipping at norm 1 and the same rates, for one epoch. Competitors run as their documentation shows them, with progress bars,
checkpoints and trackers off. `bench/loops.py` runs each in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


@dataclass
class Work:
    """What is trained: a project's parts in `examples`, and the same inputs as plain tensors x [n, ...], y [n].

    order [n]: the order in which the examples are seen, batch after batch, every batch full.
    """

    project: Any
    prep: dict[str, Any]
    train: Any
    val: Any
    network: nn.Module
    x: Any
    y: Tensor
    order: Tensor

    @property
    def size(self) -> int:
        return self.project.config.batch_size

    @property
    def steps(self) -> int:
        return self.project.config.epochs * len(self.order) // self.size

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW in groups, as ours makes it: so that no way is ahead by another optimizer."""
        from my_model.engine.optim import make_optimizer

        return make_optimizer(self.project.config, self.project.task, self.network)

    def rates(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
        """Warm-up and cosine."""
        from my_model.engine.optim import lr_factor

        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: lr_factor(self.project.config, step, self.steps)
        )

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """The mean loss, as one writes it by hand."""
        if output.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(output.squeeze(1), y)
        return F.cross_entropy(output, y)


@dataclass
class Items(Dataset[Any]):
    """One example at a time, in the order of training."""

    work: Work

    def __post_init__(self) -> None:
        self.rows = self.work.order.tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Any:
        row, x = self.rows[number], self.work.x
        return ({name: tensor[row] for name, tensor in x.items()} if isinstance(x, dict) else x[row]), self.work.y[row]


def loader(work: Work) -> DataLoader[Any]:
    """The DataLoader of a tutorial; the order is that of the items."""
    return DataLoader(Items(work), batch_size=work.size)


def ours(work: Work, folder: Path) -> None:
    """The project's `fit`, watched as `recipe train` watches it. Stopped after its first epoch."""
    from my_model.engine.callback import Callback
    from my_model.engine.loop import fit
    from recipe_kit.nonfinite import Autopsy
    from recipe_kit.step_monitor import StepMonitor

    class Enough(Exception):
        """One epoch is done."""

    class Stop(Callback):
        def on_epoch(self, progress: Any) -> None:
            raise Enough

    project = work.project
    watching = [StepMonitor(folder), Autopsy(folder, project.config), Stop()]
    project.task.model = lambda config, prep: work.network
    try:
        fit(project.config, project.task, work.prep, work.train, work.val, folder, callbacks=watching)
    except Enough:
        return


def indexed(work: Work, folder: Path) -> None:
    """By hand, each batch one index operation."""

    def batches() -> Iterator[Any]:
        for rows in work.order.split(work.size):
            x = {n: t[rows] for n, t in work.x.items()} if isinstance(work.x, dict) else work.x[rows]
            yield x, work.y[rows]

    by_hand(work, batches())


def kept(work: Work, folder: Path) -> None:
    """By hand, with freed memory kept, as ours has it."""
    from my_model.engine.memory import freed_kept

    with freed_kept():
        indexed(work, folder)


def loaded(work: Work, folder: Path) -> None:
    """By hand, from a DataLoader."""
    by_hand(work, iter(loader(work)))


def by_hand(work: Work, batches: Iterator[Any]) -> None:
    """The bare loop."""
    model, optimizer = work.network.train(), work.optimizer()
    rates = work.rates(optimizer)
    # In the optimizer's order, as ours and Lightning's: in another the norm to clip by differs in its last digit.
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for x, y in batches:
        optimizer.zero_grad()
        loss = work.loss(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rates.step()


def accelerated(work: Work, folder: Path) -> None:
    """Accelerate's example."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    optimizer = work.optimizer()
    model, optimizer, batches, rates = accelerator.prepare(
        work.network.train(), optimizer, loader(work), work.rates(optimizer)
    )
    for x, y in batches:
        loss = work.loss(model(x), y)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()


def hugging_face(work: Work, folder: Path) -> None:
    """The Trainer of transformers, logging every 500 steps as it does by default."""
    from transformers import Trainer, TrainingArguments

    class Model(nn.Module):
        """Returns the loss, as the Trainer wants it."""

        def __init__(self) -> None:
            super().__init__()
            self.network = work.network

        def forward(self, x: Any, labels: Tensor) -> dict[str, Tensor]:
            output = self.network(x)
            return {"loss": work.loss(output, labels), "logits": output}

    def collate(items: list[Any]) -> dict[str, Any]:
        x, y = torch.utils.data.default_collate(items)
        return {"x": x, "labels": y}

    class InOrder(Trainer):
        """The order is that of the items."""

        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(Items(work))

    optimizer = work.optimizer()
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=work.size,
        num_train_epochs=1,
        max_grad_norm=1.0,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    InOrder(Model(), arguments, collate, Items(work), optimizers=(optimizer, work.rates(optimizer))).train()


def lightning(work: Work, folder: Path) -> None:
    """A LightningModule and its Trainer; nothing is logged."""
    import lightning

    class Module(lightning.LightningModule):
        """The network and its step."""

        def __init__(self) -> None:
            super().__init__()
            self.network = work.network

        def training_step(self, batch: Any, number: int) -> Tensor:
            x, y = batch
            return work.loss(self.network(x), y)

        def configure_optimizers(self) -> Any:
            optimizer = work.optimizer()
            rates = {"scheduler": work.rates(optimizer), "interval": "step"}
            return {"optimizer": optimizer, "lr_scheduler": rates}

    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(Module(), loader(work))


def fastai(work: Work, folder: Path) -> None:
    """fastai's Learner with its own DataLoader."""
    from fastai.basics import Callback, DataLoaders, Learner, OptimWrapper
    from fastai.callback.training import GradientClip
    from fastai.data.load import DataLoader as Loader

    optimizer = work.optimizer()
    rates = work.rates(optimizer)

    class Rates(Callback):
        """The same rates as the others, also in the first step, which `fit` would make at the full one."""

        def before_fit(self) -> None:
            for group, rate in zip(optimizer.param_groups, rates.get_last_lr(), strict=True):
                group["lr"] = rate

        def after_batch(self) -> None:
            rates.step()

    parts = DataLoaders(
        Loader(Items(work), bs=work.size, num_workers=0), Loader(Items(work), bs=work.size, num_workers=0)
    )
    learner = Learner(
        parts,
        work.network,
        loss_func=work.loss,
        opt_func=lambda *_, **__: OptimWrapper(opt=optimizer),
        cbs=[GradientClip(1.0), Rates()],
    )
    learner.create_opt()
    with learner.no_bar(), learner.no_logging():
        learner._do_epoch = learner._do_epoch_train  # no validation, as in the others
        learner.fit(1)


OURS, BARE, KEPT = "this template", "bare, direct indexing", "bare, memory kept"
# name -> (way, package it needs)
WAYS: dict[str, tuple[Callable[[Work, Path], None], str]] = {
    OURS: (ours, ""),
    BARE: (indexed, ""),
    KEPT: (kept, ""),
    "bare, DataLoader": (loaded, ""),
    "Accelerate": (accelerated, "accelerate"),
    "HF Trainer": (hugging_face, "transformers"),
    "Lightning": (lightning, "lightning"),
    "fastai": (fastai, "fastai"),
}
