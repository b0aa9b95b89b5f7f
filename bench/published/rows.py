"""Program faults that others have published, each as a patch on a small base project of fault_injection/bases.py.

Described and written afresh: no line of anyone else's code is here. Written and committed before any check was changed for
them; `checks` are the checks that concern the fault (see fault_injection/concerned.py), `fix` is the accepted remedy where it
is something else than the unpatched project. Sources, with what could be read of each (`read`):

DeepFD      Cao et al., ICSE 2022: the sheet of 58 programs with their patches (github.com/ArabelaTso/DeepFD); read: the patch
Defect4ML   Morovati et al., EMSE 2023: bugs of GitHub projects, as Shah et al. list them; read: repository, commit and root cause
Shah        Shah et al., EMSE 2024 (github.com/mehilshah/Bug_Reproducibility_DL_Bugs): PyTorch questions without a crash;
            read: the program where the package holds it ("code"), else the title alone ("title")
TrainCheck  Jiang et al., OSDI 2025 (github.com/OrderLab/TrainCheck-Evaluation-Workloads); read: its description of the bug
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "fault_injection"))

from bases import BASES, TEXT, Base
from concerned import COLD, HOT, LOSS, OVERLAP, REDUCTION, TRAINED
from fault import Edit, Fault, Strength
from faults_code import BACKWARD, CE, HEAD, LOGITS, LOOP, LOSSES, MADE, MAKE, MODEL, MSE, RELU, ZERO, code, forward
from faults_data import BATCH, LEAK, TABLE, _parts
from faults_image import SHOWN
from held_out import FORWARD

SO = "https://stackoverflow.com/questions/"
STATIC = "training code"
CONSTANT = ("output kind", "input matters", "every layer learns", "overfit a batch", "init loss")
UNSCALED = ("init loss", "input matters", "update size", "gradient size", "not learning", "overfit a batch", "distributions")
BCE = '        return F.binary_cross_entropy_with_logits(output.squeeze(1), positive, reduction="none")'
SCALED = 'fitted |= {"target_mean": float(values.mean()), "target_scale": float(values.std()) or 1.0}'
WIDTH = '"outputs": len(classes) if config.task == "multiclass" else 1,'
PIXELS = "return image.to(torch.float32, copy=True).div_(255).sub_(mean).div_(std)  # in place: a third of the time"
MASK = 'mask = x["attention_mask"].unsqueeze(2).to(hidden.dtype)  # [b, t, 1]\n        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)'
TEXT_HEAD = "return self.head(self.dropout(self.embed(x)))  # [b, k]"
SQUARES = '    return ((output.softmax(1) - class_shares(y, output.shape[1])) ** 2).sum(dim=1)'
FROZEN = "        parameter.requires_grad_(not frozen(config, name))"


@dataclass(frozen=True)
class Published:
    """A row. fault: has one strength, "posted". not_run: why it cannot be run here; "" = it is."""

    fault: Fault
    source: str
    link: str
    read: str = "patch"
    fix: Strength | None = None
    not_run: str = ""


def with_settings(name: str, of: str, **settings: object) -> Base:
    """A base of other settings, under its own name."""
    return replace(BASES[of], name=name, settings={**BASES[of].settings, **settings})


OWN = {
    base.name: base
    for base in (
        with_settings("digits layer norm", "digits", norm="layer"),
        with_settings("cancer accuracy", "cancer", metric="accuracy"),
        with_settings("diabetes sgd", "diabetes", optimizer="sgd", lr=0.01, clip=0),
        Base("texts frozen", BASES["texts"].rows, "binary", {**TEXT, "weights": "pretrained", "encoder": "encoder-taught", "adapt": "frozen"}, "text"),
    )
}  # fmt: skip
ALL_BASES = {**BASES, **OWN}


def _row(
    source: str, id: str, link: str, what: str, group: tuple[str, ...], base: str, checks: tuple[str, ...], posted: Strength,
    wrong: str = "", says: str = "", inflating: bool = False, **more: object,
) -> Published:  # fmt: skip
    fault = Fault(id, what, group, base, "check", {"posted": posted}, wrong, says, inflating, checks=checks)
    return Published(fault, source, link, **more)  # type: ignore[arg-type]


def _post(number: int, *rest: object, **more: object) -> Published:
    return _row("DeepFD", f"so-{number}", f"{SO}{number}", *rest, **more)  # type: ignore[arg-type]


def _hidden(activation: str, **settings: object) -> Strength:
    return code(MODEL, RELU, RELU.replace("nn.ReLU()", activation), **settings)


DEEPFD = [
    _post(
        48385830, "layers without activations, a squared error on classes, and SGD at 3.0", ("model", "loss", "optimizer"), "digits sgd",
        ("activations", *LOSS, *HOT), code(MODEL, RELU, RELU.replace("nn.ReLU()", "nn.Identity()"), LOSSES, CE, SQUARES, lr=3.0),
        wrong="the network is linear", fix=_hidden("nn.Sigmoid()", lr=0.5),
    ),
    _post(
        48251943, "a ReLU on the output of a regression whose target has both signs", ("model",), "diabetes",
        ("output kind", "dead units", "overfit a batch", "init loss"), forward(f"{LOGITS}.relu()"),
        wrong="half of the targets cannot be reached", fix=forward(f"3 * ({LOGITS} / 3).tanh()"),  # as there, as wide as the target
    ),
    _post(
        33969059, "a softmax over the one output of a regression", ("model",), "diabetes", CONSTANT, forward(f"{LOGITS}.softmax(1)"),
        wrong="the output is 1 whatever comes in",
    ),
    _post(
        55328966, "pixels as they are, and sigmoids where the loss wants logits", ("model", "preprocessing"), "digits sgd",
        ("output kind", *UNSCALED), code(MODEL, HEAD, f"return {LOGITS}.sigmoid()", scaling="none"),
        wrong="no logit above 1", fix=Strength(settings={"scaling": "minmax", "optimizer": "adamw", "lr": 3e-3}),
    ),
    _post(34311586, "SGD with a rate at which nothing is learned", ("optimizer",), "digits sgd", COLD, Strength(settings={"lr": 1e-4}), fix=Strength(settings={"optimizer": "adamw", "lr": 1e-3})),
    _post(
        31880720, "a softmax over the one output of a binary classifier", ("model", "loss"), "cancer", CONSTANT,
        forward(f"{LOGITS}.softmax(1)"), wrong="the output is 1 whatever comes in",
    ),
    _post(
        39525358, "unscaled inputs, and a binary cross-entropy of what is no probability", ("loss", "model", "preprocessing"), "cancer",
        (*LOSS, *UNSCALED), code(LOSSES, BCE, "        return F.binary_cross_entropy(output.squeeze(1).clamp(1e-7, 1 - 1e-7), positive, reduction=\"none\")", scaling="none"),
        wrong="no gradient outside of (0, 1)",
    ),
    _post(
        39217567, "sigmoids in every one of several hidden layers", ("model", "optimizer"), "digits",
        ("gradient size", "every layer learns", "not learning", "overfit a batch", "underfitting"), _hidden("nn.Sigmoid()", layers=5),
        fix=Strength(settings={"layers": 5}),
    ),
    _post(48934338, "SGD at a rate far too high for a regression", ("optimizer",), "diabetes sgd", HOT, Strength(settings={"lr": 10.0}), fix=Strength(settings={"lr": 1e-3})),
    _post(47724077, "inputs of very different size, not scaled", ("preprocessing",), "cancer", UNSCALED, Strength(settings={"scaling": "none"})),
    _post(
        59325381, "labels divided by 255 with the pixels", ("preprocessing", "data", "loss"), "digits", ("rows and labels", *LOSS),
        Strength(code=(Edit(TABLE, BATCH, BATCH.replace("self.y[rows]", "(self.y[rows] / 255).to(self.y.dtype)")),)),
        wrong="every label is the first class",
    ),
    _post(
        59278771, "sigmoids as outputs for three classes and more", ("model", "loss"), "digits", ("output kind", "init loss", "overfit a batch", STATIC),
        forward(f"{LOGITS}.sigmoid()"), wrong="no logit above 1", fix=_hidden("nn.SELU()"),
    ),
    _post(
        52800582, "neither inputs nor target of a regression are scaled", ("preprocessing",), "diabetes", UNSCALED,
        code("engine/target.py", SCALED, 'fitted |= {"target_mean": 0.0, "target_scale": 1.0}', scaling="none"),
    ),
    _post(
        48221692, "a sigmoid on the output of a regression", ("model",), "diabetes", ("output kind", "overfit a batch"),
        forward(f"{LOGITS}.sigmoid()"), wrong="targets outside of (0, 1) cannot be reached",
    ),
    _post(
        50079585, "one output unit for several classes", ("model", "loss"), "digits", ("output kind", *LOSS),
        code("engine/target.py", WIDTH, '"outputs": 1,'), wrong="classes that cannot be told", says="output",
    ),
    _post(
        44066044, "a ReLU as the last layer of a binary classifier", ("model",), "cancer", ("output kind", "init loss", "dead units", "overfit a batch"),
        forward(f"{LOGITS}.relu()"), wrong="no logit below 0",
    ),
    _post(
        47352366, "ReLUs as the outputs of ten classes", ("model",), "digits", ("output kind", "init loss", "dead units", "overfit a batch"),
        forward(f"{LOGITS}.relu()"), wrong="no logit below 0",
    ),
    _post(
        58609115, "a categorical cross-entropy over one output", ("loss", "model"), "cancer", (*LOSS, "every layer learns", "overfit a batch"),
        code(LOSSES, BCE, "        return F.cross_entropy(output, torch.zeros(len(y), dtype=torch.int64), reduction=\"none\")"),
        wrong="the loss is 0 whatever comes in",
    ),
    _post(51181393, "a rate far too low for a regression", ("optimizer",), "diabetes", COLD, Strength(settings={"lr": 1e-6}), fix=Strength(settings={"lr": 0.01})),
    _post(
        42800203, "a softmax over the one output of a classifier of texts", ("model", "loss"), "texts", CONSTANT,
        code("text/model.py", TEXT_HEAD, "return self.head(self.dropout(self.embed(x))).softmax(1)"), wrong="the output is 1 whatever comes in",
    ),
    _post(37213388, "stopped after two epochs", ("schedule", "loop", "optimizer"), "digits", ("still improving", "underfitting", "not learning"), Strength(settings={"epochs": 2, "lr": 3e-4}), fix=Strength(settings={"epochs": 10})),
]  # fmt: skip


def _commit(repository: str, commit: str, *rest: object, **more: object) -> Published:
    name = repository.split("/")[1]
    return _row("Defect4ML", f"{name}-{commit[:7]}", f"https://github.com/{repository}/commit/{commit}", *rest, read="root cause", **more)  # type: ignore[arg-type]


DEFECT4ML = [
    _commit("alexander-travov/gol_nn", "d9b30a0", "a loss that the task does not call for", ("loss",), "digits", LOSS, code(LOSSES, CE, SQUARES), wrong="what is minimized is not what the project says"),
    _commit(
        "nchlis/keras_pix2pix", "5033eaa", "stopped at the first epoch that is worse", ("schedule", "loop"), "digits sgd",
        ("patience", "still improving", "oscillating validation"), Strength(settings={"patience": 1, "lr": 0.3}),
    ),
    _commit("NikhilM98/learning-deeplearning", "eb24906", "a learning rate far too high", ("optimizer",), "digits", HOT, Strength(settings={"lr": 0.3})),
    _commit("hunkim/DeepLearningZeroToAll", "35e12d4", "plain gradient descent at Adam's rate", ("optimizer",), "digits sgd", COLD, Strength(settings={"lr": 1e-3, "momentum": 0.0}), fix=Strength(settings={"optimizer": "adamw", "lr": 1e-3})),
    _commit(
        "rafalschmidt97/rnn-practice", "31a95ee", "inputs go into the network as they are read", ("preprocessing",), "pictures",
        ("pixels", *UNSCALED), code("image/augment.py", PIXELS, "return image.to(torch.float32, copy=True)"),
    ),
    _commit(
        "chiphuyen/stanford-tensorflow-tutorials", "a6c4a6d", "an augmentation that does more harm than good", ("preprocessing",), "pictures",
        ("labels survive augmentation", "augmentation", "pixels", "underfitting"),
        Strength(settings={"augment": ["flip", "crop", "randaugment"], "strength": 1.0, "label_preserving": "not asked"}),
    ),
    _commit(
        "srihari-humbarwadi/DeepLabV3_Plus-Tensorflow2.0", "18c4681", "evaluation scales pictures in another way than training", ("preprocessing", "evaluation"), "pictures augmented",
        ("pixels", "train against eval", "decoded back"), Strength(code=(Edit("image/data.py", SHOWN, SHOWN.replace("plain(", "0.5 * plain(")),)),
        wrong="evaluation sees other inputs than training",
    ),
    _commit(
        "tensorflow/models", "d816971", "a loss that is not divided by what it is summed over", ("loss", "loop"), "digits sgd", REDUCTION,
        code(LOOP, BACKWARD, "            (part / examples**0.5).backward()"), wrong="the learning rate means something else for every batch size",
    ),
]  # fmt: skip


def _question(number: int, *rest: object, read: str = "title", **more: object) -> Published:
    return _row("Shah", f"so-{number}", f"{SO}{number}", *rest, read=read, **more)  # type: ignore[arg-type]


SHAH = [
    _question(
        65522548, "a log-softmax over one output, and a loss that is low before any step", ("model", "loss"), "cancer", (*CONSTANT, STATIC),
        forward(f"{LOGITS}.log_softmax(1)"), wrong="the output is 0 whatever comes in", read="code",
    ),
    _question(
        61781193, "a softmax before the cross-entropy, most units dropped, and a high rate", ("model", "loss", "optimizer"), "digits",
        ("output kind", "init loss", "overfit a batch", "loss of known outputs", STATIC),
        code(MODEL, HEAD, f"return {LOGITS}.softmax(1)", dropout=0.8, lr=1e-2), wrong="no logit above 1", read="code",
        fix=Strength(settings={"dropout": 0.3, "lr": 1e-3}),
    ),
    _question(
        75915809, "an accuracy that compares every prediction with every label", ("evaluation",), "cancer accuracy", ("metric of known outputs", STATIC),
        code("engine/metrics.py", "return _mean((prediction == truth).astype(float))", "return _mean((prediction[:, None] == truth[None, :]).sum(1).astype(float))"),
        wrong="an accuracy above 1", read="code",
    ),
    _question(
        69284837, "sigmoid layers, and inputs divided by the largest of their batch", ("model", "preprocessing"), "digits", ("no mixing", "gradient size", "overfit a batch"),
        code(MODEL, RELU, RELU.replace("nn.ReLU()", "nn.Sigmoid()"), MODEL, FORWARD, '        parts = [x["numeric"] / x["numeric"].max()]'),
        wrong="an answer depends on who else is in the batch", read="code",
    ),
    _question(
        73349963, "the rows are split anew, so that tested rows were trained on", ("split", "data"), "digits", OVERLAP,
        replace(_parts(1.0), settings={"scaling": "none"}), wrong=LEAK, inflating=True, read="code",
    ),
    _question(
        63020101, "outputs are rounded down before the loss", ("model", "loss"), "diabetes", ("every layer learns", "gradient size", "overfit a batch", "not learning", STATIC),
        forward(f"{LOGITS}.floor()"), wrong="a floor has no gradient",
    ),
    _question(
        65424676, "the mask keeps the padding and hides the words", ("model", "preprocessing"), "texts", ("no mixing", "input matters", "overfit a batch"),
        code("text/model.py", MASK, 'mask = 1 - x["attention_mask"].unsqueeze(2).to(hidden.dtype)\n        return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)'),
        wrong="an answer depends on the longest text of the batch",
    ),
    _question(
        72623363, "attention runs over the batch instead of the sequence", ("model",), "texts", ("no mixing",),
        code("text/model.py", TEXT_HEAD, "h = self.dropout(self.embed(x))\n        return self.head(h + (h @ h.T).softmax(1) @ h)"),
        wrong="an answer depends on who else is in the batch", fix=Strength(),
    ),
    _question(
        66801280, "every step's loss is kept with its graph", ("loop",), "digits", ("memory per step", STATIC),
        code(LOOP, "log = logging.getLogger(__name__)\n", "log = logging.getLogger(__name__)\nKEPT: list[Tensor] = []\n", LOOP, "        parts.append(part.detach())\n", "        parts.append(part.detach())\n        KEPT.append(part)\n"),
        wrong="memory grows with every step",
    ),
    _question(
        65947284, "the loss has a backward pass of its own, which forgets to divide by the batch", ("loss",), "diabetes sgd", ("declared gradient", "gradient size", *REDUCTION, *HOT),
        code(LOSSES, MSE, f"            if output.requires_grad:\n                output.register_hook(lambda g: g * len(batch.y))\n{MSE}"),
        wrong="the step follows something else than the loss",
    ),
    _question(
        75012448, "a layer is replaced after the optimizer was made", ("optimizer", "model"), "digits", (*TRAINED, STATIC),
        code(LOOP, MAKE, MAKE + "    model.head = nn.Linear(model.head.in_features, model.head.out_features)\n"), wrong="the layer keeps its random weights",
    ),
    _question(
        72331452, "outputs [n, 1] less targets [n], averaged: works for batches of one", ("loss",), "diabetes", ("loss of known outputs", "accumulation", "overfit a batch", STATIC),
        code(LOSSES, MSE, "            return REGRESSION[name](output, batch.y).mean(1)"), wrong="every output is drawn to the mean of the batch",
    ),
]  # fmt: skip


def _issue(id: str, link: str, *rest: object, **more: object) -> Published:
    return _row("TrainCheck", id, link, *rest, read="description", **more)  # type: ignore[arg-type]


TRAINCHECK = [
    _issue(
        "pytorch-forum-84911", "https://discuss.pytorch.org/t/obtaining-abnormal-changes-in-loss-and-accuracy/84911", "everything is frozen but the norms",
        ("model", "optimizer"), "digits layer norm", (*TRAINED, "what is trained", "trained share"),
        code(MODEL, MADE, f"    for layer in (m for m in model.modules() if isinstance(m, nn.Linear)):\n        layer.requires_grad_(False)\n{MADE}"),
        wrong="layers that should learn keep their random weights",
    ),
    _issue(
        "so-60335387", f"{SO}60335387", "gradients are never cleared", ("optimizer", "loop"), "digits", ("fresh gradients", STATIC), code(LOOP, ZERO, ""),
        wrong="a step follows gradients of other batches",
    ),
    _issue(
        "mmpretrain-702", "https://github.com/open-mmlab/mmpretrain/issues/702", "stages that the settings freeze are trained", ("model", "optimizer"), "texts frozen",
        ("every layer learns", "trained share", "what is trained", "frozen statistics"), code("text/model.py", FROZEN, "        parameter.requires_grad_(True)"),
        wrong="weights move that should not",
    ),
    _issue(
        "x-jxmnop", "https://x.com/jxmnop/status/1778520637193240892", "each forward pass wraps the model for several processes anew", ("loop",), "digits", (),
        Strength(), wrong="processes drift apart", not_run="needs several processes; the kit's checks look at one",
    ),
]  # fmt: skip

ROWS = [*DEEPFD, *DEFECT4ML, *SHAH, *TRAINCHECK]
