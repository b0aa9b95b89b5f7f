"""Faults in model, loss, optimizer, schedule, loop, evaluation and reproducibility."""

from __future__ import annotations

from fault import Edit, Fault, Strength
from faults_data import PARTS_OF, three

MODEL, LOOP, LOSSES = "tabular/model.py", "engine/loop.py", "engine/losses.py"
OPTIM, RESUME = "engine/optim.py", "engine/resume.py"


def code(*triples: str, **settings: object) -> Strength:
    """A fault of code edits, given as file, old, new, file, old, new, ..."""
    edits = tuple(Edit(*triples[i : i + 3]) for i in range(0, len(triples), 3))
    return Strength(code=edits, settings=settings)


RELU = 'nn.Linear(width, config.hidden, bias=config.norm != "batch"), *norms[config.norm], nn.ReLU(), *dropout]'
BODY = "        self.body = nn.Sequential(*blocks)\n"
HEAD = "return self.head(self.body(torch.cat(parts, dim=1)))  # [b, k]"
MADE = "    if model.head.bias is not None:\n"


def after_body(lines: str) -> Strength:
    """Something done to the hidden layers as they are made."""
    return code(MODEL, BODY, BODY + lines)


def forward(expression: str) -> Strength:
    """Another last line of forward."""
    return code(MODEL, HEAD, f"return {expression}")


def dead(share: float) -> Strength:
    return after_body(f"        self.body[2].bias.data[: int({share} * config.hidden)] = -100.0\n")


def scaled_init(factor: float) -> Strength:
    return code(
        MODEL, MADE, f"    with torch.no_grad():\n        [p.mul_({factor}) for p in model.parameters()]\n{MADE}"
    )


LOGITS, CAT = "self.head(self.body(torch.cat(parts, dim=1)))", "self.body(torch.cat(parts, dim=1))"
NETWORK = [
    Fault(
        "M1", "hidden activations removed", ("model",), "digits", "check",
        {
            "medium": code(MODEL, RELU, RELU.replace("nn.ReLU()", "nn.LeakyReLU(0.98)")),
            "extreme": code(MODEL, RELU, RELU.replace("nn.ReLU()", "nn.Identity()")),
        },
        wrong="the network is a linear model",
    ),
    Fault("M2", "dead hidden units", ("model",), "digits", "check", three(dead(0.5), dead(0.9), dead(1.0))),
    Fault(
        "M3", "hidden layers do not train", ("model", "optimizer"), "digits", "check",
        {
            "mild": after_body("        self.body[0].weight.requires_grad_(False)\n"),
            "medium": forward("self.head(self.body[2:](self.body[:2](torch.cat(parts, dim=1)).detach()))"),
            "extreme": forward(f"self.head({CAT}.detach())"),
        },
        wrong="layers that should learn keep their random weights",
    ),
    Fault(
        "M3 text", "the encoder is detached from the loss", ("model", "optimizer"), "texts", "check",
        {"extreme": code("text/model.py", "return self.head(self.dropout(self.embed(x)))", "return self.head(self.dropout(self.embed(x).detach()))")},
    ),
    Fault(
        "M4", "weights start at zero", ("model",), "digits", "check",
        {
            "medium": after_body("        nn.init.zeros_(self.body[2].weight); nn.init.zeros_(self.body[2].bias)\n"),
            "extreme": code(MODEL, MADE, f"    with torch.no_grad():\n        [p.zero_() for p in model.parameters()]\n{MADE}"),
        },
    ),
    Fault("M6", "far too large initial weights", ("model",), "digits", "check", three(scaled_init(3.0), scaled_init(10.0), scaled_init(100.0))),
    Fault(
        "M7", "examples of a batch mix", ("model",), "digits", "check",
        three(
            forward("(lambda h: self.head(h - 0.3 * h.mean(0)))(" + CAT + ")"),
            forward("(lambda h: self.head(h + h.mean(0)))(" + CAT + ")"),
            forward("(lambda h: self.head(h.softmax(0) * len(h)))(" + CAT + ")"),
        ),
        wrong="an answer depends on who else is in the batch",
    ),
    Fault(
        "M7 reshape", "view instead of transpose", ("model",), "digits", "check",
        {"extreme": forward("self.head((lambda h: h.T.reshape(h.shape))(" + CAT + "))")},
        wrong="an answer depends on who else is in the batch",
    ),
    Fault(
        "M10", "BatchNorm with tiny batches", ("model", "loop"), "digits", "check",
        {
            "medium": code(MODEL, RELU, RELU.replace("*norms[config.norm]", "nn.BatchNorm1d(config.hidden)"), batch_size=4),
            "extreme": Strength(settings={"norm": "batch", "batch_size": 2}),
        },
        says="batch_size",
    ),
    Fault(
        "M12", "layers that are not registered", ("model", "optimizer"), "digits", "check",
        {
            "medium": code(MODEL, BODY, '        self.__dict__["body"] = nn.Sequential(*blocks)\n'),
            "extreme": code(MODEL, BODY, BODY + '        first = self.body[0]; self.body = nn.Sequential(*blocks[1:]); self.__dict__["first"] = [first]\n', MODEL, HEAD, f"return {LOGITS.replace('torch.cat(parts, dim=1)', 'self.first[0](torch.cat(parts, dim=1))')}"),
        },
        wrong="weights that are neither trained nor saved",
    ),
]  # fmt: skip

