"""Faults of training code that its text alone shows: rules over the syntax trees of a folder of Python files.

Neither torch nor the code that is read is imported, so it answers at once, and on code that cannot be imported. Names are
followed within a function; a rule that cannot know what a name holds stays silent.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from .check_result import CheckResult, check_result

SKIPPED = ("site-packages", "node_modules", "build", "dist", "recipe_kit")  # folders, beside the hidden ones
WORTH = r"torch|sklearn|\.fit|backward\(|optim"  # a file without any of these says nothing of training
STEPS = ("floor", "round", "ceil", "sign", "argmax")  # functions without a gradient
FINAL = {
    "softmax": "softmax",
    "logsoftmax": "log-softmax",
    "sigmoid": "sigmoid",
    **dict(zip(STEPS, STEPS, strict=True)),
}
CE, LOGITS, NLL, BCE, MSE = "cross-entropy", "binary cross-entropy of logits", "nll", "binary cross-entropy", "mse"
LOSSES = {"crossentropy": CE, "crossentropyloss": CE, "bcewithlogitsloss": LOGITS, "bceloss": BCE, "nllloss": NLL}
LOSSES |= {"binarycrossentropywithlogits": LOGITS, "binarycrossentropy": BCE, "mseloss": MSE, "l1loss": MSE}
UNFIT = {"softmax": (CE, LOGITS, NLL), "sigmoid": (CE, LOGITS, NLL), "log-softmax": (CE, LOGITS, BCE)}
SHAPED = ("squeeze", "view", "reshape", "flatten", "float", "to", "cuda", "cpu", "double", "contiguous")
HELD_OUT = r"(?i)(?:^|_)(?:test|val|valid|validation)(?:_|$)"
SEEDS = r"manual_seed|seed_everything|set_seed|set_random_seed|default_rng|\.seed\(|Generator\("
WEIGHTED = r"(?:^|\.)nn\.(?:Lazy)?(?:Linear|Bilinear|Conv\w*|Embedding\w*|\w*Norm\w*|LSTM|GRU|RNN|Transformer\w*|MultiheadAttention)$"
MAKERS = r"(?i)optim|(?:^|\.)(?:SGD|Adam|AdamW|RMSprop)$"
BY = {"step": r"opt|scaler|accelerator", "backward": r"^(?!.*(?:engine|fabric|trainer|autograd|ctx|super))"}
IN_ORDER = (["zero", "backward", "step"], ["backward", "step", "zero"], ["step", "zero", "backward"])
LOOPS, FUNCTIONS = (ast.For, ast.While), (ast.FunctionDef, ast.AsyncFunctionDef)
Found = tuple[str, ast.AST, str, bool]  # rule, place, what stands there, whether it is certain: a FAIL, else a WARN


def dotted(node: ast.AST | None) -> str:
    """A name without what it is called or indexed with: `a.b(c).d[0]` is a.b.d; "" for other things."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Call | ast.Subscript):
        return dotted(node.func if isinstance(node, ast.Call) else node.value)
    return node.id if isinstance(node, ast.Name) else ""


def last(node: ast.AST) -> str:
    """The last part of a dotted name."""
    return dotted(node).rpartition(".")[2]


def kind_of(name: str, kinds: dict[str, str]) -> str:
    """What a name such as BCEWithLogitsLoss or binary_cross_entropy_with_logits stands for, "" for nothing."""
    return kinds.get(name.replace("_", "").lower(), "")


