"""Mistakes that an owner makes in a generated project, and the smoke test run on each: python smoke_edits.py JOBS.json.

Each project is tested in a fork of one process that has the heavy libraries already: importing them takes longer than the test.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "fault_injection"))
from fault import Edit

HEAVY = ("torch._dynamo", "polars", "pydantic", "pytest", "scipy.stats", "sklearn.metrics", "safetensors.torch")
ALSO = {"tabular": (), "sequence": (), "image": ("torchvision",), "text": ("tokenizers", "transformers.models.bert.modeling_bert")}
LOOP, LOSSES, OPTIM = "engine/loop.py", "engine/losses.py", "engine/optim.py"


@dataclass(frozen=True)
class Mistake:
    """What an owner did: edits of the package, or other settings (a number multiplies the one that is there)."""

    what: str
    edits: tuple[Edit, ...] = ()
    lr: float = 1.0


def mistake(what: str, *triples: str) -> Mistake:
    """Edits given as file, old, new, file, old, new, ..."""
    return Mistake(what, tuple(Edit(*triples[i : i + 3]) for i in range(0, len(triples), 3)))


# Last line of `forward`, and the features that the head reads.
HEAD = {
    "tabular": ("return self.head(self.body(torch.cat(parts, dim=1)))", "self.body(torch.cat(parts, dim=1))"),
    "image": ("return self.head(self.dropout(self.backbone(channels_last(x))))", "self.backbone(channels_last(x))"),
    "text": ("return self.head(self.dropout(self.embed(x)))", "self.embed(x)"),
    "sequence": ("return self.head(self.dropout(read))", "read"),
}
WIDTH = {
    "tabular": ("nn.Linear(width, outputs,", "nn.Linear(width, outputs + 1,"),
    "image": ("nn.Linear(width, outputs)", "nn.Linear(width, outputs + 1)"),
    "text": ("nn.Linear(encoder.config.hidden_size, outputs)", "nn.Linear(encoder.config.hidden_size, outputs + 1)"),
    "sequence": ("nn.Linear(width, outputs)", "nn.Linear(width, outputs + 1)"),
}
FROZEN = {
    "tabular": (
        "        self.body = nn.Sequential(*blocks)\n",
        "        self.body = nn.Sequential(*blocks).requires_grad_(False)\n",
    ),
    "image": ('alone = config.adapt == "head_first" and', 'alone = config.adapt != "early" or'),
    "text": (
        "parameter.requires_grad_(not frozen(config, name))",
        'parameter.requires_grad_(name.startswith("head."))',
    ),
    "sequence": ("        self.body = body\n", "        self.body = body.requires_grad_(False)\n"),
}
START = {
    "tabular": (
        "            model.head.bias.copy_(",
        "            model.head.weight.mul_(300)\n            model.head.bias.copy_(",
    ),
    "image": ("std=0.1 / width**0.5", "std=30 / width**0.5"),
    "text": ("std=0.02)", "std=6)"),
    "sequence": (
        "        model.head.bias.copy_(",
        "        model.head.weight.mul_(300)\n        model.head.bias.copy_(",
    ),
}
TARGETS = {
    "tabular": ("yield Batch(x, self.y[rows],", "yield Batch(x, self.y[rows.flip(0)],"),
    "image": ("        return Batch(x, self.y[rows],", "        return Batch(x, self.y[rows.flip(0)],"),
    **dict.fromkeys(("text", "sequence"), ("yield Batch(x, self.y[rows],", "yield Batch(x, self.y[rows.flip(0)],")),
}


def of_model(kind: str, task: str) -> list[Mistake]:
    """In model.py and data.py."""
    file, (head, features) = f"{kind}/model.py", HEAD[kind]
    squash = "softmax(1)" if task == "multiclass" else "sigmoid()"
    return [
        mistake("sigmoid or softmax before a loss on logits", file, head, f"return self.head({features}).{squash}"),
        mistake("softmax over the batch", file, head, f"return self.head({features}).log_softmax(0)"),
        mistake("features detached", file, head, f"return self.head({features}.detach())"),
        mistake("examples of a batch mix", file, head, f"h = {features}\n        return self.head(h - h.mean(0))"),
        mistake("an output too many", file, *WIDTH[kind]),
        mistake("layers frozen", file, *FROZEN[kind]),
        mistake("first outputs far too large", file, *START[kind]),
        mistake("targets in another order than inputs", f"{kind}/data.py", *TARGETS[kind]),
    ]


BACKWARD = "(part / (examples / distributed.size)).backward()"
PART = "            part = loss(output.float(), batch).sum()\n"
TURNED = "            batch = batch._replace(y=batch.y[torch.randperm(len(batch.y))])\n"
GROUPS = "    for name, parameter in model.named_parameters():\n        decay"
ADAMW = "torch.optim.AdamW(param_groups, lr=config.lr, "
MADE = "make_optimizer(config, task, model)\n"
TRAINING = [
    mistake("gradient ascent", LOOP, BACKWARD, BACKWARD.replace("(part", "(-part")),
    mistake("gradients not cleared", LOOP, "    optimizer.zero_grad(set_to_none=True)\n", ""),
    mistake("sum for mean", LOOP, BACKWARD, "part.backward()"),
    mistake("targets shuffled in the step", LOOP, PART, TURNED + PART),
    mistake("no step", LOOP, "    optimizer.step()\n", ""),
    mistake("optimizer of another model", LOOP, MADE, "make_optimizer(config, task, task.model(config, prep).to(device))\n"),
    mistake("head left out of the optimizer", OPTIM, GROUPS, GROUPS.replace("        decay", '        if name.startswith("head"):\n            continue\n        decay')),
    mistake("only biases in the optimizer", OPTIM, GROUPS, GROUPS.replace("        decay", "        if parameter.ndim > 1:\n            continue\n        decay")),
    mistake("optimizer ascends", OPTIM, ADAMW, f"{ADAMW}maximize=True, "),
    mistake("lr times 1000 in the optimizer", OPTIM, '"lr": config.lr * s}', '"lr": config.lr * s * 1000}'),
    Mistake("lr times 1000", lr=1000),
    Mistake("lr divided by 1000", lr=0.001),
]  # fmt: skip
BCE, CE = (
    "F.binary_cross_entropy_with_logits(output.squeeze(1), positive, ",
    "F.cross_entropy(output, y if y.ndim == 2 else y.long(), ",
)
MSE, PAIR = '"mse": lambda output, y: (output - y) ** 2', "F.softplus(score[None, :] - score[:, None])"
USED = "return REGRESSION[name](output.squeeze(1), batch.y)"
OF_LOSS = {
    "binary": [
        mistake("arguments of the loss swapped", LOSSES, BCE, BCE.replace("output.squeeze(1), positive", "positive, output.squeeze(1)")),
        mistake("loss averaged already", LOSSES, f'{BCE}reduction="none"', f'{BCE}reduction="mean"'),
        mistake("loss with the wrong sign", LOSSES, BCE, f"-{BCE}"),
    ],
    "multiclass": [
        mistake("softmax in the loss too", LOSSES, CE, CE.replace("output,", "output.softmax(1),")),
        mistake("softmax over the wrong axis in the loss", LOSSES, CE, CE.replace("output,", "output.log_softmax(0),")),
        mistake("loss averaged already", LOSSES, f'{CE}reduction="none"', f'{CE}reduction="mean"'),
        mistake("loss with the wrong sign", LOSSES, CE, f"-{CE}"),
    ],
    "regression": [
        mistake("[n, 1] against [n]", LOSSES, USED, "return REGRESSION[name](output, batch.y)"),
        mistake("[n, 1] against [n], averaged", LOSSES, USED, "return REGRESSION[name](output, batch.y).mean(1)"),
        mistake("difference not squared", LOSSES, MSE, MSE.removesuffix(" ** 2")),
        mistake("loss averaged already", LOSSES, f"{MSE},", f"{MSE}.mean(),".replace("(output - y) ** 2.mean()", "((output - y) ** 2).mean()")),
    ],
    "ranking": [
        mistake("pairs in reverse", LOSSES, PAIR, "F.softplus(score[:, None] - score[None, :])"),
        mistake("sigmoid of the difference, no logarithm", LOSSES, PAIR, "(score[:, None] - score[None, :]).sigmoid()"),
    ],
}  # fmt: skip


def mistakes(kind: str, task: str) -> list[Mistake]:
    """All that apply to this kind of data and task. Of tables, what does not depend on the task is done for one task only."""
    model = of_model(kind, task)
    once = kind != "tabular" or task == "binary"
    return [*model, *OF_LOSS[task], *TRAINING] if once else [model[0], *OF_LOSS[task]]


def main(jobs: Path) -> None:
    """jobs: a list of {"project", "log", "device"}. Writes each "status" of pytest, and its "seconds", back."""
    todo = json.loads(jobs.read_text())
    for name in (*HEAVY, *ALSO[todo[0]["kind"]]):
        importlib.import_module(name)
    gc.freeze()  # pytest collects garbage as it ends: a second for all that was imported here
    for job in todo:
        before = os.times()
        if (child := os.fork()) == 0:
            smoke(Path(job["project"]), job["log"], job["device"])
        job["status"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        after = os.times()
        job["seconds"] = round(after[2] + after[3] - before[2] - before[3], 1)
    jobs.write_text(json.dumps(todo))


def smoke(project: Path, log: str, device: str) -> None:
    """`make smoke` in this process, which ends with pytest's status; a line of summary a failure."""
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.chdir(project)
    sys.path[0] = str(project / "src")
    os.environ["SMOKE_DEVICE"] = device
    import pytest

    flags = ["-x", "-q", "-m", "smoke", "-p", "no:cacheprovider", "--tb=short", f"--basetemp={log}.tmp"]
    os._exit(int(pytest.main([*flags, "tests"])))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
