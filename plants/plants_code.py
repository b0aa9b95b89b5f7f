"""Plants in model, loss, optimiser, schedule, loop, evaluation and reproducibility."""

from __future__ import annotations

from plant import Edit, Fault, Plant
from plants_data import PARTS_OF, three

MODEL, LOOP, LOSSES = "tabular/model.py", "engine/loop.py", "engine/losses.py"
OPTIM, RESUME = "engine/optim.py", "engine/resume.py"


def code(*triples: str, **knobs: object) -> Fault:
    """A fault of code edits, given as file, old, new, file, old, new, ..."""
    edits = tuple(Edit(*triples[i : i + 3]) for i in range(0, len(triples), 3))
    return Fault(code=edits, knobs=knobs)


RELU = 'nn.Linear(width, config.hidden, bias=config.norm != "batch"), *norms[config.norm], nn.ReLU(), *dropout]'
BODY = "        self.body = nn.Sequential(*blocks)\n"
HEAD = "return self.head(self.body(torch.cat(parts, dim=1)))  # [b, k]"
MADE = "    if model.head.bias is not None:\n"


def after_body(lines: str) -> Fault:
    """Something done to the hidden layers as they are made."""
    return code(MODEL, BODY, BODY + lines)


def forward(expression: str) -> Fault:
    """Another last line of forward."""
    return code(MODEL, HEAD, f"return {expression}")


def dead(share: float) -> Fault:
    return after_body(f"        self.body[2].bias.data[: int({share} * config.hidden)] = -100.0\n")


def scaled_init(factor: float) -> Fault:
    return code(
        MODEL, MADE, f"    with torch.no_grad():\n        [p.mul_({factor}) for p in model.parameters()]\n{MADE}"
    )


LOGITS, CAT = "self.head(self.body(torch.cat(parts, dim=1)))", "self.body(torch.cat(parts, dim=1))"
NETWORK = [
    Plant(
        "M1", "hidden activations removed", ("model",), "digits", "check",
        {
            "medium": code(MODEL, RELU, RELU.replace("nn.ReLU()", "nn.LeakyReLU(0.98)")),
            "extreme": code(MODEL, RELU, RELU.replace("nn.ReLU()", "nn.Identity()")),
        },
        wrong="the network is a linear model",
    ),
    Plant("M2", "dead hidden units", ("model",), "digits", "check", three(dead(0.5), dead(0.9), dead(1.0))),
    Plant(
        "M3", "hidden layers do not train", ("model", "optimiser"), "digits", "check",
        {
            "mild": after_body("        self.body[0].weight.requires_grad_(False)\n"),
            "medium": forward("self.head(self.body[2:](self.body[:2](torch.cat(parts, dim=1)).detach()))"),
            "extreme": forward(f"self.head({CAT}.detach())"),
        },
        wrong="layers that should learn keep their random weights",
    ),
    Plant(
        "M3 text", "the encoder is detached from the loss", ("model", "optimiser"), "texts", "check",
        {"extreme": code("text/model.py", "return self.head(self.dropout(self.embed(x)))", "return self.head(self.dropout(self.embed(x).detach()))")},
    ),
    Plant(
        "M4", "weights start at zero", ("model",), "digits", "check",
        {
            "medium": after_body("        nn.init.zeros_(self.body[2].weight); nn.init.zeros_(self.body[2].bias)\n"),
            "extreme": code(MODEL, MADE, f"    with torch.no_grad():\n        [p.zero_() for p in model.parameters()]\n{MADE}"),
        },
    ),
    Plant("M6", "far too large initial weights", ("model",), "digits", "check", three(scaled_init(3.0), scaled_init(10.0), scaled_init(100.0))),
    Plant(
        "M7", "examples of a batch mix", ("model",), "digits", "check",
        three(
            forward("(lambda h: self.head(h - 0.3 * h.mean(0)))(" + CAT + ")"),
            forward("(lambda h: self.head(h + h.mean(0)))(" + CAT + ")"),
            forward("(lambda h: self.head(h.softmax(0) * len(h)))(" + CAT + ")"),
        ),
        wrong="an answer depends on who else is in the batch",
    ),
    Plant(
        "M7 reshape", "view instead of transpose", ("model",), "digits", "check",
        {"extreme": forward("self.head((lambda h: h.T.reshape(h.shape))(" + CAT + "))")},
        wrong="an answer depends on who else is in the batch",
    ),
    Plant(
        "M10", "BatchNorm with tiny batches", ("model", "loop"), "digits", "check",
        {
            "medium": code(MODEL, RELU, RELU.replace("*norms[config.norm]", "nn.BatchNorm1d(config.hidden)"), batch_size=4),
            "extreme": Fault(knobs={"norm": "batch", "batch_size": 2}),
        },
        says="batch_size",
    ),
    Plant(
        "M12", "layers that are not registered", ("model", "optimiser"), "digits", "check",
        {
            "medium": code(MODEL, BODY, '        self.__dict__["body"] = nn.Sequential(*blocks)\n'),
            "extreme": code(MODEL, BODY, BODY + '        first = self.body[0]; self.body = nn.Sequential(*blocks[1:]); self.__dict__["first"] = [first]\n', MODEL, HEAD, f"return {LOGITS.replace('torch.cat(parts, dim=1)', 'self.first[0](torch.cat(parts, dim=1))')}"),
        },
        wrong="weights that are neither trained nor saved",
    ),
]  # fmt: skip

