"""What only texts can have wrong: empty ones, unknown tokens, a cut-off end that mattered, a word that is the answer."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..checks.check_result import CheckResult, check_result, not_applicable
from ..checks.of_kind import how_to_adapt
from ..owner.errors import UserError
from ..owner.task import Data
from ..owner.text.baseline import joined
from ..owner.text.data import Tokens, encode, prepare, text_columns, unknown_share

if TYPE_CHECKING:
    from ..owner.text.recipe import Config

ROWS = 5_000  # texts that are tokenized and modeled
GIVEAWAY = 0.9  # F1 of a single word for a single class from which it is shown
FAR = 2.0  # tokens per word; English prose has about 1.3 in BERT's vocabulary


def audit(config: Config, data: Data, adopted: bool = False) -> list[CheckResult]:
    """Checks on the raw texts; and, where the encoder is ours, on their tokens, with advice on how to adapt it."""
    found = [empty_texts(config, data), giveaway_words(config, data)]
    if adopted:
        return found
    rows = np.sort(np.random.default_rng(0).permutation(len(data))[:ROWS])
    sample = data.take(rows)
    try:
        prep = prepare(config, sample)
    except UserError as error:
        return [*found, check_result("tokenizer", str(error), fail=True)]
    tokens = encode(prep, sample.frame)
    return [
        *found,
        unknown_tokens(prep, tokens),
        truncation(config, prep, sample, tokens),
        advice(config, prep, data, sample, tokens),
    ]


def empty_texts(config: Config, data: Data) -> CheckResult:
    """Texts that are missing, blank or undecodable, and texts of absurd length."""
    names = text_columns(config)
    others = pl.DataFrame(schema=data.frame.schema) if data.unlabeled is None else data.unlabeled
    whole = pl.concat([data.frame, others.filter(pl.col(config.target).is_not_null())], how="vertical_relaxed")
    texts, left_out = [whole[name].fill_null("") for name in names], whole.height - len(data)
    each = [(~t.str.contains(r"\S")).to_numpy() for t in texts]
    blank, lacking = np.all(each, axis=0), np.any(each, axis=0)
    broken = np.any([t.str.contains("\ufffd", literal=True).to_numpy() for t in texts], axis=0)
    letters = np.max([t.str.len_chars().to_numpy() for t in texts], axis=0)
    share, wrong = float((lacking | broken).mean()), float((blank | broken).mean())
    halves = f", {int((lacking & ~blank).sum()):,} lack one of the two" if len(names) > 1 else ""
    return check_result(
        "texts",
        f"{int(blank.sum()):,} of {whole.height:,} are empty ({left_out:,} rows left out){halves}, {int(broken.sum()):,} hold undecodable characters; "
        f"median {np.median(letters):.0f} characters, longest {letters.max():,}",
        fail=wrong > 0.1,
        warn=share > 0.001,
        share=share,
        evidence={
            "empty": int(blank.sum()),
            "broken": int(broken.sum()),
            "characters": np.quantile(letters, [0, 0.5, 0.9, 0.99, 1]).tolist(),
        },
        column=config.text,
    )


def giveaway_words(config: Config, data: Data) -> CheckResult:
    """A single word that all but names the class: often the label itself, copied into the text."""
    if config.task not in ("binary", "multiclass"):
        return not_applicable("dominant word", f"task = {config.task!r} has no classes")
    from sklearn.feature_extraction.text import CountVectorizer

    rows = np.random.default_rng(0).permutation(len(data))[: 4 * ROWS]
    names, y = np.unique(data.frame[data.target][rows].cast(pl.String).to_numpy().astype(str), return_inverse=True)
    counter = CountVectorizer(binary=True, min_df=2 if len(rows) > 100 else 1, max_features=20_000)
    try:
        x = counter.fit_transform(joined(text_columns(config), data.frame[rows]))
    except ValueError:
        return not_applicable("dominant word", "the texts hold no words")
    both = x.T @ np.eye(len(names), dtype=np.float32)[y]  # [words, classes]: texts of the class with the word
    f1 = 2 * both / (np.asarray(x.sum(axis=0)).reshape(-1, 1) + np.bincount(y))
    best = f1.argmax(axis=0)
    top = sorted(
        ((float(f1[w, k]), str(counter.get_feature_names_out()[w]), names[k]) for k, w in enumerate(best)), reverse=True
    )
    return check_result(
        "dominant word",
        "strongest: " + ", ".join(f"{word!r} for {name} (F1 {score:.2f})" for score, word, name in top[:4]),
        warn=top[0][0] > GIVEAWAY,
        evidence={"words": top[:20]},
        giveaway=GIVEAWAY,
        word=top[0][1],
    )


def unknown_tokens(prep: dict[str, Any], tokens: Tokens) -> CheckResult:
    """Share of tokens that the tokenizer does not know: what they said is lost."""
    share = unknown_share(prep, tokens.ids)
    return check_result(
        "unknown tokens",
        f"{share:.2%} of the tokens are unknown to the tokenizer of {prep['encoder']}",
        fail=share > 0.2,
        warn=share > 0.02,
        evidence={"share": share},
    )


def truncation(config: Config, prep: dict[str, Any], data: Data, tokens: Tokens) -> CheckResult:
    """How many texts lose their end, and whether a linear model misses it."""
    share, length, most = float(tokens.cut.mean()), np.diff(tokens.starts), config.max_length * config.windows
    observed = f"{share:.1%} of the texts lose their end at {most} tokens (median {np.median(length):.0f}, 90 % within {np.quantile(length, 0.9):.0f})"
    loss = error = 0.0
    if share > 0.01 and config.task in ("binary", "multiclass"):
        loss, error = _worth_of_the_rest(config, prep, data, tokens)
        observed += f"; a linear model is right {loss:+.1%} more often with the whole text (standard error {error:.1%})"
    return check_result(
        "truncation",
        observed,
        warn=loss > 0.01 + 2 * error,
        evidence={"share": share, "gain": loss, "error": error},
        length=most,
        longer=f"max_length={2 * config.max_length}"
        if config.text_pair or most < 256
        else f"windows={2 * config.windows}",
    )


def _worth_of_the_rest(config: Config, prep: dict[str, Any], data: Data, tokens: Tokens) -> tuple[float, float]:
    """(gain in out-of-fold accuracy from the whole text, its standard error over the rows where the two disagree)."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import cross_val_predict

    y = data.frame[data.target].cast(pl.String).to_numpy().astype(str)
    whole = joined(prep["texts"], data.frame)
    read = [text[:end] for text, end in zip(whole, tokens.end.tolist(), strict=True)]
    counts = [HashingVectorizer(n_features=2**16).transform([t[:100_000] for t in texts]) for texts in (whole, read)]
    # Ridge regression on the classes: as right as logistic regression on these words, in a thirtieth of its time.
    right = [cross_val_predict(RidgeClassifier(), x, y, cv=3) == y for x in counts]
    difference = right[0].astype(float) - right[1].astype(float)
    return float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))