CE = "    return F.cross_entropy(output, y if y.ndim == 2 else y.long(), reduction=\"none\", label_smoothing=smoothing)"
BACKWARD = "            (part / (examples / distributed.size)).backward()"
MSE = "            return REGRESSION[name](output.squeeze(1), batch.y)"
LOSS = [
    Fault("L1", "softmax twice", ("loss", "model"), "digits", "check", {"extreme": forward(f"{LOGITS}.softmax(1)")}),
    Fault("L1 sigmoid", "sigmoid before a loss on logits", ("loss", "model"), "cancer", "check", {"extreme": forward(f"{LOGITS}.sigmoid()")}),
    Fault("L1 log", "log-softmax before cross-entropy", ("loss", "model"), "digits", "check", {"mild": forward(f"{LOGITS}.log_softmax(1)")}),
    Fault(
        "L2", "sum instead of mean", ("loss", "loop"), "digits sgd", "check",
        {"medium": code(LOOP, BACKWARD, "            part.backward()"), "extreme": code(LOOP, BACKWARD, "            part.backward()", clip=0)},
        wrong="the learning rate means something else for every batch size",
    ),
    Fault(
        "L3", "another loss than the task needs", ("loss",), "digits", "check",
        {
            "mild": code(LOSSES, CE, "    return ((output.softmax(1) - class_shares(y, output.shape[1])) ** 2).sum(dim=1)"),
            "medium": code(LOSSES, CE, "    return (output.softmax(1) - class_shares(y, output.shape[1])).abs().sum(dim=1)"),
            "extreme": code(LOSSES, CE, "    return (output.argmax(dim=1) - y).float().abs() + 0.0 * output.sum(dim=1)"),
        },
        wrong="what is minimized is not what the project says",
    ),
    Fault(
        "L6", "padding counted", ("loss", "model", "preprocessing"), "texts", "check",
        {
            "medium": code("text/model.py", 'mask = x["attention_mask"].unsqueeze(2).to(hidden.dtype)', 'mask = torch.ones_like(x["attention_mask"]).unsqueeze(2).to(hidden.dtype)'),
            "extreme": code("text/data.py", '"attention_mask": real}', '"attention_mask": np.ones_like(real)}'),
        },
        wrong="an answer depends on the longest text of the batch",
    ),
    Fault("L7", "[n] against [n, 1]", ("loss",), "diabetes", "check", {"extreme": code(LOSSES, MSE, "            return REGRESSION[name](output, batch.y)")}),
    Fault("L7 mean", "[n] against [n, 1], averaged", ("loss",), "diabetes", "check", {"extreme": code(LOSSES, MSE, "            return REGRESSION[name](output, batch.y).mean(1)")}),
]  # fmt: skip