CE = "    return F.cross_entropy(output, y if y.ndim == 2 else y.long(), reduction=\"none\", label_smoothing=smoothing)"
BACKWARD = "            (part / (examples / world.size)).backward()"
MSE = "            return REGRESSION[name](output.squeeze(1), batch.y)"
LOSS = [
    Plant("L1", "softmax twice", ("loss", "model"), "digits", "check", {"extreme": forward(f"{LOGITS}.softmax(1)")}),
    Plant("L1 sigmoid", "sigmoid before a loss on logits", ("loss", "model"), "cancer", "check", {"extreme": forward(f"{LOGITS}.sigmoid()")}),
    Plant("L1 log", "log-softmax before cross-entropy", ("loss", "model"), "digits", "check", {"mild": forward(f"{LOGITS}.log_softmax(1)")}),
    Plant(
        "L2", "sum instead of mean", ("loss", "loop"), "digits sgd", "check",
        {"medium": code(LOOP, BACKWARD, "            part.backward()"), "extreme": code(LOOP, BACKWARD, "            part.backward()", clip=0)},
        wrong="the rate means something else for every batch size",
    ),
    Plant(
        "L3", "another loss than the task needs", ("loss",), "digits", "check",
        {
            "mild": code(LOSSES, CE, "    return ((output.softmax(1) - class_shares(y, output.shape[1])) ** 2).sum(dim=1)"),
            "medium": code(LOSSES, CE, "    return (output.softmax(1) - class_shares(y, output.shape[1])).abs().sum(dim=1)"),
            "extreme": code(LOSSES, CE, "    return (output.argmax(dim=1) - y).float().abs() + 0.0 * output.sum(dim=1)"),
        },
        wrong="what is minimised is not what the project says",
    ),
    Plant(
        "L6", "padding counted", ("loss", "model", "preprocessing"), "texts", "check",
        {
            "medium": code("text/model.py", 'mask = x["attention_mask"].unsqueeze(2).to(hidden.dtype)', 'mask = torch.ones_like(x["attention_mask"]).unsqueeze(2).to(hidden.dtype)'),
            "extreme": code("text/data.py", '"attention_mask": real}', '"attention_mask": np.ones_like(real)}'),
        },
        wrong="an answer depends on the longest text of the batch",
    ),
    Plant("L7", "[n] against [n, 1]", ("loss",), "diabetes", "check", {"extreme": code(LOSSES, MSE, "            return REGRESSION[name](output, batch.y)")}),
    Plant("L7 mean", "[n] against [n, 1], averaged", ("loss",), "diabetes", "check", {"extreme": code(LOSSES, MSE, "            return REGRESSION[name](output, batch.y).mean(1)")}),
]  # fmt: skip

