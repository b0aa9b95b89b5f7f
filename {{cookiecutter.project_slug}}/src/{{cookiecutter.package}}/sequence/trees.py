"""LightGBM's text format, read and checked here before LightGBM sees it: its own parser aborts the process or never
returns on a file that is not what it wrote (of 267 edited files, 154 aborted, 5 crashed and 6 hung)."""

from __future__ import annotations

import numpy as np

Tree = dict[str, str]

WHOLE = ("split_feature", "decision_type", "left_child", "right_child")  # one for each inner node
KINDS = 16  # decision types: categorical or not, where missing values go, what counts as missing


def checked(text: str, features: int, outputs: int) -> str:
    """The same trees, written anew with nothing but what raw scores need. Raises ValueError for trees that are none, that
    lead nowhere, in a circle, or to a feature that is not there."""
    head, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
    said = _pairs(head)
    per_round = int(said["num_tree_per_iteration"])
    if per_round != outputs or int(said["num_class"]) != outputs or len(blocks) % outputs:
        raise ValueError(f"{len(blocks)} trees for {per_round} outputs, not a multiple of {outputs}")
    if int(said["max_feature_idx"]) + 1 != features:
        raise ValueError(f"trees over {int(said['max_feature_idx']) + 1} features instead of {features}")
    trees = []
    for number, block in enumerate(blocks):
        try:
            trees.append(f"Tree={number}\n{_tree(_pairs(block), features)}\n\n")
        except (ValueError, KeyError, OverflowError) as error:
            raise ValueError(f"tree {number}: {error}") from None
    columns = " ".join(f"c{i}" for i in range(features)), " ".join(["none"] * features)
    return (
        f"tree\nversion=v4\nnum_class={outputs}\nnum_tree_per_iteration={outputs}\nlabel_index=0\n"
        f"max_feature_idx={features - 1}\nfeature_names={columns[0]}\nfeature_infos={columns[1]}\n\n{''.join(trees)}end of trees\n"
    )


def _pairs(block: str) -> Tree:
    return {name: value for name, sign, value in (line.partition("=") for line in block.split("\n")) if sign}


def _tree(said: Tree, features: int) -> str:
    """One tree in the order that LightGBM writes it."""
    leaves, categories = int(said["num_leaves"]), int(said["num_cat"])
    if leaves < 1 or said.get("is_linear", "0") != "0":
        raise ValueError(f"{leaves} leaves, is_linear={said.get('is_linear', '0')}")
    numbers = {"leaf_value": _floats(said, "leaf_value", leaves)}
    if leaves > 1:
        whole = {name: _integers(said, name, leaves - 1) for name in WHOLE}
        threshold = _floats(said, "threshold", leaves - 1)
        _require_tree(whole["left_child"], whole["right_child"])
        _require_inside("split_feature", whole["split_feature"], features)
        _require_inside("decision_type", whole["decision_type"], KINDS)
        numbers = {**whole, "threshold": threshold, **numbers}
        by_category = whole["decision_type"] % 2 == 1
        if categories:
            edges = _integers(said, "cat_boundaries", categories + 1)
            sets = _integers(said, "cat_threshold", int(edges[-1]), 1 << 32)
            if edges[0] != 0 or (np.diff(edges) < 1).any():
                raise ValueError("cat_boundaries do not rise from 0")
            numbers |= {"cat_boundaries": edges, "cat_threshold": sets}
        _require_inside("threshold of a category", threshold[by_category], categories)
        if (threshold[by_category] % 1 != 0).any():
            raise ValueError("threshold of a category is no whole number")
    lines = [f"{name}={' '.join(map(repr, values.tolist()))}" for name, values in numbers.items()]
    return "\n".join([f"num_leaves={leaves}", f"num_cat={categories}", *lines, "is_linear=0", "shrinkage=1"])


def _floats(said: Tree, name: str, count: int) -> np.ndarray:
    values = np.array(said[name].split(), dtype=np.float64)
    if len(values) != count or np.isnan(values).any():  # a threshold may be infinite: it splits missing values off
        raise ValueError(f"{name} has {len(values)} numbers instead of {count}, or a NaN")
    return values


def _integers(said: Tree, name: str, count: int, below: int = 1 << 31) -> np.ndarray:
    values = np.array(said[name].split(), dtype=np.int64)
    if len(values) != count or (abs(values) >= below).any():
        raise ValueError(f"{name} has {len(values)} numbers instead of {count}, or one that is too large")
    return values


def _require_inside(name: str, values: np.ndarray, below: int) -> None:
    if ((values < 0) | (values >= below)).any():
        raise ValueError(f"{name} is not from 0 to {below - 1}")


def _require_tree(left: np.ndarray, right: np.ndarray) -> None:
    """Every inner node but the first, and every leaf (written as -1, -2, ...), is the child of one inner node before it."""
    children = np.concatenate([left, right])
    parents = np.tile(np.arange(len(left)), 2)
    if (np.sort(children) != np.delete(np.arange(-len(left) - 1, len(left)), len(left) + 1)).any():
        raise ValueError("its nodes are not each the child of one other")
    if (parents[children > 0] >= children[children > 0]).any():
        raise ValueError("a node comes before the one it is the child of")
