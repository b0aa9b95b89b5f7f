"""What a network has to beat on texts: words counted and weighed, and a linear model on the encoder as it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..engine.files import read_json, to_json
from ..engine.kernel import SVC_ROWS, Kernel, fit_kernel
from ..engine.linear import Linear, fit_linear
from ..engine.target import targets
from ..errors import UserError, first_line
from ..task import Baseline, Data

if TYPE_CHECKING:
    from .recipe import Config

WORDS = 50_000  # most words and word pairs that TF-IDF keeps
PROBED = 2_000  # texts that the frozen encoder reads for its linear model: enough for a few hundred numbers a text
SPACE = "\n"  # between the texts of a pair: no word pair reaches across


def baselines(config: Config, prep: dict[str, Any], train: Data, only: str = "") -> dict[str, Baseline]:
    """TF-IDF and a linear model; and, where the weights are pretrained, the frozen encoder with a linear model and, on small
    data, with an RBF-SVC."""
    y = targets(config, prep, train)
    rows = np.random.default_rng(0).permutation(len(train))[:PROBED]
    embedded = cache(lambda: embed(config, prep, train.take(rows)))
    fits: dict[str, Callable[[], Baseline]] = {"tfidf": lambda: fit_tfidf(config, prep, train, y)}
    if config.weights != "none":
        fits["frozen_embedding"] = lambda: fit_probe(config, prep, embedded(), y[rows])
        if len(train) < SVC_ROWS and set(y[rows]) == set(range(len(prep["classes"]))):
            fits["rbf_svc"] = lambda: kernel_model(config, prep, **fit_kernel(config, embedded(), y[rows], c=10.0))
    return {name: fit() for name, fit in fits.items() if only in ("", name)}


def load_baseline(config: Config, prep: dict[str, Any], folder: Path) -> Baseline:
    """The baseline that was saved in `folder`."""
    path = folder / "svc.npz"
    try:
        if path.is_file():
            return kernel_model(config, prep, **dict(np.load(path, allow_pickle=False)))
        path = folder / "linear.npz"
        arrays = dict(np.load(path, allow_pickle=False))
        if not (folder / "words.json").is_file():
            return probe_model(config, prep, **arrays)
        words = read_json(folder / "words.json", "words of TF-IDF", "run: recipe baseline")
        return TfIdf(prep, words, **arrays)
    except UserError:
        raise
    except Exception as error:  # an archive that is none, arrays of other names, arrays of objects
        said = first_line(error)
        raise UserError(f"{path} cannot be read: {said}; run: recipe baseline") from None


@dataclass
class TfIdf:
    """Weighted counts of words and word pairs, or of characters -> outputs [n, k]. idf [d], weights [d, k], bias [k]."""

    prep: dict[str, Any]
    words: list[str]
    idf: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    characters: bool = False

    def predict(self, data: Data) -> np.ndarray:
        vectorizer = make_vectorizer(bool(self.characters), vocabulary=self.words)
        vectorizer.idf_ = self.idf
        return np.asarray(
            vectorizer.transform(joined(self.prep["texts"], data.frame)) @ self.weights + self.bias, dtype=np.float32
        )

    def save(self, folder: Path) -> None:
        (folder / "words.json").write_text(to_json(self.words, indent=None), encoding="utf-8")
        np.savez_compressed(
            folder / "linear.npz", idf=self.idf, weights=self.weights, bias=self.bias, characters=self.characters
        )


def fit_tfidf(config: Config, prep: dict[str, Any], train: Data, y: np.ndarray) -> TfIdf:
    """Words and word pairs in at least two texts, or where there are none runs of characters; logistic or ridge regression."""
    texts, characters = joined(prep["texts"], train.frame), False
    try:
        vectorizer = make_vectorizer(min_df=2 if len(texts) > 100 else 1, max_features=WORDS).fit(texts)
    except ValueError:  # single letters, symbols, or names that are all different
        vectorizer, characters = make_vectorizer(True, max_features=WORDS).fit(texts), True
    weights, bias = fit_linear(config, prep, vectorizer.transform(texts), y)
    words = [str(word) for word in vectorizer.get_feature_names_out()]
    return TfIdf(prep, words, vectorizer.idf_, weights, bias, characters)


def make_vectorizer(characters: bool = False, **settings: Any) -> Any:
    """Lower-cased words and pairs of neighbors, or runs of one to three characters, with logarithmic counts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    unit = {"analyzer": "char", "ngram_range": (1, 3)} if characters else {"ngram_range": (1, 2)}
    return TfidfVectorizer(**unit, sublinear_tf=True, dtype=np.float32, **settings)


def joined(names: list[str], frame: pl.DataFrame) -> pl.Series:
    """The text, or both texts of a pair, as one string for each row."""
    return frame[names].select(pl.concat_str(pl.all().fill_null(""), separator=SPACE)).to_series()


def simple_features(config: Config, data: Data) -> Any:
    """TF-IDF of single words, sparse [n, at most 5,000]; None where no word is in two texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    from .data import text_columns

    try:
        return TfidfVectorizer(sublinear_tf=True, min_df=2, max_features=5_000).fit_transform(
            joined(text_columns(config), data.frame)
        )
    except ValueError:
        return None


def probe_model(config: Config, prep: dict[str, Any], **arrays: np.ndarray) -> Linear:
    """Linear in the frozen encoder's embedding: a linear probe."""
    return Linear("linear.npz", partial(embed, config, prep), **arrays)


def kernel_model(config: Config, prep: dict[str, Any], **arrays: np.ndarray) -> Kernel:
    """RBF support vector machine on the frozen encoder's embedding."""
    return Kernel(partial(embed, config, prep), prep["outputs"], **arrays)


def fit_probe(config: Config, prep: dict[str, Any], x: np.ndarray, y: np.ndarray) -> Linear:
    """Logistic or ridge regression on embeddings x [n, d] of the pretrained encoder."""
    center, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    weights, bias = fit_linear(config, prep, (x - center) / scale, y)
    return probe_model(config, prep, center=center, scale=scale, weights=weights, bias=bias)


def embed(config: Config, prep: dict[str, Any], data: Data) -> np.ndarray:
    """Pooled output of the pretrained encoder [n, d], in the order of the rows."""
    import torch

    from ..engine.loop import find_device, plan
    from .data import Texts, encode
    from .encoder import load_encoder, pooling
    from .model import Classifier

    device = find_device(config)
    model = Classifier(load_encoder(config), pooling(config.encoder), 0.0, 1, True).to(device).eval()
    tokens = encode(prep, data.frame)
    texts = Texts(tokens, prep, torch.zeros(len(data)), None, torch.from_numpy(np.diff(tokens.starts)), 0.0, 0)
    batches = plan(texts, 4 * config.batch_size)
    with torch.inference_mode():
        parts = [model.embed(batch.to(device).x).float().cpu() for batch in texts.batches(batches)]
    return torch.cat(parts)[torch.cat(batches).argsort()].numpy()