ZERO = "    optimizer.zero_grad(set_to_none=True)\n"
MAKE = "    loss, optimizer = make_loss(config, prep), make_optimizer(config, task, model)\n"
NAMED = "    for name, parameter in model.named_parameters():\n        decay"
OPTIMIZER = [
    Fault("O1", "gradient ascent", ("optimizer", "loss"), "digits", "check", {"extreme": code(LOOP, BACKWARD, BACKWARD.replace("(part", "(-part"))}),
    Fault(
        "O2", "gradients not cleared", ("optimizer", "loop"), "digits", "check",
        three(
            code(LOOP, ZERO, "    if torch.rand(()) < 0.7:\n        optimizer.zero_grad(set_to_none=True)\n"),
            code(LOOP, ZERO, "    if torch.rand(()) < 0.3:\n        optimizer.zero_grad(set_to_none=True)\n"),
            code(LOOP, ZERO, ""),
        ),
        wrong="a step follows gradients of other batches",
    ),
    Fault("O3", "learning rate far too high", ("optimizer",), "digits", "check", three(*(Strength(settings={"lr": lr}) for lr in (0.03, 0.3, 3.0)))),
    Fault("O3 text", "learning rate far too high", ("optimizer",), "texts", "check", three(*(Strength(settings={"lr": lr}) for lr in (0.01, 0.1, 1.0)))),
    Fault("O4", "learning rate far too low", ("optimizer",), "digits", "check", three(*(Strength(settings={"lr": lr}) for lr in (1e-4, 1e-5, 1e-7)))),
    Fault("O4 text", "learning rate far too low", ("optimizer",), "texts", "check", three(*(Strength(settings={"lr": lr}) for lr in (3e-5, 3e-6, 1e-7)))),
    Fault(
        "O5", "weight decay far too strong", ("optimizer",), "digits", "check",
        three(
            Strength(settings={"weight_decay": 1.0}),
            code(OPTIM, "torch.optim.AdamW(param_groups, lr=config.lr,", "torch.optim.Adam(param_groups, lr=config.lr,", weight_decay=0.1),
            code(OPTIM, "torch.optim.AdamW(param_groups, lr=config.lr,", "torch.optim.Adam(param_groups, lr=config.lr,", weight_decay=1.0),
        ),
    ),
    Fault(
        "O6", "the optimizer does not hold the layers that are used", ("optimizer", "model"), "digits", "check",
        {
            "medium": code(OPTIM, NAMED, NAMED.replace("\n        decay", '\n        if name.startswith("head"):\n            continue\n        decay')),
            "extreme": code(LOOP, MAKE, MAKE + "    model.body = nn.Sequential(*(type(m)(m.in_features, m.out_features) if isinstance(m, nn.Linear) else m for m in model.body))\n"),
        },
        wrong="layers that should learn keep their random weights",
    ),
    Fault("O7", "clipping far too low", ("optimizer", "loop"), "digits sgd", "check", three(*(Strength(settings={"clip": clip}) for clip in (0.1, 1e-2, 1e-4)))),
]  # fmt: skip

RATE = "lr_factor(config, progress.step, steps)"
SCHEDULE = [
    Fault("C1", "the learning rate falls per step, planned per epoch", ("schedule",), "digits", "check", {"medium": code(LOOP, RATE, "lr_factor(config, progress.step, max(steps // 4, 1))"), "extreme": code(LOOP, RATE, "lr_factor(config, progress.step, config.epochs)")}),
    Fault("C2", "the learning rate moves per epoch, planned per step", ("schedule",), "digits", "check", {"extreme": code(LOOP, RATE, "lr_factor(config, progress.epoch, steps)")}, wrong="the planned rate is never reached"),
    Fault("C4 patience", "stopped at the first worse epoch", ("schedule", "loop"), "digits sgd", "check", {"medium": Strength(settings={"patience": 1, "lr": 0.3})}),
    Fault(
        "C4", "the worst epoch is kept as the best", ("schedule", "loop", "evaluation"), "digits", "check",
        {"extreme": code(RESUME, "    best: float = math.inf\n", "    best: float = -math.inf\n", LOOP, "improved = val_loss < progress.best", "improved = val_loss > progress.best")},
    ),
]  # fmt: skip

ORDER = "    order = torch.arange(n) if random is None else shuffled(n, random, getattr(examples, \"stretch\", 1))\n"
TODO = "            todo = epoch_plan(config, train, progress.epoch)[progress.batches :]\n"
TABLE = "            query = None if self.query is None else self.query[rows]\n            x = {name: tensor[rows]"


def windows(width: int) -> Strength:
    """Rows sorted by label, shuffled only within windows."""
    new = (
        "    order = torch.arange(n) if random is None else examples.y.argsort(stable=True)\n"
        f"    order = order if random is None or {width} < 2 else torch.cat([w[torch.randperm(len(w), generator=random)] for w in order.split({width})])\n"
    )
    return code(LOOP, ORDER, new)


