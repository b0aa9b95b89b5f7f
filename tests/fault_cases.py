"""The bad inputs, by area: what is given, what the sentence must say, the command, and how to make it wrong."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

from faults import COLUMNS, Case, ask, both, folder, in_json, removed, replaced, rows, setting, table, write

SPLIT, TRAIN, LOG = ["split", "--force", "x"], ["train", "--force", "x"], ["runs"]
RESUME, EVALUATE = ["train", "--force", "x", "--resume", "--run", "0009-train"], ["evaluate", "--force", "x"]

CONFIG = [
    Case("no recipe.toml", "no recipe.toml in", SPLIT, removed("recipe.toml")),
    Case("recipe.toml is a folder", "cannot be read", SPLIT, folder("recipe.toml")),
    Case("recipe.toml is not UTF-8", "cannot be read as TOML", SPLIT, write("recipe.toml", b"target = '\xff\xfe'")),
    Case("recipe.toml is UTF-16", "cannot be read as TOML", SPLIT, write("recipe.toml", "lr = 1".encode("utf-16"))),
    Case("a NUL in recipe.toml", "cannot be read as TOML", SPLIT, write("recipe.toml", "lr = 0.1\0")),
    Case("an unclosed text", "cannot be read as TOML", SPLIT, write("recipe.toml", 'target = "y')),
    Case("a setting twice", "cannot be read as TOML", SPLIT, write("recipe.toml", "lr = 1\nlr = 2\n")),
    Case("a table", "one flat table", SPLIT, write("recipe.toml", "[train]\nlr = 1\n")),
    Case("a dotted key", "one flat table", SPLIT, write("recipe.toml", "train.lr = 1\n")),
    Case("an array of tables", "unknown setting", SPLIT, write("recipe.toml", "[[train]]\nlr = 1\n")),
    Case("YAML", "cannot be read as TOML", SPLIT, write("recipe.toml", "lr: 0.1\n")),
    Case("JSON", "cannot be read as TOML", SPLIT, write("recipe.toml", '{"lr": 0.1}')),
    Case("lists nested 100,000 deep", "cannot be read as TOML", SPLIT, write("recipe.toml", "drop = " + "[" * 100_000)),
    Case("a misspelt setting", "did you mean 'schedule'", SPLIT, setting('schedul = "cosine"')),
    Case("a setting by another name", "did you mean 'lr'", SPLIT, setting("learning_rate = 0.1")),
    Case("an unknown setting", "unknown setting 'color'", SPLIT, setting('color = "red"')),
    Case("an empty key", "unknown setting ''", SPLIT, setting('"" = 1')),
    Case("a text for a number", "lr = 'fast' is refused", SPLIT, setting('lr = "fast"')),
    Case("a list for a number", "is refused", SPLIT, setting("lr = [0.1]")),
    Case("a date for a number", "is refused", SPLIT, setting("lr = 2024-01-01")),
    Case("not a number", "is refused", SPLIT, setting("lr = nan")),
    Case("infinity", "is refused", SPLIT, setting("lr = inf")),
    Case("a negative learning rate", "above 0", SPLIT, setting("lr = -0.1")),
    Case("a whole number of 5,000 digits", "cannot be read|is refused", SPLIT, setting("epochs = " + "9" * 5000)),
    Case("a broken count", "a whole number", SPLIT, setting("epochs = 1.5")),
    Case("a number for a text", "a text", SPLIT, setting("target = 5")),
    Case("a text for a list", "a list of texts", SPLIT, setting('drop = "who"')),
    Case("a list that holds a number", "a list of texts", SPLIT, setting("drop = [1]")),
    Case("a text for a switch", "true or false", SPLIT, setting('deterministic = "maybe"')),
    Case("a batch of nothing", "at least 1", SPLIT, setting("batch_size = 0")),
    Case("an unknown choice", "one of cosine", SPLIT, setting('schedule = "cosin"')),
    Case("an unknown device", "of the form", SPLIT, setting('device = "tpu"')),
    Case("a device that is not there", "sees no CUDA device", TRAIN, setting('device = "cuda:7"')),
    Case("another kind of data", "not in this project", SPLIT, setting('modality = "sound"')),
    Case("a kind of data that leads out", "not in this project", SPLIT, setting('modality = "../engine"')),
    Case("a number for the kind of data", "not in this project", SPLIT, setting("modality = 5")),
    Case("a loss of another task", "does not fit task", SPLIT, setting('loss = "mse"')),
    Case("a metric of another task", "does not fit task", SPLIT, setting('metric = "rmse"')),
    Case("ranking without a query", "needs query", SPLIT, setting('task = "ranking"')),
    Case("a split by time without a time", "needs time", SPLIT, setting('split = "time"')),
    Case("a split by group without a group", "needs group", SPLIT, setting('split = "group"')),
    Case("a random split of times", "contradicts time", SPLIT, both(setting('time = "when"'), setting('split = "random"'))),
    Case("one fold", "nothing to train on", SPLIT, setting("folds = 1")),
    Case("a fold that is not there", "outside 0..4", SPLIT, both(setting("folds = 5"), setting("fold = 9"))),
    Case("the target among the dropped", "drop holds the target", SPLIT, setting('drop = ["target"]')),
    Case("one column with two roles", "must be different columns", SPLIT, setting('group = "target"')),
    Case("smoothing without classes", "has no meaning", SPLIT, both(setting('loss = "focal"'), setting("label_smoothing = 0.1"))),
    Case("BatchNorm with tiny batches", "needs 16", SPLIT, both(setting('norm = "batch"'), setting("batch_size = 8"))),
    Case("an order that is none", "is not of the form", SPLIT, setting('ordinal = ["size small medium"]')),
]  # fmt: skip

COMMAND = [
    Case("no command", "no command is given", []),
    Case("an unknown command", "did you mean: recipe train", ["trian"]),
    Case("an unknown flag", "unrecognized argument --fast", ["split", "--fast"]),
    Case("a misspelt flag", "did you mean --force", ["split", "--forse", "x"]),
    Case("a word that is no setting=value", "not setting=value", ["split", "lr"]),
    Case("a setting without a name", "not setting=value", ["split", "=3"]),
    Case("an empty setting", "is refused", ["split", "lr="]),
    Case("a setting twice", "given twice", ["split", "lr=0.1", "lr=0.2"]),
    Case("two lines in one argument", "more than one line", ["split", "lr=0.1\nepochs=7"]),
    Case("an unknown setting", "unknown setting", ["split", "color=red"]),
    Case("letters that are no text", "is refused|does not have|not valid", ["split", "target=\udcff"]),
    Case("a project that is not there", "is not a folder", ["split", "--project", "/nowhere/at/all"]),
    Case("a project that is a file", "no recipe.toml|is not a folder", ["split", "--project", "recipe.toml"]),
    Case("a flag of another step", "not a flag of split", ["split", "--resume"]),
    Case("a run for a step that takes none", "not a flag of split", ["split", "--run", "0002-train"]),
    Case("a review for a step that takes none", "not a flag of train", ["train", "--review", "x.csv"]),
    Case("a number that is none", "invalid int", ["train", "--skip", "many"]),
    Case("a negative number", "must be 0 or more", ["train", "--skip", "-1"]),
    Case("resuming where nothing was stopped", "no stopped train run", ["train", "--resume"], removed("runs/0009-train")),
    Case("resuming a run that is finished", "not a stopped train run", ["train", "--resume", "--run", "0002-train"]),
    Case("resuming a path", "not a stopped train run", ["train", "--resume", "--run", "../../etc"]),
    Case("evaluating a run that is not there", "not a finished training run", ["evaluate", "--run", "0404-train"]),
    Case("evaluating a path", "not a finished training run", ["evaluate", "--run", "../0002-train"]),
    Case("reporting a run that is not there", "not a finished", ["report", "--run", "0404-train"]),
    Case("running a run again that is not there", "0404", ["rerun", "0404-train", "--force", "x"]),
    Case("a parent that is not there", "0404", [*TRAIN, "--parent", "0404-train"]),
    Case("splitting before the audit", "audit has not been done, .* run: recipe audit", ["split"]),
    Case("training before the audit", "audit has not been done, .* run: recipe audit", ["train"]),
    Case("a reason that is none", "expected one argument", ["train", "--force"]),
    Case("evaluating before training", "no finished training run", EVALUATE, removed("runs/0002-train")),
    Case("a review that is not there", "--review", ["audit", "--review", "none.csv"]),
    Case("a review that is a folder", "--review", ["audit", "--review", "data"]),
    Case("a review that is no sheet", "not a sheet", ["audit", "--review", "data/train.csv"]),
    Case("a review with other answers", "write yes or no", ["audit", "--review", "r.csv"], write("r.csv", "label_ok_yes_no,target\nperhaps,yes\n")),
    Case("a review without answers", "no row is answered", ["audit", "--review", "r.csv"], write("r.csv", "label_ok_yes_no,target\n,yes\n")),
    Case("a review of gibberish", "--review", ["audit", "--review", "r.csv"], write("r.csv", bytes(range(256)))),
    Case("a storage for tuning that is none", "storage", ["tune", "--force", "x", "--storage", "nosuch://x"]),
]  # fmt: skip


def cell(row: int, column: int, value: str) -> bytes:
    """The sound table with one cell changed."""
    lines = [line.split(",") for line in rows()]
    lines[row][column] = value
    return table([",".join(line) for line in lines])


def column(number: int, values: Any, head: str = COLUMNS) -> bytes:
    """The sound table with one column replaced by values(i)."""
    lines = [line.split(",") for line in rows()]
    for i, line in enumerate(lines):
        line[number] = str(values(i))
    return table([",".join(line) for line in lines], head)


def csv(content: bytes) -> Any:
    return write("data/train.csv", content)


def fifo(root: Path) -> None:
    (root / "data" / "train.csv").unlink()
    os.mkfifo(root / "data" / "train.csv")


def loop(root: Path) -> None:
    (root / "data" / "train.csv").unlink()
    (root / "data" / "train.csv").symlink_to("train.csv")


def parquet(content: Any) -> Any:
    def edit(root: Path) -> None:
        import polars as pl

        pl.DataFrame(content).write_parquet(root / "data" / "t.parquet")
        setting('data = "data/t.parquet"')(root)

    return edit


def other(name: str, content: bytes) -> Any:
    return both(write(f"data/{name}", content), setting(f'data = "data/{name}"'))


def rare(root: Path) -> None:
    """A sound table in which one class is twenty times rarer than the other, looked at."""
    yes, no = ([line for line in rows(600) if line.endswith(end)] for end in ("yes", "no"))
    csv(table([*no[:280], *yes[:14]]))(root)
    ask(root, ["audit"])


TABLES = [
    Case("no file", "is not a file", SPLIT, removed("data/train.csv")),
    Case("a folder", "is not a file", SPLIT, folder("data/train.csv")),
    Case("a pipe", "is not a file", SPLIT, fifo),
    Case("a link to itself", "is not a file", SPLIT, loop),
    Case("an empty file", "is empty", SPLIT, csv(b"")),
    Case("a header alone", "no rows", SPLIT, csv(table([]))),
    Case("blank lines", "has no header line", SPLIT, csv(b"\n\n\n")),
    Case("three rows", "at least 10", SPLIT, csv(table(rows()[:3]))),
    Case("not UTF-8", "UTF-8", SPLIT, csv(table().replace(b",a,", b",\xff\xe9,"))),
    Case("not UTF-8 in the header", "UTF-8", SPLIT, csv(table().replace(b"color", b"c\xf6lour"))),
    Case("UTF-16", "UTF-8", SPLIT, csv(table().decode().encode("utf-16"))),
    Case("a picture", "UTF-8|cannot be read", SPLIT, csv(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 10)),
    Case("a compressed file under a plain name", "UTF-8|cannot be read", SPLIT, csv(gzip.compress(table()))),
    Case("NUL bytes", "cannot be read|NUL", SPLIT, csv(table().replace(b",a,", b",\0,"))),
    Case("a longer row", "has 7 cells instead of 6", SPLIT, csv(table([*rows(), "1,2,a,2024-01-01,p1,yes,7"]))),
    Case("a shorter row", "has 2 cells instead of 6", SPLIT, csv(table([*rows(), "1,2"]))),
    Case("an unclosed quote", "cannot be read", SPLIT, csv(table(['1,2,"a,2024-01-01,p1,yes', *rows()]))),
    Case("two columns of one name", "two columns called 'x1'", SPLIT, csv(table(head="x1,x1,color,when,who,target"))),
    Case("two quoted columns of one name", "two columns called", SPLIT, csv(table(head='"x1","x1",color,when,who,target'))),
    Case("a column without a name", "without a name", SPLIT, csv(table(head="x0,,color,when,who,target"))),
    Case("no such target", "does not have", SPLIT, setting('target = "diagnosis"')),
    Case("a misspelt target", "did you mean 'target'", SPLIT, setting('target = "taget"')),
    Case("no such group", "does not have", SPLIT, setting('group = "patient"')),
    Case("no such time", "does not have", SPLIT, setting('time = "date"')),
    Case("no such column to drop", "does not have", SPLIT, setting('drop = ["nothing"]')),
    Case("no such slice", "does not have", SPLIT, setting('slices = ["nothing"]')),
    Case("a target that never changes", "in every row", SPLIT, csv(column(5, lambda i: "yes"))),
    Case("a target that is always missing", "at least 10", SPLIT, csv(column(5, lambda i: ""))),
    Case("three classes for a binary task", "has 3 values", SPLIT, csv(column(5, lambda i: i % 3))),
    Case("a class for every row", "is the task 'regression'", SPLIT, both(setting('task = "multiclass"'), csv(column(5, lambda i: f"c{i}")))),
    Case("text for a regression", "needs numbers", SPLIT, setting('task = "regression"')),
    Case("an infinite target", "infinite", SPLIT, both(setting('task = "regression"'), csv(column(5, lambda i: "inf" if i == 3 else i)))),
    Case("one number for a regression", "in every row", SPLIT, both(setting('task = "regression"'), csv(column(5, lambda i: 3.5)))),
    Case("a relevance below 0", "from 0 to 30", SPLIT, both(setting('task = "ranking"'), setting('query = "who"'), csv(column(5, lambda i: i % 4 - 1)))),
    Case("a positive class that is not there", "is not among the values", SPLIT, setting('positive = "maybe"')),
    Case("infinite values", "infinite values in column 'x0'", SPLIT, csv(cell(4, 0, "inf"))),
    Case("times that are none", "write them as 2013-01-31", SPLIT, both(csv(column(3, lambda i: f"day {i}")), setting('time = "when"'), setting("drop = []"))),
    Case("two groups", "at least 3", SPLIT, both(csv(column(4, lambda i: i % 2)), setting('group = "who"'), setting("drop = []"))),
    Case("one time", "rows of one moment stay together", SPLIT, both(csv(column(3, lambda i: "2024-01-01")), setting('time = "when"'), setting("drop = []"))),
    Case("no feature left", "no feature column is left", TRAIN, setting('drop = ["x0", "x1", "color", "when", "who"]'), split=True),
    Case("a class over ten times rarer than the other", "class 'yes' of 'target' is 4.* no setting handles that", ["baseline"], rare, split=True),
    Case("text in a column declared numeric", "column .color. of .* is read as numbers and holds", TRAIN, setting('numeric = ["color"]'), split=True),
    Case("a Parquet file cut short", "cannot be read as parquet", SPLIT, other("t.parquet", b"PAR1" + bytes(40))),
    Case("a Parquet file that is a CSV", "cannot be read as parquet", SPLIT, other("t.parquet", table())),
    Case("a Parquet file with lists", "holds List", SPLIT, both(parquet({"a": [[1, 2]] * 40, "target": ["yes", "no"] * 20}), setting("drop = []"))),
    Case("JSON lines that break off", "line 2 is no JSON", SPLIT, other("t.jsonl", b'{"x": 1, "target": "yes"}\n{"x": 2')),
    Case("JSON lines that are a list", "line 1 is no JSON object", SPLIT, other("t.jsonl", b'[{"x": 1, "target": "yes"}]')),
    Case("a spreadsheet", "a spreadsheet or an archive", SPLIT, other("t.xlsx", b"PK\x03\x04" + bytes(100))),
    Case("a path of 5,000 characters", "is not a file", SPLIT, setting(f'data = "{"x" * 5000}"')),
    Case("a NUL in the path", "is not a file|refused", SPLIT, setting('data = "data/\\u0000.csv"')),
]  # fmt: skip


def texts(change: Any) -> Any:
    """Change the frame of the texts."""

    def edit(root: Path) -> None:
        import polars as pl

        change(pl.read_csv(root / "data" / "train.csv")).write_csv(root / "data" / "train.csv")

    return edit


def encoder(change: Any) -> Any:
    """A copy of the encoder inside the project, changed."""

    def edit(root: Path) -> None:
        import shutil
        import tomllib

        there = tomllib.loads((root / "recipe.toml").read_text())["encoder"]
        shutil.copytree(there, root / "enc")
        change(root / "enc")
        setting(f"encoder = {json.dumps(str(root / 'enc'))}")(root)

    return edit


def text_case(given: str, words: str, argv: list[str], edit: Any) -> Case:
    return Case(given, words, argv, edit, "text", split=argv is TRAIN)


def lit(name: str, value: Any) -> Any:
    import polars as pl

    return lambda frame: frame.with_columns(pl.lit(value).alias(name))


TEXTS = [
    text_case("no such text column", "does not have", SPLIT, setting('text = "txet"')),
    text_case("texts that are all empty", "is empty in every row", SPLIT, texts(lit("text", "  "))),
    text_case("numbers for texts", "holds numbers alone, not text", SPLIT, texts(lit("text", 5))),
    text_case("the target as the text", "also a text column", SPLIT, setting('text = "label"')),
    text_case("the text among the dropped", "drop holds the text", SPLIT, setting('drop = ["text"]')),
    text_case("one column as both texts of a pair", "both name column", SPLIT, setting('text_pair = "text"')),
    text_case("a script the tokenizer cannot read", "unknown to the tokenizer", TRAIN, texts(lit("text", "猫 犬 鳥"))),
    text_case("longer texts than the encoder has places", "positions of the encoder", TRAIN, setting("max_length = 100")),
    text_case("an encoder that is not there", "is not a folder", TRAIN, setting('encoder = "./nowhere"')),
    text_case("an encoder name with a path in it", "no hub id", TRAIN, setting('encoder = "../../etc/passwd"')),
    text_case("an encoder the hub cannot give", "three ways on", TRAIN, setting('encoder = "nobody/nothing"')),
    text_case("an encoder without a config", "without config.json", TRAIN, encoder(lambda e: (e / "config.json").unlink())),
    text_case("a config that is no JSON", "config in .* cannot be read", TRAIN, encoder(lambda e: (e / "config.json").write_text("{"))),
    text_case("a config of another kind", "cannot be read|not a BERT-family", TRAIN, encoder(lambda e: (e / "config.json").write_text('{"model_type": "t5"}'))),
    text_case("an encoder without a tokenizer", "holds no tokenizer", TRAIN, encoder(lambda e: [p.unlink() for p in e.glob("tokenizer*")])),
    text_case("a tokenizer that is no JSON", "tokenizer in .* cannot be read", TRAIN, encoder(lambda e: (e / "tokenizer.json").write_text("[]"))),
    text_case("an encoder without weights", r"holds no \*.safetensors", TRAIN, encoder(lambda e: (e / "model.safetensors").unlink())),
    text_case("weights cut short", "weights in .* cannot be read", TRAIN, encoder(lambda e: (e / "model.safetensors").write_bytes((e / "model.safetensors").read_bytes()[:500]))),
    text_case("weights of nothing", "weights in .* cannot be read", TRAIN, encoder(lambda e: (e / "model.safetensors").write_bytes(b""))),
    text_case("layers that LoRA cannot find", "names no linear layer", TRAIN, both(setting('adapt = "lora"'), setting('lora_targets = ["nothing"]'))),
    text_case("frozen random weights", "would freeze random weights", SPLIT, both(setting('adapt = "frozen"'), setting('weights = "none"'))),
    text_case("JSON lines with lists for texts", "not text", SPLIT, both(write("data/t.jsonl", b'{"text": ["a"], "label": "x"}\n' * 20), setting('data = "data/t.jsonl"'))),
]  # fmt: skip


def image_case(given: str, words: str, argv: list[str], edit: Any) -> Case:
    return Case(given, words, argv, edit, "image", split=argv is TRAIN)


def first_image(content: bytes) -> Any:
    return lambda root: next(iter(sorted((root / "data" / "images").rglob("*.png")))).write_bytes(content)


IMAGES = [
    image_case("no folder", "neither a folder nor a file", SPLIT, removed("data/images")),
    image_case("a folder without class folders", "no class folders", SPLIT, removed("data/images/*")),
    image_case("an empty class folder", "holds no files", SPLIT, lambda root: (root / "data/images/empty").mkdir()),
    image_case("one class", "in every row", SPLIT, removed("data/images/lies")),
    image_case("a file beside the class folders", "beside the class folders", SPLIT, write("data/images/list.txt", "x")),
    image_case("an empty picture", "cannot be used", TRAIN, first_image(b"")),
    image_case("a picture cut short", "cannot be used", TRAIN, first_image(b"\x89PNG\r\n\x1a\n" + bytes(30))),
    image_case("a text for a picture", "cannot be used", TRAIN, first_image(b"not a picture")),
    image_case("no picture that can be used", "none of the .* images", SPLIT, replaced("data/images/*/*.png", b"no")),
    image_case("a table of paths without paths", "does not have|names column", SPLIT, both(write("data/list.csv", "file,target\na.png,x\n" * 1 + "a.png,y\n" * 12), setting('data = "data/list.csv"'))),
    image_case("a table of paths that lead nowhere", "none of the .* images|cannot be used", SPLIT, both(write("data/list.csv", "path,target\n" + "".join(f"{i}.png,{'xy'[i % 2]}\n" for i in range(20))), setting('data = "data/list.csv"'))),
    image_case("an unknown backbone", "one of", SPLIT, setting('backbone = "lenet"')),
    image_case("weights that are not there", "weights", TRAIN, setting('weights = "./nowhere.safetensors"')),
    image_case("weights that are a text", "cannot be read as plain tensors", TRAIN, both(write("w.safetensors", "hello"), setting('weights = "w.safetensors"'))),
    image_case("an unknown augmentation", "augment holds", SPLIT, setting('augment = ["rotate"]')),
    image_case("an augmentation nobody thought about", "label_preserving", SPLIT, setting('augment = ["flip"]')),
    image_case("a picture of 3 pixels", "size = 3", SPLIT, setting("size = 3")),
]  # fmt: skip


def manifest(change: Any) -> Any:
    return in_json("split.json", change)


MANIFEST = [
    Case("split.json is missing", "recipe split", TRAIN, removed("split.json")),
    Case("it is empty", "cannot be read", TRAIN, write("split.json", "")),
    Case("it is cut short", "cannot be read", TRAIN, replaced("split.json", lambda b: b[: len(b) // 2])),
    Case("it is not UTF-8", "cannot be read", TRAIN, write("split.json", b"\xff\xfe{}")),
    Case("it is a folder", "cannot be read", TRAIN, folder("split.json")),
    Case("it is a list", "not a split manifest", TRAIN, write("split.json", "[]")),
    Case("it is a number", "not a split manifest", TRAIN, write("split.json", "5")),
    Case("it is nested 100,000 deep", "cannot be read", TRAIN, write("split.json", "[" * 100_000)),
    Case("it lacks a part", "not a split manifest", TRAIN, manifest(lambda m: m["parts"].pop("val"))),
    Case("it has a part too many", "not a split manifest", TRAIN, manifest(lambda m: m["parts"].update(more=1))),
    Case("a part is a number", "not a split manifest", TRAIN, manifest(lambda m: m["parts"].update(val=5))),
    Case("a part lacks its hash", "not a split manifest", TRAIN, manifest(lambda m: m["parts"]["val"].pop("sha256"))),
    Case("a part has another hash", "no longer has the hash", TRAIN, manifest(lambda m: m["parts"]["val"].update(sha256="0" * 64))),
    Case("a hash is a number", "no longer has the hash|not a split", TRAIN, manifest(lambda m: m["parts"]["val"].update(sha256=7))),
    Case("two parts are swapped", "no longer has the hash", TRAIN, manifest(lambda m: m["parts"].update(val=m["parts"]["test"], test=m["parts"]["val"]))),
    Case("it is of other data", "made for other data", TRAIN, manifest(lambda m: m.update(data="0" * 16))),
    Case("it is of another rule", "made for other split", TRAIN, manifest(lambda m: m.update(split="0" * 16))),
    Case("a row of the data was changed since", "made for other data", TRAIN, csv(cell(3, 0, "9.99"))),
    Case("a row was added since", "made for other data", TRAIN, csv(table([*rows(), "1,2,a,2024-01-01,p1,yes"]))),
    Case("the rule was changed since", "made for other split", TRAIN, setting("split_seed = 5")),
    Case("it is a pickle", "cannot be read", TRAIN, write("split.json", b"\x80\x04K\x01.")),
]  # fmt: skip


def honest(rows_of: list[dict[str, Any]]) -> bytes:
    """A ledger whose chain of hashes holds, whatever its rows say."""
    import hashlib

    previous, lines = "0" * 64, []
    for row in rows_of:
        row = {**row, "previous": previous}
        row["hash"] = hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        previous = row["hash"]
        lines.append(json.dumps(row, ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()


def ledger(content: Any) -> Any:
    return replaced("EXPERIMENTS.jsonl", content)


def edited(root: Path) -> None:
    """A value in the last row changed, and the whole chain made anew."""
    path = root / "EXPERIMENTS.jsonl"
    found = [json.loads(line) for line in path.read_text().removesuffix("\n").split("\n")]
    found[-1]["value"] = 0.99
    path.write_bytes(honest([{k: v for k, v in row.items() if k not in ("hash", "previous")} for row in found]))


LEDGER = [
    Case("an edited value", "line 2 does not follow", LOG, ledger(lambda b: b.replace(b'"seed": 0', b'"seed": 1').replace(b'"seed": 1', b'"seed": 0', 1))),
    Case("the first line removed", "line 1 does not follow", LOG, ledger(lambda b: b.split(b"\n", 1)[1])),
    Case("lines swapped", "line 1 does not follow", LOG, ledger(lambda b: b"\n".join(b.splitlines()[::-1]) + b"\n")),
    Case("a line twice", "line 3 does not follow", LOG, ledger(lambda b: b + b.splitlines()[-1] + b"\n")),
    Case("a line cut short", "line 2 does not follow", LOG, ledger(lambda b: b[:-30])),
    Case("a blank line between", "line 2 does not follow", LOG, ledger(lambda b: b.replace(b"\n", b"\n\n", 1))),
    Case("a merge conflict", "line 1 does not follow", LOG, ledger(lambda b: b"<<<<<<< HEAD\n" + b)),
    Case("not UTF-8", "line 1 does not follow|cannot be read", LOG, ledger(b"\xff\xfe\n")),
    Case("a folder", "cannot be read", LOG, folder("EXPERIMENTS.jsonl")),
    Case("a number for a row", "line 1 does not follow", LOG, ledger(b"5\n")),
    Case("a list for a row", "line 1 does not follow", LOG, ledger(b"[]\n")),
    Case("rows nested 100,000 deep", "line 1 does not follow", LOG, ledger(b"[" * 100_000 + b"\n")),
    Case("a forged row with a true hash and no step", "line 1", LOG, ledger(honest([{"id": "0001-split"}]))),
    Case("a forged row with a true hash and texts for numbers", "line 1", LOG, ledger(honest([{"id": "a", "step": "train", "status": "pass", "overrides": 5, "force": "", "metric": "auc"}]))),
    Case("an edited value, all hashes made anew", "the run's record says", LOG, edited),
    Case("a pickle", "line 1 does not follow|cannot be read", LOG, ledger(b"\x80\x04K\x01.")),
    Case("an edited value, before any other step", "does not follow", SPLIT, ledger(lambda b: b.replace(b'"pass"', b'"fail"', 1))),
]  # fmt: skip


def checkpoint(name: str, content: Any) -> Any:
    """Change a file in every checkpoint of the stopped run."""
    return replaced(f"runs/0009-train/checkpoints/*/{name}", content)


def resigned(name: str, content: Any) -> Any:
    """The same, with the manifest's hash made to fit."""

    def edit(root: Path) -> None:
        import hashlib

        checkpoint(name, content)(root)
        for path in root.glob(f"runs/0009-train/checkpoints/*/{name}"):
            listed = json.loads((path.parent / "manifest.json").read_text())
            listed[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            (path.parent / "manifest.json").write_text(json.dumps(listed))

    return edit


def progress(change: Any) -> Any:
    def content(old: bytes) -> bytes:
        value = json.loads(old)
        changed = change(value)
        return json.dumps(value if changed is None else changed).encode()

    return resigned("progress.json", content)


def flip(old: bytes) -> bytes:
    return old[: len(old) // 2] + bytes([old[len(old) // 2] ^ 1]) + old[len(old) // 2 + 1 :]


NONE = "no valid last checkpoint"
CHECKPOINTS = [
    *(Case(f"{name} {what} in every checkpoint", NONE, RESUME, edit(name)) for name in ("weights.safetensors", "progress.json", "state.pt", "manifest.json") for what, edit in (
        ("empty", lambda n: checkpoint(n, b"")), ("cut short", lambda n: checkpoint(n, lambda b: b[: len(b) // 2])), ("with one bit flipped", lambda n: checkpoint(n, flip)),
        ("missing", lambda n: removed(f"runs/0009-train/checkpoints/*/{n}")))),
    Case("no checkpoints at all", "not a stopped train run", RESUME, removed("runs/0009-train/checkpoints/*")),
    Case("files for folders", "not a stopped|no valid", RESUME, both(removed("runs/0009-train/checkpoints/*"), write("runs/0009-train/checkpoints/last-000000001", "x"))),
    Case("a manifest that names no files", NONE, RESUME, checkpoint("manifest.json", b"{}")),
    Case("a manifest that is a list", NONE, RESUME, checkpoint("manifest.json", b"[]")),
    Case("a manifest that names files elsewhere", NONE, RESUME, checkpoint("manifest.json", lambda b: b.replace(b"state.pt", b"../../../../recipe.toml"))),
    Case("tensors with other names, hashes made to fit", "does not fit this run", RESUME, resigned("weights.safetensors", lambda b: b.replace(b"head.", b"tail."))),
    Case("a header that claims 2^60 bytes, hashes made to fit", NONE, RESUME, resigned("weights.safetensors", lambda b: (2**60).to_bytes(8, "little") + b[8:])),
    Case("a progress without a step, hashes made to fit", "does not fit this run", RESUME, progress(lambda p: p.pop("step", 0) and None)),
    Case("a progress with more, hashes made to fit", "does not fit this run", RESUME, progress(lambda p: p.update(more=1))),
    Case("a progress that is a list, hashes made to fit", "does not fit this run", RESUME, progress(lambda p: [])),
    Case("a step that is a text, hashes made to fit", "does not fit this run", RESUME, progress(lambda p: p.update(step="9"))),
    Case("another learning rate than it was started with", "lr was 0.001 and is 0.5", [*RESUME, "lr=0.5"]),
    Case("another seed", "seed was 0 and is 1", [*RESUME, "seed=1"]),
    Case("no record of how it was started", "not a stopped train run", RESUME, removed("runs/0009-train/started.json")),
    Case("a record of how it was started that is cut short", "cannot be read", RESUME, replaced("runs/0009-train/started.json", b"{")),
    Case("a record of how it was started that is a list", "was edited", RESUME, replaced("runs/0009-train/started.json", b"[]")),
    Case("other code than it was started with", "the code changed", RESUME, in_json("runs/0009-train/started.json", lambda s: (s["fingerprint"].update(code="0"), s["code"].update({"engine/loop.py": "0"})) and None)),
    Case("best checkpoint broken, evaluated", "has other weights", EVALUATE, replaced("runs/0002-train/checkpoints/best-*/weights.safetensors", flip)),
]  # fmt: skip

RECORDS = [
    Case("a record cut short", "cannot be read", EVALUATE, replaced("runs/0002-train/record.json", b"{")),
    Case("a record that is a list", "record", EVALUATE, replaced("runs/0002-train/record.json", b"[]")),
    Case("a record without its result", "record", EVALUATE, in_json("runs/0002-train/record.json", lambda r: r.pop("result") and None)),
    Case("a record without its fingerprint", "record", EVALUATE, in_json("runs/0002-train/record.json", lambda r: r.pop("fingerprint") and None)),
    Case("a record whose id leads elsewhere", "record|is not", EVALUATE, in_json("runs/0002-train/record.json", lambda r: r.update(id="../../elsewhere"))),
    Case("a record of other settings", "is refused|config of", EVALUATE, in_json("runs/0002-train/record.json", lambda r: r["config"].update(lr=-1))),
    Case("no preprocessing", "does not exist", EVALUATE, removed("runs/0002-train/prep.json")),
    Case("a preprocessing cut short", "cannot be read", EVALUATE, replaced("runs/0002-train/prep.json", b"{")),
    Case("a preprocessing that is a list", "prep", EVALUATE, replaced("runs/0002-train/prep.json", b"[]")),
    Case("a preprocessing without its classes", "prep", EVALUATE, in_json("runs/0002-train/prep.json", lambda p: p.pop("classes") and None)),
    Case("a test lock cut short", "cannot be read", EVALUATE, write("TEST_ACCESS.json", "{")),
    Case("a test lock that is a list", "was edited", EVALUATE, write("TEST_ACCESS.json", "[]")),
    Case("a test lock that was never written by us", "was edited", EVALUATE, write("TEST_ACCESS.json", '{"openings": [], "hash": "0"}')),
]  # fmt: skip

PREDICT, PACKAGE = ["predict", "new.csv", "--out", "answers.csv"], "models/0001-*"


def package_case(given: str, words: str, argv: list[str], edit: Any = lambda root: None) -> Case:
    return Case(given, words, argv, edit, "packaged")


def forged(name: str, content: Any) -> Any:
    """Change a file of the package, and make the manifest, its hash and the folder's name fit."""

    def edit(root: Path) -> None:
        import hashlib

        there = next(root.glob(PACKAGE))
        (there / name).write_bytes(content(there.joinpath(name).read_bytes()) if callable(content) else content)
        manifest = json.loads((there / "package.json").read_text())
        manifest["files"][name] = hashlib.sha256((there / name).read_bytes()).hexdigest()
        (there / "package.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=1))
        plain = json.dumps(manifest, ensure_ascii=False)
        there.rename(there.with_name(f"0001-{hashlib.sha256(plain.encode()).hexdigest()[:12]}"))
        history = root / "models" / "history.jsonl"
        found = [json.loads(line) for line in history.read_text().replace(there.name, next(root.glob(PACKAGE)).name).removesuffix("\n").split("\n")]
        history.write_bytes(honest([{k: v for k, v in row.items() if k not in ("hash", "previous")} for row in found]))

    return edit


PACKAGES = [
    package_case("no package at all", "recipe export", PREDICT, removed("models")),
    package_case("a worst score that nothing is held against", "labeled rows are held against", ["monitor", "--worst", "0.9"]),
    package_case("a version that is not there", "no version of the model", [*PREDICT, "--model", "0404-x"]),
    package_case("a version that leads elsewhere", "no version of the model", [*PREDICT, "--model", "../runs/0002-train"]),
    package_case("promoting a version that is not there", "no version of the model", ["promote", "0404-x"]),
    package_case("promoting a path", "no version of the model", ["promote", "../runs/0002-train"]),
    package_case("going back when there is nothing before", "no earlier", ["rollback"]),
    package_case("a package's manifest cut short", "cannot be read", PREDICT, replaced(f"{PACKAGE}/package.json", b"{")),
    package_case("a package's manifest that is a list", "not the manifest", PREDICT, replaced(f"{PACKAGE}/package.json", b"[]")),
    package_case("a package's manifest edited", "not what .* was exported with", PREDICT, in_json(f"{PACKAGE}/package.json", lambda m: m["config"].update(hidden=64))),
    package_case("a package's weights with one bit flipped", "differs from the export", PREDICT, replaced(f"{PACKAGE}/weights.safetensors", flip)),
    package_case("a package's preprocessing edited", "differs from the export", PREDICT, replaced(f"{PACKAGE}/prep.json", lambda b: b.replace(b"0.", b"1.", 1))),
    package_case("a package without its golden examples", "is missing", PREDICT, removed(f"{PACKAGE}/golden.json")),
    package_case("a package's weights that are none, all hashes made to fit", "no package that this code can load", PREDICT, forged("weights.safetensors", b"hello")),
    package_case("a package's preprocessing that is a list, all hashes made to fit", "no package that this code can load", PREDICT, forged("prep.json", b"[]")),
    package_case("a package's golden examples that are a list, all hashes made to fit", "no package that this code can load", PREDICT, forged("golden.json", b"[]")),
    package_case("a history that is cut short", "history.jsonl", PREDICT, replaced("models/history.jsonl", lambda b: b[:-5])),
    package_case("a history that is a pickle", "history.jsonl", PREDICT, replaced("models/history.jsonl", b"\x80\x04K\x01.")),
    package_case("predicting nothing", "name what to predict", ["predict"]),
    package_case("predicting a file that is not there", "is not a file|neither a file", ["predict", "none.csv"]),
    package_case("predicting an empty file", "no header line", PREDICT, write("new.csv", b"")),
    package_case("predicting a header alone", "no rows", PREDICT, write("new.csv", table([]))),
    package_case("predicting gibberish", "no column|NUL", PREDICT, write("new.csv", bytes(range(256)) * 4)),
    package_case("predicting a table without a column of the model", "x0", PREDICT, write("new.csv", table(rows()[:5], "a,x1,color,when,who,target"))),
    package_case("an answer file in a folder that is not there", "cannot be written", ["predict", "new.csv", "--out", "no/such/folder/a.csv"]),
    package_case("a port that is none", "port", ["serve", "--port", "99999999"]),
    package_case("a share above 1", "--sample", ["serve", "--sample", "7"]),
    package_case("a column to leave out that is not there", "exclude", ["serve", "--exclude", "nothing"]),
    package_case("watching without a log", "no prediction log", ["monitor"]),
    package_case("a log that is no database", "prediction log|database", ["monitor", "--log", "log.db"], write("log.db", b"no database at all" * 100)),
    package_case("a rate above 1", "--rate", ["monitor", "new.csv", "--rate", "7"]),
    package_case("negative hours", "--hours", ["monitor", "--hours", "-1"]),
]  # fmt: skip

AREAS: dict[str, tuple[str, list[Case]]] = {
    "config": ("recipe.toml", CONFIG),
    "command": ("The command line", COMMAND),
    "tables": ("Tables", TABLES),
    "texts": ("Texts and encoders", TEXTS),
    "images": ("Images", IMAGES),
    "manifest": ("The split manifest", MANIFEST),
    "ledger": ("The ledger", LEDGER),
    "checkpoints": ("Checkpoints and resuming", CHECKPOINTS),
    "records": ("Records, preprocessing and the test lock", RECORDS),
    "packages": ("Model packages, predicting, serving and watching", PACKAGES),
}
