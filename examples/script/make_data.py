"""Writes data/tumors.csv: the Wisconsin breast cancer data that scikit-learn ships."""

from pathlib import Path

from sklearn.datasets import load_breast_cancer

found = load_breast_cancer(as_frame=True)
table = found.data.assign(diagnosis=found.target.map(dict(enumerate(found.target_names))))
Path(__file__).with_name("data").mkdir(exist_ok=True)
table.to_csv(Path(__file__).parent / "data" / "tumors.csv", index=False)