def advice(config: Config, prep: dict[str, Any], data: Data, sample: Data, tokens: Tokens) -> CheckResult:
    """Frozen, LoRA or full, from the number of examples and how foreign the texts are; and what would change it."""
    words = sum(len(text.split()) for text in joined(prep["texts"], sample.frame.filter(pl.Series(~tokens.cut))))
    pieces = float((np.diff(tokens.starts) - 2 * np.diff(tokens.first))[~tokens.cut].sum()) / max(words, 1)
    adapt, reason = recommend(len(data), max(len(prep["classes"]), 1), pieces)
    competitor = {"frozen": "lora", "lora": "full", "full": "lora"}[adapt]
    seen = f"{len(data):,} texts, {pieces:.2f} tokens a word"
    return how_to_adapt(config, seen, adapt, reason, competitor, tokens_per_word=pieces, rows=len(data))


def recommend(rows: int, classes: int, pieces: float) -> tuple[str, str]:
    """(adapt, reason). Rules of thumb; bench/adapt.py of the template measures them.

    Full fine-tuning is unstable on few examples (Mosbach et al. 2021); LoRA learns nearly as much as full on mid-sized
    data, and less on large or far-off data (Biderman et al. 2024).
    """
    if rows < 50 * classes or rows < 200:
        return "frozen", f"{rows / classes:.0f} examples a class are too few to move millions of weights safely"
    if pieces > FAR:
        return (
            "full",
            f"words fall apart into over {FAR:g} tokens: texts unlike those the encoder was trained on need more than a low-rank change",
        )
    if rows < 20_000:
        return (
            "lora",
            "this many examples suit a low-rank change: nearly the score of full at a fortieth of the stored weights",
        )
    return "full", "this many examples can move all weights, and LoRA learns less from large data"


def checks(config: Config, prep: dict[str, Any], train: Data, val: Data) -> list[CheckResult]:
    """Before training: what the tokens of both parts look like, and how much of the network will be trained."""
    return [tokens_fit(prep, train, val), trained_share(config, prep)]


def tokens_fit(prep: dict[str, Any], train: Data, val: Data) -> CheckResult:
    """Unknown and cut-off shares in what enters the network, and different texts that enter it as the same tokens, in
    training and validation alike. Texts that come again in the file are no fault of the tokens."""
    frames = {"train": train.frame.head(ROWS), "val": val.frame.head(ROWS)}
    parts = {name: encode(prep, frame) for name, frame in frames.items()}
    unknown = {name: unknown_share(prep, tokens.ids) for name, tokens in parts.items()}
    told = {name: len({t.ids[i:j].tobytes() for i, j in pairwise(t.starts)}) for name, t in parts.items()}
    alike = {name: 1 - told[name] / joined(prep["texts"], frame).n_unique() for name, frame in frames.items()}
    return check_result(
        "tokens",
        ", ".join(
            f"{name}: {unknown[name]:.1%} unknown, {alike[name]:.1%} of the different texts made equal, {tokens.cut.mean():.1%} cut"
            for name, tokens in parts.items()
        ),
        fail=max(unknown.values()) > 0.2 or max(alike.values()) > 0.5 or min(told.values()) == 1,
        evidence={"unknown": unknown, "made equal": alike},
    )


def trained_share(config: Config, prep: dict[str, Any]) -> CheckResult:
    """How many parameters are trained and stored; LoRA that trains over a tenth of them is no longer low-rank."""
    from ..owner.text.model import make_model, state

    model = make_model(config, prep)
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    size = sum(t.numel() * t.element_size() for t in state(model).values())
    return check_result(
        "trained share",
        f"adapt = {config.adapt!r} trains {trained:,} of {total:,} parameters ({trained / total:.1%}) and stores {size / 1e6:.1f} MB",
        warn=config.adapt == "lora" and trained > 0.1 * total,
        evidence={"trained": trained, "total": total, "bytes": size},
        rank=config.lora_rank,
        lower=max(config.lora_rank // 4, 1),
    )