ZERO = "    optimiser.zero_grad(set_to_none=True)\n"
MAKE = "    loss, optimiser = make_loss(config, prep), make_optimiser(config, task, model)\n"
NAMED = "    for name, parameter in model.named_parameters():\n        decay"
OPTIMISER = [
    Plant("O1", "gradient ascent", ("optimiser", "loss"), "digits", "check", {"extreme": code(LOOP, BACKWARD, BACKWARD.replace("(part", "(-part"))}),
    Plant(
        "O2", "gradients not cleared", ("optimiser", "loop"), "digits", "check",
        three(
            code(LOOP, ZERO, "    if torch.rand(()) < 0.7:\n        optimiser.zero_grad(set_to_none=True)\n"),
            code(LOOP, ZERO, "    if torch.rand(()) < 0.3:\n        optimiser.zero_grad(set_to_none=True)\n"),
            code(LOOP, ZERO, ""),
        ),
        wrong="a step follows gradients of other batches",
    ),
    Plant("O3", "learning rate far too high", ("optimiser",), "digits", "check", three(*(Fault(knobs={"lr": lr}) for lr in (0.03, 0.3, 3.0)))),
    Plant("O3 text", "learning rate far too high", ("optimiser",), "texts", "check", three(*(Fault(knobs={"lr": lr}) for lr in (0.01, 0.1, 1.0)))),
    Plant("O4", "learning rate far too low", ("optimiser",), "digits", "check", three(*(Fault(knobs={"lr": lr}) for lr in (1e-4, 1e-5, 1e-7)))),
    Plant("O4 text", "learning rate far too low", ("optimiser",), "texts", "check", three(*(Fault(knobs={"lr": lr}) for lr in (3e-5, 3e-6, 1e-7)))),
    Plant(
        "O5", "weight decay far too strong", ("optimiser",), "digits", "check",
        three(
            Fault(knobs={"weight_decay": 1.0}),
            code(OPTIM, "torch.optim.AdamW(param_groups, lr=config.lr,", "torch.optim.Adam(param_groups, lr=config.lr,", weight_decay=0.1),
            code(OPTIM, "torch.optim.AdamW(param_groups, lr=config.lr,", "torch.optim.Adam(param_groups, lr=config.lr,", weight_decay=1.0),
        ),
    ),
    Plant(
        "O6", "the optimiser does not hold the layers that are used", ("optimiser", "model"), "digits", "check",
        {
            "medium": code(OPTIM, NAMED, NAMED.replace("\n        decay", '\n        if name.startswith("head"):\n            continue\n        decay')),
            "extreme": code(LOOP, MAKE, MAKE + "    model.body = nn.Sequential(*(type(m)(m.in_features, m.out_features) if isinstance(m, nn.Linear) else m for m in model.body))\n"),
        },
        wrong="layers that should learn keep their random weights",
    ),
    Plant("O7", "clipping far too low", ("optimiser", "loop"), "digits sgd", "check", three(*(Fault(knobs={"clip": clip}) for clip in (0.1, 1e-2, 1e-4)))),
]  # fmt: skip

RATE = "rate_factor(config, progress.step, steps)"
SCHEDULE = [
    Plant("C1", "the rate falls per step, planned per epoch", ("schedule",), "digits", "check", {"medium": code(LOOP, RATE, "rate_factor(config, progress.step, max(steps // 4, 1))"), "extreme": code(LOOP, RATE, "rate_factor(config, progress.step, config.epochs)")}),
    Plant("C2", "the rate moves per epoch, planned per step", ("schedule",), "digits", "check", {"extreme": code(LOOP, RATE, "rate_factor(config, progress.epoch, steps)")}, wrong="the planned rate is never reached"),
    Plant("C4 patience", "stopped at the first worse epoch", ("schedule", "loop"), "digits sgd", "check", {"medium": Fault(knobs={"patience": 1, "lr": 0.3})}),
    Plant(
        "C4", "the worst epoch is kept as the best", ("schedule", "loop", "evaluation"), "digits", "check",
        {"extreme": code(RESUME, "    best: float = math.inf\n", "    best: float = -math.inf\n", LOOP, "improved = val_loss < progress.best", "improved = val_loss > progress.best")},
    ),
]  # fmt: skip

ORDER = "    order = torch.arange(n) if random is None else shuffled(n, random, getattr(examples, \"stretch\", 1))\n"
TODO = "            todo = plan(train, config.batch_size, config.seed, progress.epoch)[progress.batches :]\n"
TABLE = "            query = None if self.query is None else self.query[rows]\n            x = {name"


def windows(width: int) -> Fault:
    """Rows sorted by label, shuffled only within windows."""
    new = (
        "    order = torch.arange(n) if random is None else examples.y.argsort(stable=True)\n"
        f"    order = order if random is None or {width} < 2 else torch.cat([w[torch.randperm(len(w), generator=random)] for w in order.split({width})])\n"
    )
    return code(LOOP, ORDER, new)


