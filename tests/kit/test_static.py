"""Rules on the text of training code: each names its fault at its line, and is silent on the sound control; and what a CI reads."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from recipe_kit.checks import static
from recipe_kit.checks.check_result import check_result, not_applicable
from recipe_kit.report import ci

LOOP = "import torch\ntorch.manual_seed(0)\nopt = torch.optim.SGD(model.parameters(), lr=1)\nfor x, y in rows:\n"
NET = "from torch import nn\nimport torch.nn.functional as F\n\n\nclass Net(nn.Module):\n    def forward(self, x):\n        return {}\n"
# rule, whether it is certain, faulty code with <<< on the line to name, sound code
CASES = [
    ("activation", True, "p = torch.softmax(model(x), dim=1)\nloss = F.cross_entropy(p, y)  # <<<", "p = model(x)\nloss = F.cross_entropy(p, y)\nshown = torch.softmax(p, dim=1)"),
    ("activation", True, "crit = nn.BCEWithLogitsLoss()\nloss = crit(torch.sigmoid(net(x)), y)  # <<<", "crit = nn.BCELoss()\nloss = crit(torch.sigmoid(net(x)), y)"),
    ("activation", True, "net = nn.Sequential(nn.Linear(2, 3), nn.Softmax(dim=1)).cuda()\nloss = nn.CrossEntropyLoss()(net(x), y)  # <<<", "net = nn.Sequential(nn.Linear(2, 3), nn.LogSoftmax(dim=1))\nloss = nn.NLLLoss()(net(x), y)"),
    ("activation", True, NET.format("F.softmax(self.a(x), dim=1)") + "net = Net()\nloss = F.cross_entropy(net(x), y)  # <<<", NET.format("self.a(x)") + "net = Net()\nloss = F.cross_entropy(net(x), y)"),
    ("activation", False, "loss = F.cross_entropy(F.log_softmax(net(x), dim=1), y)  # <<<", "loss = F.nll_loss(F.log_softmax(net(x), dim=1), y)"),
    ("activation", True, "p = net(x).log_softmax(1)\nloss = F.binary_cross_entropy(p, y)  # <<<", "p = net(x)\nif shown:\n    p = p.softmax(1)\nloss = F.cross_entropy(p, y)"),
    ("gradient", True, "loss = F.mse_loss(net(x).argmax(1), y)  # <<<\nloss.backward()", "hits = (net(x).argmax(1) == y).sum()\nloss.backward()"),
    ("gradient", False, "class Net(nn.Module):\n    def forward(self, x):  # <<<\n        return self.a(x).floor()", "class Step(torch.autograd.Function):\n    def forward(ctx, x):\n        return x.floor()"),
    ("broadcast", True, "loss = F.mse_loss(net(x).squeeze(), y.unsqueeze(1))  # <<<", "loss = F.mse_loss(net(x).squeeze(), y)"),
    ("unregistered", True, "class Net(nn.Module):\n    def __init__(self):\n        self.layers = [nn.Linear(2, 2) for _ in range(3)]  # <<<\n\n    def forward(self, x):\n        return x", "class Net(nn.Module):\n    def __init__(self):\n        self.layers = nn.ModuleList([nn.Linear(2, 2)])\n        self.parts = [nn.ReLU()]\n        self.body = nn.Sequential(*self.parts)\n\n    def forward(self, x):\n        return x"),
    ("batch axis", False, "class Net(nn.Module):\n    def forward(self, x):\n        return self.b(F.softmax(self.a(x), dim=0))  # <<<", "class Net(nn.Module):\n    def forward(self, x):\n        return self.b(F.softmax(self.a(x), dim=-1))"),
    ("detached", True, LOOP + "    opt.zero_grad()\n    with torch.no_grad():\n        loss = net(x)\n        loss.backward()  # <<<\n    opt.step()", LOOP + "    opt.zero_grad()\n    loss = net(x)\n    loss.backward()\n    with torch.no_grad():\n        opt.step()"),
    ("detached", True, LOOP + "    opt.zero_grad()\n    loss = net(x).detach()\n    loss.backward()  # <<<\n    opt.step()", LOOP + "    opt.zero_grad()\n    target = net(x).detach()\n    loss = crit(net(x), target)\n    loss.backward()\n    opt.step()"),
    ("cleared", True, LOOP + "    loss = net(x)\n    loss.backward()  # <<<\n    opt.step()", LOOP + "    loss = net(x)\n    loss.backward()\n    opt.step()\n    opt.zero_grad()"),
    ("cleared", True, LOOP + "    loss = net(x)\n    loss.backward()\n    opt.zero_grad()\n    opt.step()  # <<<", LOOP + "    loss = net(x)\n    loss.backward()\n    if i % 4 == 0:\n        opt.step()\n        opt.zero_grad()"),
    ("cleared", True, LOOP + "    opt.zero_grad()\n    opt.step()  # <<<\n    net(x).backward()", LOOP + "    def closure():\n        opt.zero_grad()\n        loss = net(x)\n        loss.backward()\n        return loss\n    opt.step(closure)"),
    ("order", False, LOOP + "    opt.zero_grad()\n    net(x).backward()\n    scheduler.step()  # <<<\n    opt.step()", LOOP + "    opt.zero_grad()\n    net(x).backward()\n    opt.step()\n    scheduler.step()"),
    ("graph", False, LOOP + "    opt.zero_grad()\n    loss = net(x)\n    loss.backward()\n    total += loss  # <<<\n    opt.step()", LOOP + "    opt.zero_grad()\n    loss = net(x)\n    loss.backward()\n    total += loss.item()\n    opt.step()"),
    ("graph", False, LOOP + "    opt.zero_grad()\n    part = net(x)\n    (part / 4).backward()\n    kept.append(part)  # <<<\n    opt.step()", LOOP + "    opt.zero_grad()\n    total = 0\n    for m in nets:\n        part = m(x)\n        total += part\n    total.backward()\n    kept.append(part.detach())\n    opt.step()"),
    ("replaced", True, "opt = torch.optim.Adam(model.parameters())\nmodel.head = nn.Linear(2, 3)  # <<<", "model.head = nn.Linear(2, 3)\nopt = torch.optim.Adam(model.parameters())"),
    ("moved", False, "opt = torch.optim.Adam(model.parameters())\nmodel = model.to(device)  # <<<", "model = model.to(device)\nopt = torch.optim.Adam(model.parameters())\nx = x.to(device)"),
    ("evaluation", False, "drop = nn.Dropout()\n\ndef valid():\n    with torch.no_grad():\n        for x in rows:\n            y = model(x)  # <<<", "drop = nn.Dropout()\n\ndef valid():\n    model.eval()\n    with torch.no_grad():\n        for x in rows:\n            y = model(x)"),
    ("training", False, LOOP + "    opt.zero_grad()\n    net(x).backward()\n    opt.step()\n    net.eval()  # <<<", LOOP + "    net.train()\n    opt.zero_grad()\n    net(x).backward()\n    opt.step()\n    net.eval()"),
    ("leak", True, "x_test = scaler.fit_transform(x_test)  # <<<", "x_train = scaler.fit_transform(x_train)\nx_test = scaler.transform(x_test)"),
    ("leak", False, "x = scaler.fit_transform(x)\na, b = train_test_split(x, y)  # <<<", "a, b = train_test_split(x, y)\na = scaler.fit_transform(a)"),
    ("leak", True, "x, y = SMOTE().fit_resample(x, y)\na, b = train_test_split(x, y)  # <<<", "a, b = train_test_split(x, y)\na, b = SMOTE().fit_resample(a, b)"),
    ("shuffle", False, "loader = DataLoader(train_set, batch_size=8)  # <<<", "loader = DataLoader(train_set, 8, shuffle=True)\nother = DataLoader(test_set, batch_size=8)\nthird = DataLoader(train_set, sampler=s)"),
    ("seed", False, "for epoch in range(3):\n    torch.manual_seed(0)  # <<<\n    train(model)", "torch.manual_seed(0)\nfor epoch in range(3):\n    train(model)"),
    ("seed", False, "opt = torch.optim.SGD(p)\nopt.zero_grad()\nloss.backward()  # <<<\nopt.step()", "torch.manual_seed(0)\nopt = torch.optim.SGD(p)\nopt.zero_grad()\nloss.backward()\nopt.step()"),
    ("syntax", True, "import torch\nprint 'old'  # <<<", "import torch\nprint('new')"),
]  # fmt: skip


def named(folder: Path, code: str) -> list[tuple[str, int, bool]]:
    """(rule, line, certain) of all that is found in this code; without the seed, which most of it lacks."""
    (folder / "code.py").write_text(
        code if "torch" in code else f"import torch  # {code}" if "\n" not in code else f"{code}\n# torch"
    )
    return [(rule, line, sure) for _, line, rule, _, sure in static.look(folder)]


@pytest.mark.parametrize(("rule", "certain", "faulty", "sound"), CASES)
def test_a_rule_names_its_fault_and_is_silent_on_the_sound_control(
    tmp_path: Path, rule: str, certain: bool, faulty: str, sound: str
) -> None:
    faulty, sound = (f"# torch\n{code}" for code in (faulty, sound))
    line = next(i for i, text in enumerate(faulty.split("\n"), start=1) if "<<<" in text)
    found = [f for f in named(tmp_path, faulty) if f[0] != "seed" or rule == "seed"]
    assert found == [(rule, line, certain)]
    assert [f for f in named(tmp_path, sound) if f[0] != "seed" or rule == "seed"] == []


def test_every_rule_is_tested_and_has_causes() -> None:
    words = tomllib.loads((Path(static.__file__).parent / "findings.toml").read_text())["training code"]
    assert set(words) - {"expected", "next"} == {rule for rule, *_ in CASES}


def test_a_line_with_noqa_is_passed_over(tmp_path: Path) -> None:
    code = "import torch\nx_test = scaler.fit_transform(x_test)"
    assert len(named(tmp_path, code)) == 1 and named(tmp_path, f"{code}  # noqa") == []


def test_a_class_of_another_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET.format("F.softmax(self.a(x), dim=1)"))
    assert named(tmp_path, "import torch\nfrom net import Net\nmodel = Net()\nloss = F.cross_entropy(model(x), y)") == [
        ("activation", 4, True)
    ]


def findings() -> list[ci.Finding]:
    """One of each verdict; the FAIL in a line of code, with signs that XML cannot hold."""
    evidence = {"file": "src/a.py", "line": 7, "rule": "cleared"}
    found = [
        check_result(
            "training code",
            "src/a.py:7: no <zero_grad> & \x00 \ud800 here",
            fail=True,
            why="cleared",
            evidence=evidence,
        ),
        check_result("patience", "patience = 1", warn=True),
        check_result("augmentation", "as planned"),
        not_applicable("dead units", "the network has no ReLU module"),
    ]
    return [finding.record() for finding in found]


def test_sarif_has_what_the_schema_requires(tmp_path: Path) -> None:
    """Required by the schema of SARIF 2.1.0: version, runs; tool.driver.name; an id of each rule; a message of each result; levels
    of an enumeration; lines from 1. GitHub wants a location too."""
    ci.report("check", findings(), str(tmp_path / "a.sarif"), "")
    log = json.loads((tmp_path / "a.sarif").read_text())
    (run,) = log["runs"]
    assert log["version"] == "2.1.0" and run["tool"]["driver"]["name"] == "recipe"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["training code", "patience"]
    assert [(r["ruleId"], r["level"]) for r in run["results"]] == [("training code", "error"), ("patience", "warning")]
    places = [r["locations"][0]["physicalLocation"] for r in run["results"]]
    assert [(p["artifactLocation"]["uri"], p["region"]["startLine"]) for p in places] == [
        ("src/a.py", 7),
        ("recipe.toml", 1),
    ]
    assert all(r["message"]["text"] for r in run["results"])


def test_junit_is_read_by_a_parser_and_counts_what_it_holds(tmp_path: Path) -> None:
    ci.report("check", findings(), "", str(tmp_path / "a.xml"))
    suite = ElementTree.parse(tmp_path / "a.xml").getroot()
    cases = suite.findall("testcase")
    assert suite.tag == "testsuite" and [suite.get(k) for k in ("tests", "failures", "errors", "skipped")] == [
        "4",
        "1",
        "0",
        "1",
    ]
    assert [[child.tag for child in case] for case in cases] == [["failure"], ["system-out"], [], ["skipped"]]
    assert all(
        case.get("name") and case.get("classname") == "recipe.check" and float(case.get("time") or "") >= 0
        for case in cases
    )
    assert "<zero_grad> & ? ? here" in (cases[0][0].get("message") or "")


def test_on_github_the_lines_are_annotated(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ci.report("check", findings(), "", "")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    ci.report(
        "check",
        [f for f in findings() if f["check"] != "training code"] + [{**findings()[0], "observed": "one\ntwo"}],
        "",
        "",
    )
    assert capsys.readouterr().err.startswith("::error file=src/a.py,line=7::training code: one two.")


def test_it_answers_at_once_without_torch_or_a_project(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import torch, no_such_module\nx_test = scaler.fit_transform(x_test)\n")
    words = "import resource, sys; sys.argv = ['recipe', 'check', '--static', '.', '--sarif', 'a.sarif']; from recipe_kit.__main__ import main; code = main(); print('torch' in sys.modules, code, resource.getrusage(resource.RUSAGE_SELF).ru_utime < 1)"
    kit = str(Path(ci.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-B", "-c", words],
        cwd=tmp_path,
        env={"PYTHONPATH": kit},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("False 1 True\n") and "a.py:2: fit_transform on x_test" in done.stdout
    assert json.loads((tmp_path / "a.sarif").read_text())["runs"][0]["results"]


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ci.static([str(tmp_path / "none"), "--static"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
