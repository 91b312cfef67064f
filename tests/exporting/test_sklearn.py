"""scikit-learn estimators and pipelines."""

from __future__ import annotations

from pathlib import Path

import cli
import numpy as np
import pytest

from onnxopt import store
from onnxopt.errors import ModelError
from onnxopt.exporting import ExportOptions, export_model
from onnxopt.graph import all_nodes

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
pytestmark = pytest.mark.sklearn

PIPES = """
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor, IsolationForest, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

X, y = load_breast_cancer(return_X_y=True)
X = X.astype(np.float32)
NAMES = np.array(["malignant", "benign"])

def sample():
    for row in X[:6]:
        yield {"input": row[None]}

def forest():
    pipe = make_pipeline(StandardScaler(), RandomForestClassifier(12, max_depth=6, random_state=0))
    return pipe.fit(X, NAMES[y])

def logistic():
    return make_pipeline(StandardScaler(), PCA(8), LogisticRegression()).fit(X, y)

def boosted():
    a, b = load_diabetes(return_X_y=True)
    return GradientBoostingRegressor(n_estimators=20, random_state=0).fit(a.astype(np.float32), b)

def margin():
    return make_pipeline(StandardScaler(), LinearSVC(random_state=0)).fit(X, y)

def clusters():
    return KMeans(3, n_init=1, random_state=0).fit(X)

def reduced():
    return make_pipeline(StandardScaler(), PCA(2)).fit(X)

def unfitted():
    return make_pipeline(StandardScaler(), LogisticRegression())
"""


@pytest.fixture
def pipes(tmp_path: Path) -> Path:
    path = tmp_path / "pipes.py"
    path.write_text(PIPES)
    return path


def test_a_scaler_and_a_forest_keep_their_operators_through_the_optimizer(
    pipes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, fast = pipes.parent / "forest.onnx", pipes.parent / "fast.onnx"
    sample = pipes.parent / "sample.npz"
    words = ["export", f"{pipes}:forest", "-o", out, "--sample", f"{pipes}:sample"]
    done = cli.run(capsys, *words, "--save-sample", sample, "--json")
    assert done.code == 0, done.err
    assert done.json["inputs"][0] == {"name": "input", "dtype": "float32", "shape": ["N", 30]}
    shapes = {o["name"]: (o["dtype"], o["shape"]) for o in done.json["outputs"]}
    assert shapes == {"label": ("string", ["N"]), "probabilities": ("float32", ["N", 2])}
    assert len({shape.split()[-1] for shape in done.json["check"]["shapes"]}) == 2
    faster = cli.run(capsys, "optimize", out, "-o", fast, "--data", sample)
    assert faster.code == 0, faster.err
    before, after = (
        {n.op_type for n in all_nodes(store.load(path)) if n.domain == "ai.onnx.ml"}
        for path in (out, fast)
    )
    assert before == after == {"Scaler", "TreeEnsembleClassifier"}


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("logistic", ["label", "probabilities"]),
        ("boosted", ["prediction"]),
        ("margin", ["label"]),
        ("clusters", ["label"]),
        ("reduced", ["features"]),
    ],
)
def test_each_kind_of_estimator_has_readable_outputs(
    pipes: Path, name: str, outputs: list[str]
) -> None:
    made = export_model(f"{pipes}:{name}")
    assert made.model is not None and made.check is not None
    assert [value.name for value in made.model.graph.outputs] == outputs
    assert made.outputs[0].shape is not None and made.outputs[0].shape[0] == "N"
    assert made.model.metadata_props["onnxopt.export.framework"].startswith("scikit-learn")


def test_columns_by_name(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    (tmp_path / "table.py").write_text("""
import pandas
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

def model():
    frame = pandas.DataFrame({"age": [1.0, 2, 3, 4], "colour": ["red", "blue", "red", "blue"]})
    columns = [("n", StandardScaler(), ["age"]), ("c", OneHotEncoder(), ["colour"])]
    return make_pipeline(ColumnTransformer(columns), LogisticRegression()).fit(frame, [0, 1, 0, 1])
""")
    path = tmp_path / "s.npz"
    colours = np.array([["red"], ["blue"], ["red"]])
    np.savez(path, age=np.array([[1], [2], [9]], np.float32), colour=colours)
    inputs = ("age=float32[N,1]", "colour=string[N,1]")
    made = export_model(f"{tmp_path}/table.py:model", ExportOptions(str(path), inputs))
    assert [str(spec) for spec in made.inputs] == ["age: float32[N,1]", "colour: string[N,1]"]


def test_an_estimator_that_is_not_fitted(pipes: Path) -> None:
    with pytest.raises(ModelError, match=r"NotFittedError.*fit it in the factory"):
        export_model(f"{pipes}:unfitted")


def test_pickles_only_on_trust(pipes: Path) -> None:
    import joblib

    namespace: dict[str, object] = {}
    exec(PIPES, namespace)
    path = pipes.parent / "model.joblib"
    joblib.dump(namespace["logistic"](), path)  # type: ignore[operator]
    with pytest.raises(ModelError, match=r"can run code.*--trust-pickle"):
        export_model(path)
    made = export_model(path, ExportOptions(trust_pickle=True))
    assert made.source == "model.joblib"
    (pipes.parent / "broken.joblib").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"broken.joblib cannot be read"):
        export_model(pipes.parent / "broken.joblib", ExportOptions(trust_pickle=True))