RUNNING = [
    Plant("R1", "rows sorted by class, not shuffled", ("loop", "data"), "digits", "check", three(windows(300), windows(100), windows(0))),
    Plant("R1 random", "rows in file order, not shuffled", ("loop",), "digits", "check", {"mild": code(LOOP, ORDER, "    order = torch.arange(n)\n")}),
    Plant(
        "R2", "evaluated in training mode", ("loop", "evaluation"), "digits dropout", "check",
        three(*(code(LOOP, "    model.eval()\n    batches", "    batches", dropout=d) for d in (0.1, 0.3, 0.6))),
        wrong="scores are those of a network with units missing",
    ),
    Plant(
        "R2 train", "trained in evaluation mode after the first epoch", ("loop", "evaluation"), "digits dropout", "check",
        {"medium": code(LOOP, "    model.train(was_training)\n    return", "    return", LOOP, "            model.train()\n            forward", "            forward")},
        wrong="dropout and norms do not do what the project says",
    ),
    Plant("R4", "only the first batches are used", ("loop", "data"), "digits", "check", three(*(code(LOOP, TODO, TODO.replace("[progress.batches :]", f"[progress.batches : {n}]")) for n in (8, 3, 1)))),
    Plant("R5", "slow loader", ("loop",), "digits", "check", three(*(code("tabular/data.py", TABLE, f"            __import__('time').sleep({s})\n{TABLE}") for s in (0.002, 0.01, 0.03))), wrong="the device waits"),
    Plant("R6", "the last weights are kept, not the best", ("loop",), "digits few", "check", {"medium": code(LOOP, '"best", project.say, progress.best_step)', '"last", project.say)')}, wrong="early stopping chooses another model"),
    Plant("R8", "accumulation not divided", ("loop", "loss"), "digits sgd accumulated", "check", {"medium": code(LOOP, BACKWARD, "            (part / len(batch.y)).backward()"), "extreme": code(LOOP, BACKWARD, "            (part / len(batch.y)).backward()", clip=0)}, wrong="the rate is multiplied by the number of batches"),
]  # fmt: skip

MEAN = "    return lambda w: (w @ each) / w.sum(1)"
EVALUATION = [
    Plant(
        "E1", "mean of batch means with a ragged last batch", ("evaluation",), "digits", "train",
        {"mild": code("engine/metrics.py", MEAN, "    cuts = np.arange(64, len(each), 64)\n    return lambda w: np.stack([part.mean(1) for part in np.split(w * each, cuts, axis=1)]).mean(0)")},
        wrong="rows of the last batch count more",
    ),
    Plant(
        "E1 loss", "validation loss as a mean of batch means", ("evaluation", "loop"), "digits", "check",
        {"mild": code(LOOP, '"val_loss": float(each.mean(dtype=np.float64)),', '"val_loss": float(np.mean([part.mean() for part in np.split(each, range(100, len(each), 100))])),')},
        wrong="rows of the last batch count more",
    ),
    Plant("E5", "the test part opened twice", ("evaluation",), "digits", "evaluate", {"medium": Fault(then=(("evaluate",),)), "mild": Fault(then=(("evaluate", "--force", "a second look"),))}, wrong="a second look chooses on the test part", says="open", inflating=True),
    Plant("E6", "temperature fitted on test", ("evaluation",), "cancer", "evaluate", {"medium": code("steps/evaluate.py", "    y, guess, heat = truth.y.astype(int), ours.decided, ours.heat\n", "    y, guess = truth.y.astype(int), ours.decided\n    heat = calibration.temperature(config, prep, ours.test, y)\n")}, wrong="calibration is measured on what it was fitted to", inflating=True),
    Plant("E8", "the validation score is that of training rows", ("evaluation", "split"), "digits", "check", {"extreme": code("engine/parts.py", PARTS_OF, '    rows = np.flatnonzero(part == 0)\n    return {"train": project.data.take(rows), "val": project.data.take(rows)}')}, wrong="nothing is held out", inflating=True),
]  # fmt: skip

REPRODUCIBILITY = [
    Plant("Q1", "the order of examples has no seed", ("reproducibility", "loop"), "digits", "check", {"medium": code(LOOP, ORDER, ORDER.replace("shuffled(n, random, getattr(examples, \"stretch\", 1))", "torch.randperm(n, generator=(lambda g: (g.seed(), g)[1])(torch.Generator()))"))}, wrong="no run can be repeated"),
    Plant("Q1 init", "the network starts from no seed", ("reproducibility", "loop"), "digits", "check", {"medium": code(LOOP, "    seed_everything(config.seed, config.deterministic)\n", "    torch.seed()\n")}, wrong="no run can be repeated"),
    Plant("Q2", "resumed without the optimiser's state", ("reproducibility", "loop", "optimiser"), "digits", "check", {"medium": code(RESUME, '        optimiser.load_state_dict(adapted)\n', "")}, wrong="a resumed run is another run"),
    Plant("Q2 random", "resumed without the generators' state", ("reproducibility", "loop"), "digits dropout", "check", {"medium": code(RESUME, '        set_rng_state(saved.state["rng"])\n', "")}, wrong="a resumed run is another run"),
    Plant("Q3", "uncommitted change", ("reproducibility",), "digits", "train", {"medium": Fault(then=(("git", "dirty"), ("check",), ("train",)))}, wrong="the code of the run is in no commit", says="commit"),
    Plant("Q4", "two knobs changed at once", ("reproducibility",), "digits", "train", {"medium": Fault(then=(("check", "lr=0.001", "hidden=32"), ("train", "lr=0.001", "hidden=32")))}, wrong="no one can say which of the two did it", says="bundle"),
]  # fmt: skip