RUNNING = [
    Fault("R1", "rows sorted by class, not shuffled", ("loop", "data"), "digits", "check", three(windows(300), windows(100), windows(0))),
    Fault("R1 random", "rows in file order, not shuffled", ("loop",), "digits", "check", {"mild": code(LOOP, ORDER, "    order = torch.arange(n)\n")}),
    Fault(
        "R2", "evaluated in training mode", ("loop", "evaluation"), "digits dropout", "check",
        three(*(code(LOOP, "        model.eval()\n    batches", "        pass\n    batches", dropout=d) for d in (0.1, 0.3, 0.6))),
        wrong="scores are those of a network with units missing",
    ),
    Fault(
        "R2 train", "trained in evaluation mode after the first epoch", ("loop", "evaluation"), "digits dropout", "check",
        {"medium": code(LOOP, "        model.train()\n    return", "        pass\n    return", LOOP, "            model.train()\n            forward", "            forward")},
        wrong="dropout and norms do not do what the project says",
    ),
    Fault("R4", "only the first batches are used", ("loop", "data"), "digits", "check", three(*(code(LOOP, TODO, TODO.replace("[progress.batches :]", f"[progress.batches : {n}]")) for n in (8, 3, 1)))),
    Fault("R5", "slow loader", ("loop",), "digits", "check", three(*(code("tabular/data.py", TABLE, f"            __import__('time').sleep({s})\n{TABLE}") for s in (0.002, 0.01, 0.03))), wrong="the device waits"),
    Fault("R6", "the last weights are kept, not the best", ("loop",), "digits few", "check", {"medium": code(LOOP, '"best", log.warning, progress.best_step)', '"last", log.warning)')}, wrong="early stopping chooses another model"),
    Fault("R8", "accumulation not divided", ("loop", "loss"), "digits sgd accumulated", "check", {"medium": code(LOOP, BACKWARD, "            (part / len(batch.y)).backward()"), "extreme": code(LOOP, BACKWARD, "            (part / len(batch.y)).backward()", clip=0)}, wrong="the rate is multiplied by the number of batches"),
]  # fmt: skip

MEAN = "    return lambda w: (w @ each) / w.sum(1)"
EVALUATION = [
    Fault(
        "E1", "mean of batch means with a ragged last batch", ("evaluation",), "digits", "train",
        {"mild": code("engine/metrics.py", MEAN, "    cuts = np.arange(64, len(each), 64)\n    return lambda w: np.stack([part.mean(1) for part in np.split(w * each, cuts, axis=1)]).mean(0)")},
        wrong="rows of the last batch count more",
    ),
    Fault(
        "E1 loss", "validation loss as a mean of batch means", ("evaluation", "loop"), "digits", "check",
        {"mild": code(LOOP, '"val_loss": float(each.mean(dtype=np.float64)),', '"val_loss": float(np.mean([part.mean() for part in np.split(each, range(100, len(each), 100))])),')},
        wrong="rows of the last batch count more",
    ),
    Fault("E5", "the test part opened twice", ("evaluation",), "digits", "evaluate", {"medium": Strength(then=(("evaluate",),)), "mild": Strength(then=(("evaluate", "--force", "a second look"),))}, wrong="a second look chooses on the test part", says="open", inflating=True),
    Fault("E6", "temperature fitted on test", ("evaluation",), "cancer", "evaluate", {"medium": code("engine/evaluate.py", "    y, prediction, temperature = truth.y.astype(int), ours.decided, ours.temperature\n", "    y, prediction = truth.y.astype(int), ours.decided\n    temperature = calibration.temperature(ours.test, y)\n")}, wrong="calibration is measured on what it was fitted to", inflating=True),
    Fault("E8", "the validation score is that of training rows", ("evaluation", "split"), "digits", "check", {"extreme": code("engine/splits.py", PARTS_OF, '    rows = np.flatnonzero(part == 0)\n    return {"train": recipe.data.take(rows), "val": recipe.data.take(rows)}')}, wrong="nothing is held out", inflating=True),
]  # fmt: skip

REPRODUCIBILITY = [
    Fault("Q1", "the order of examples has no seed", ("reproducibility", "loop"), "digits", "check", {"medium": code(LOOP, ORDER, ORDER.replace("shuffled(n, random, getattr(examples, \"stretch\", 1))", "torch.randperm(n, generator=(lambda g: (g.seed(), g)[1])(torch.Generator()))"))}, wrong="no run can be repeated"),
    Fault("Q1 init", "the network starts from no seed", ("reproducibility", "loop"), "digits", "check", {"medium": code(LOOP, "    seed_everything(config.seed, config.deterministic)\n", "    torch.seed()\n")}, wrong="no run can be repeated"),
    Fault("Q2", "resumed without the optimizer's state", ("reproducibility", "loop", "optimizer"), "digits", "check", {"medium": code(RESUME, '        optimizer.load_state_dict(adapted)\n', "")}, wrong="a resumed run is another run"),
    Fault("Q2 random", "resumed without the generators' state", ("reproducibility", "loop"), "digits dropout", "check", {"medium": code(RESUME, '        set_rng_state(saved.state["rng"])\n', "")}, wrong="a resumed run is another run"),
    Fault("Q3", "uncommitted change", ("reproducibility",), "digits", "train", {"medium": Strength(then=(("git", "dirty"), ("check",), ("train",)))}, wrong="the code of the run is in no commit", says="commit"),
    Fault("Q4", "two settings changed at once", ("reproducibility",), "digits", "train", {"medium": Strength(then=(("check", "lr=0.001", "hidden=32"), ("train", "lr=0.001", "hidden=32")))}, wrong="no one can say which of the two did it", says="changes 2 things"),
]  # fmt: skip