class File:
    """One file: its nodes in order, what each lies in, and the names that hold a loss, an activation or a model."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text, self.tree = path, text, ast.parse(text)
        self.nodes: list[ast.AST] = []
        self.parent: dict[ast.AST, ast.AST] = {}
        self.owner: dict[ast.AST, ast.AST] = {}  # the function or class that a node lies in, or the file
        self.span: dict[ast.AST, tuple[int, int]] = {}  # a node's position, and that behind the last node in it
        self.bound: dict[str, str] = {}
        self._enter(self.tree, self.tree)
        self.scopes = [self.tree, *(n for n in self.nodes if isinstance(n, FUNCTIONS))]
        self.called = [(last(n), n) for n in self.nodes if isinstance(n, ast.Call)]

    def _enter(self, node: ast.AST, owner: ast.AST) -> None:
        self.owner[node], at = owner, len(self.nodes)
        self.nodes.append(node)
        for child in ast.iter_child_nodes(node):
            self.parent[child] = node
            self._enter(child, node if isinstance(node, (*FUNCTIONS, ast.ClassDef)) else owner)
        self.span[node] = at, len(self.nodes)

    def inside(self, scope: ast.AST) -> list[ast.AST]:
        """Nodes of a function, a loop or the file, without those of functions and classes defined in it, in order."""
        owner = scope if isinstance(scope, (*FUNCTIONS, ast.Module)) else self.owner[scope]
        return [n for n in self.nodes[slice(*self.span[scope])] if self.owner[n] is owner and n is not scope]

    def calls(self, *names: str, of: ast.AST | None = None) -> list[ast.Call]:
        """Calls in the file or in a part of it, all of them or of functions and methods of these names."""
        found = [call for name, call in self.called if not names or name in names]
        within = set(self.inside(of)) if of and found else ()
        return [call for call in found if call in within] if of else found

    def bind(self, classes: dict[str, str]) -> None:
        """Follow names to what they hold. classes: class -> last layer of what its forward returns, of all files."""
        found: dict[str, set[str]] = {}
        for node, made in ((n, n.value) for n in self.nodes if isinstance(n, ast.Assign)):
            if not isinstance(made, ast.Call):
                continue
            while isinstance(made.func, ast.Attribute) and isinstance(made.func.value, ast.Call):  # Net().to(device)
                made = made.func.value
            inner = made.args[-1] if last(made) == "Sequential" and made.args else made
            kind = kind_of(last(inner), LOSSES) or kind_of(last(inner), FINAL) or classes.get(last(made), "")
            found.setdefault(dotted(node.targets[0]), set()).add(kind if last(made)[:1].isupper() else "")
        self.bound = {name: kinds.pop() for name, kinds in found.items() if len(kinds) == 1}

    def text_of(self, node: ast.AST) -> str:
        """The lines of a node."""
        return "\n".join(self.text.split("\n")[node.lineno - 1 : node.end_lineno])  # type: ignore[attr-defined]

    def around(self, node: ast.AST) -> list[ast.AST]:
        """What a node lies in, from the inside out, up to its function or the file."""
        found = [self.parent.get(node, self.tree)]
        while found[-1] is not self.tree and not isinstance(found[-1], FUNCTIONS):
            found.append(self.parent[found[-1]])
        return found

    def loop(self, node: ast.AST) -> str:
        """The lines of the loop that a node lies in, "" for none."""
        return next((self.text_of(a) for a in self.around(node) if isinstance(a, LOOPS)), "")

    def value(self, name: str, place: ast.AST) -> ast.expr | None:
        """What was assigned last to a name before a place in its function; None where that was in another branch."""
        around = self.around(place)
        for node in reversed(self.inside(around[-1])):
            if isinstance(node, ast.Assign) and node not in around and self.span[node] < self.span[place]:
                first = node.targets[0]
                if name in map(dotted, first.elts if isinstance(first, ast.Tuple) else node.targets):
                    apart = any(isinstance(a, ast.If | ast.Try) and a not in around for a in self.around(node))
                    return None if apart else node.value
        return None

    def kind(self, value: ast.expr | None) -> str:
        """The last layer or function without a gradient that a value went through."""
        if isinstance(value, ast.Name):
            value = self.value(value.id, value)
        if not isinstance(value, ast.Call) or (last(value)[:1].isupper() and not isinstance(value.func, ast.Call)):
            return ""  # a layer that is made is not applied yet
        if isinstance(value.func, ast.Attribute) and last(value) in SHAPED:
            return self.kind(value.func.value)
        found = self.bound.get(dotted(value.func), "")
        return (found if found in FINAL.values() else "") or kind_of(last(value), FINAL)

    def forwards(self) -> Iterator[tuple[ast.ClassDef, ast.FunctionDef, str]]:
        """Classes, their forward that autograd goes through, and the last layer of what it returns once."""
        for owner in (n for n in self.nodes if isinstance(n, ast.ClassDef)):
            for made in (n for n in owner.body if isinstance(n, ast.FunctionDef) and n.name == "forward"):
                if made.args.args and made.args.args[0].arg == "self":
                    values = [n.value for n in self.inside(made) if isinstance(n, ast.Return)]
                    yield owner, made, self.kind(values[0]) if len(values) == 1 else ""

    def events(self, unit: ast.AST) -> list[tuple[str, ast.Call]]:
        """Calls of a training step in order: zero, backward, step, schedule."""
        found = []
        for call in self.calls("zero_grad", "backward", "step", of=unit):
            on = dotted(call.func).rpartition(".")[0].lower()
            kind = {"zero_grad": "zero", "step": "schedule" if "sched" in on else "step"}.get(last(call), "backward")
            found += [(kind, call)] if re.search(BY.get(kind, ""), on) else []
        return found


def losses(file: File) -> Iterator[Found]:
    """What goes into a loss: probabilities where it wants logits, [n] beside [n, 1], no gradient."""
    for call in (c for c in file.calls() if len(c.args) > 1):
        loss, given = file.bound.get(dotted(call.func)) or kind_of(last(call), LOSSES), file.kind(call.args[0])
        if loss in UNFIT.get(given, ()):
            sure = (given, loss) != ("log-softmax", CE)  # then it is only superfluous
            yield "activation", call, f"{given} before a {loss} that applies its own", sure
        elif loss in LOSSES.values() and given in STEPS and file.calls("backward", of=file.around(call)[-1]):
            yield "gradient", call, f"the loss is taken of {given}(...), which has no gradient", True
        elif loss == MSE and {_shape(a) for a in call.args[:2]} == {"[n]", "[n, 1]"}:
            yield "broadcast", call, "one side is [n] and the other [n, 1]: every output meets every target", True


def _shape(value: ast.expr) -> str:
    if re.search(r"\.(unsqueeze\(1\)|(?:view|reshape)\(.*, 1\))$", text := ast.unparse(value)):
        return "[n, 1]"
    return "[n]" if re.search(r"\.(squeeze|flatten)\([-1]*\)$", text) else ""


def models(file: File) -> Iterator[Found]:
    """Layers that no optimizer will find, outputs without a gradient, and a softmax over the batch."""
    for owner, forward, kind in file.forwards():
        if kind in STEPS:
            yield "gradient", forward, f"{owner.name}.forward returns {kind}(...), which has no gradient", False
        for node in (n for n in ast.walk(owner) if isinstance(n, ast.Assign)):
            name, value = dotted(node.targets[0]), node.value
            listed = value.elts if isinstance(value, ast.List) else [getattr(value, "elt", None)]
            known = rf"(?:ModuleList|Sequential)\(\*?{re.escape(name)}\b|add_module|register"
            made = [dotted(v) for v in listed if isinstance(v, ast.Call)]
            layers = name.startswith("self.") and any(re.search(WEIGHTED, v) for v in made)
            if layers and not re.search(known, file.text_of(owner)):
                yield "unregistered", node, f"{name} is a plain list of layers: none is trained or saved", True
        for call in file.calls("softmax", "log_softmax", of=forward):
            if re.search(r"(?:dim=0|, 0|\(0)\)$", ast.unparse(call)):
                yield "batch axis", call, f"{last(call)} over axis 0, which is the batch", False


def steps(file: File, clearing: set[str]) -> Iterator[Found]:
    """A training step: gradients are cleared, made and applied, then the schedule moves. clearing: functions that clear."""
    for call in (c for scope in file.scopes for kind, c in file.events(scope) if kind == "backward"):
        around, of = file.around(call), getattr(call.func, "value", None)
        grads = [
            ast.unparse(a.items[0]) for a in around if isinstance(a, ast.With) and "_grad" in ast.unparse(a.items[0])
        ]
        if grads and "no_grad" in grads[0]:
            yield "detached", call, "backward inside no_grad: there is nothing to go back through", True
        made = file.value(dotted(of), call)
        if made and last(made) in ("item", "detach", "numpy") and "requires_grad" not in file.text:
            yield "detached", call, f"backward of what is a plain number after .{last(made)}()", True
        units = [*(a for a in around if isinstance(a, LOOPS)), around[-1]]
        if unit := next((u for u in units if "step" in dict(file.events(u))), None):
            yield from _order(file, unit, call, clearing)
            yield from _kept(file, unit, call)


def _order(file: File, unit: ast.AST, call: ast.Call, clearing: set[str]) -> Iterator[Found]:
    events = file.events(unit)
    kinds, at = [kind for kind, _ in events], dict(reversed(events))
    order = [kind for kind in kinds if kind != "schedule"]
    elsewhere = any(last(c) in clearing for c in file.calls(of=unit)) or (clearing and not isinstance(unit, LOOPS))
    if "zero" not in at and not elsewhere and not re.search(r"\.grad = None|\.grad\.(?:data\.)?zero_", file.text):
        yield "cleared", call, "no zero_grad here: every step adds to the gradients of the steps before", True
    if sorted(order) == ["backward", "step", "zero"] and order not in IN_ORDER:
        yield "cleared", at["step"], f"in the order {', '.join(order)} the step finds no gradient", True
    if "schedule" in at and isinstance(unit, LOOPS) and kinds.index("schedule") < kinds.index("step"):
        yield "order", at["schedule"], "the schedule moves before the optimizer: the first rate is skipped", False


def _kept(file: File, unit: ast.AST, call: ast.Call) -> Iterator[Found]:
    """A loss that is kept after its backward pass, in a sum or a list, keeps its graph."""
    of = {n.id for n in ast.walk(call.func) if isinstance(n, ast.Name)}
    for node in (n for n in file.inside(unit) if isinstance(n, ast.AugAssign | ast.Call) and n.lineno >= call.lineno):
        value = node.value if isinstance(node, ast.AugAssign) else next(iter(node.args), None)
        kept = isinstance(node, ast.AugAssign) or last(node) == "append"
        where = dotted(node.target if isinstance(node, ast.AugAssign) else getattr(node.func, "value", None))
        if kept and isinstance(value, ast.Name) and value.id in of - {where}:
            yield "graph", node, f"{where} keeps {value.id} with its graph: memory grows with every step", False


def optimizers(file: File) -> Iterator[Found]:
    """What is done to a model after its optimizer was made: a layer is another one, or the model moves."""
    assigns = [n for n in file.nodes if isinstance(n, ast.Assign)]
    for node in assigns:
        makes = [c for c in ast.walk(node.value) if isinstance(c, ast.Call) and re.search(MAKERS, dotted(c))]
        held = {dotted(a).removesuffix(".parameters") for c in makes for a in c.args} - {""}
        for other in assigns if held else []:
            name, value = dotted(other.targets[0]), dotted(other.value)
            if other.lineno <= node.lineno or file.around(other)[-1] is not file.around(node)[-1]:
                continue
            if value in {f"{m}.{move}" for m in held for move in ("to", "cuda")}:
                yield "moved", other, f"{name} moves after its optimizer was made", False
            elif any(name.startswith(f"{m}.") for m in held) and re.match(r"(?:torch\.)?nn\.(?!Param)[A-Z]", value):
                yield "replaced", other, f"{name} is new, and not held by the optimizer of line {node.lineno}", True


def evaluation(file: File, dropping: bool) -> Iterator[Found]:
    """Evaluation with dropout and norms as in training, and training as in evaluation. dropping: there are such layers."""
    for scope in file.scopes[1:] if dropping and ".eval(" not in file.text else []:
        text, loops = file.text_of(scope), [n for n in file.inside(scope) if isinstance(n, LOOPS)]
        applied = [c for loop in loops for c in file.calls("model", "net", of=loop)]
        quiet = re.search(r"no_grad|inference_mode", text) and not re.search(r"backward\(|\.train\(|training", text)
        if applied and quiet:
            yield "evaluation", applied[0], "the model is applied to data to evaluate without model.eval()", False
    for call in (c for c in file.calls("eval") if not c.args and isinstance(c.func, ast.Attribute)):
        if ".backward(" in (loop := file.loop(call)) and ".train(" not in loop:
            sure = f"{dotted(call.func).rpartition('.')[0]}.train(" in file.text  # else it may be a teacher, or frozen
            yield "training", call, "eval() in the loop that trains, and train() nowhere in it", sure


def data(file: File) -> Iterator[Found]:
    """What is learned from rows it must not see, rows in the order of the file, and one seed again and again."""
    for call in file.calls("fit", "fit_transform"):
        if call.args and re.search(HELD_OUT, name := last(call.args[0])) and "train" not in name:
            sure = last(call) == "fit_transform"  # a calibration is fitted on validation
            yield "leak", call, f"{last(call)} on {name}: it is to learn from the training rows alone", sure
    for call in file.calls("train_test_split"):
        for name in (a.id for a in call.args if isinstance(a, ast.Name)):
            made = file.value(name, call)
            if made is not None and last(made) in ("fit_transform", "fit_resample"):
                sure = last(made) == "fit_resample"
                yield "leak", call, f"{name} was made by {last(made)} of all rows before the split", sure
                break
    for call in file.calls("DataLoader"):
        given = {k.arg for k in call.keywords} & {"shuffle", "sampler", "batch_sampler", None}
        if len(call.args) in (1, 2) and "train" in last(call.args[0]) and not given and "Iterable" not in file.text:
            yield "shuffle", call, f"{last(call.args[0])} is read in the order of the file, never shuffled", False
    for call in (c for c in file.calls("manual_seed", "seed") if c.args and isinstance(c.args[0], ast.Constant)):
        if re.search(r"backward\(|train\w*\(", file.loop(call)):
            yield "seed", call, "one seed in every round of the loop: each draws the same numbers", False


def _top(path: Path) -> Path:
    """The folder of a file, or the outermost package that it belongs to."""
    packages = [folder for folder in path.parents if (folder / "__init__.py").exists()]
    return packages[-1] if path.parent in packages else path.parent


def look(folder: Path) -> list[tuple[Path, int, str, str, bool]]:
    """File, line, rule, what stands there and whether it is certain: all that the rules find in a folder or one file."""
    files, found = [], []
    for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
        if any(part.startswith(".") or part in SKIPPED for part in path.relative_to(folder).parts[:-1]):
            continue
        try:
            text = path.read_text(encoding="utf-8")
            files += [File(path, text)] if re.search(WORTH, text) else []
        except RecursionError:  # an expression too deep to follow
            continue
        except (SyntaxError, ValueError) as error:
            found.append((path, getattr(error, "lineno", 1) or 1, "syntax", f"{type(error).__name__}: {error}", True))
    for _ in range(2):  # once to learn what each forward returns, and again with that
        kinds: dict[str, set[str]] = {}
        for file in files:
            for owner, _, kind in file.forwards():
                kinds.setdefault(owner.name, set()).add(kind)
        classes = {
            name: some.pop() for name, some in kinds.items() if len(some) == 1
        }  # else nobody knows which is meant
        for file in files:
            file.bind({name: kind for name, kind in classes.items() if kind and name in file.text})
    clearing = {getattr(s, "name", "") for f in files for s in f.scopes if f.calls("zero_grad", of=s)} - {""}
    dropping = {_top(f.path) for f in files if re.search(r"Dropout|dropout|BatchNorm", f.text)}
    seeded = any(re.search(SEEDS, f.text) for f in files)
    for file in files:
        rules = [losses(file), models(file), steps(file, clearing), optimizers(file), data(file)]
        rules.append(evaluation(file, _top(file.path) in dropping))
        found += {(file.path, at.lineno, rule, what, sure) for one in rules for rule, at, what, sure in one}  # type: ignore[attr-defined]
    trains = [(file.path, call.lineno) for file in files for call in file.calls("backward")]
    if trains and not seeded:
        found.append((*trains[0], "seed", "nothing here sets a seed: no run can be repeated", False))
    passed = {(f.path, n) for f in files for n, line in enumerate(f.text.split("\n"), start=1) if "noqa" in line}
    return sorted(f for f in found if f[:2] not in passed)


def training_code(folder: Path, root: Path, only: Collection[Path] = ()) -> list[CheckResult]:
    """A result for every place that a rule names, or one PASS. only: look at these files alone."""
    named = []
    for path, line, rule, what, sure in look(folder):
        if only and path not in only:
            continue
        name = path.relative_to(root).as_posix() if root in path.parents else path.as_posix()
        why: dict[str, Any] = {"why": rule, "evidence": {"file": name, "line": line, "rule": rule}}
        named.append(check_result("training code", f"{name}:{line}: {what}", fail=sure, warn=not sure, **why))
    return named or [check_result("training code", "no rule names a line")]
