"""Trains trees with LightGBM, then explains rows with LightGBM itself and with the shap package, and predicts with ONNX
Runtime. Times are of the processor, on one thread."""

import json
import sys
import time
from pathlib import Path

import lightgbm
import numpy as np
import onnxruntime
import shap

from answering import answer

ROWS, FEATURES, EXPLAINED = 20_000, 20, 1_000
folder = Path(sys.argv[1])

random = np.random.default_rng(1)
rows = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
signal = rows[:, 0] * rows[:, 1] + rows[:, 2] - rows[:, 3] ** 2 + np.sin(rows[:, 4] * 3) + rows[:, 5:].sum(1) * 0.2
labels = (signal + random.normal(size=ROWS) > 0).astype(int)
booster = lightgbm.train(
    {
        "objective": "binary",
        "max_depth": 6,
        "num_leaves": 64,
        "min_data_in_leaf": 5,
        "learning_rate": 0.05,
        "num_threads": 1,
        "boost_from_average": False,
        "verbose": -1,
    },
    lightgbm.Dataset(rows, labels),
    num_boost_round=200,
)
explained = rows[:EXPLAINED]

# Told that the model is LightGBM's, the shap package calls LightGBM; this makes it use its own code.
explainer = shap.TreeExplainer(booster, feature_perturbation="tree_path_dependent")
explainer.model.model_type = "internal"


def timed(work):
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def model():
    trees = [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]
    (folder / "trees.json").write_text(json.dumps(trees))
    rows.tofile(folder / "rows.f32")
    return {"rows": ROWS, "features": FEATURES, "explained": EXPLAINED}


def by_lightgbm():
    seconds, values = timed(lambda: booster.predict(explained, pred_contrib=True, num_threads=1))
    values[:, :-1].astype("<f8").tofile(folder / "lightgbm.f64")
    return {"seconds": seconds, "expected": values[0, -1]}


def by_shap():
    seconds, values = timed(lambda: explainer.shap_values(explained, check_additivity=False))
    np.asarray(values).astype("<f8").tofile(folder / "shap.f64")
    return {"seconds": seconds, "expected": float(np.ravel(explainer.expected_value)[-1])}


def by_onnxruntime():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    seconds, (values,) = timed(lambda: session.run(["probabilities"], {name: rows}))
    values.astype("<f4").tofile(folder / "onnxruntime.f32")
    return {"seconds": seconds}


answer({"model": model, "lightgbm": by_lightgbm, "shap": by_shap, "onnxruntime": by_onnxruntime})
