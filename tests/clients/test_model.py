"""The artifact is ONNX that any runtime serves, and it says the same there as here."""

import json

import numpy as np
import onnxruntime
import polars
import requests
import tritonclient.http as triton


def held_out(company):
    """The held-out features of version 1, from its stored training set."""
    import pyarrow.parquet as parquet

    (version,) = [v for v in company.json("get", "versions") if v["registered"]["version"] == "late_arrival@1"]
    digest = version["run"]["training_set"]["digest"].removeprefix("sha256:")
    (path,) = (company.folder / ".tenon" / "artifacts").rglob(f"*{digest}*.parquet")
    table = parquet.read_table(path)
    rows = version["run"]["training_set"]["train_rows"]
    features = version["registered"]["inputs"]
    matrix = np.column_stack([table[name].to_numpy(zero_copy_only=False).astype(np.float32) for name in features])
    return matrix[rows:]


def area(labels, values):
    """Under the ROC curve: how often a true one has the higher value of two, by ranks."""
    true, false = labels.sum(), (~labels).sum()
    return (values.rank("average").filter(labels).sum() - true * (true + 1) / 2) / (true * false)


def test_a_training_set_says_what_it_gives_away(company):
    said = company.json("describe", "late_arrival@1")
    made = said["record"]["run"]["training_set"]
    (path,) = (company.folder / ".tenon" / "artifacts").rglob(f"*{made['digest'].removeprefix('sha256:')}*.parquet")
    rows = polars.read_parquet(path)
    learnt, held = rows[: made["train_rows"]], rows[made["train_rows"] :]
    assert made["leakage"]["telling"] == [] and "No feature tells the answer by itself" in said["card"]["data"]
    for name in said["record"]["registered"]["inputs"]:
        known = learnt.select(name, "label").drop_nulls()
        assert 0.05 < area(known["label"], known[name]) < 0.95, name

    shared = made["leakage"]["shared"]
    assert ["tailnum"] in [one["columns"] for one in shared] and ["carrier", "origin"] in [one["columns"] for one in shared]
    for one in shared:
        entities = held.select(one["columns"]).drop_nulls().unique()
        both = entities.join(learnt.select(one["columns"]).unique(), on=one["columns"], how="semi")
        assert (one["held_out"], one["shared"]) == (entities.height, both.height), one

    (version,) = [table["version"] for table in made["tables"] if table["dataset"] == "weather"]
    (weather,) = company.json("query", f"SELECT count(*) AS rows FROM weather FOR VERSION AS OF {version}")
    quarter = {"view": "origin_weather", "rows": weather["rows"], "trailing": weather["rows"], "median": "15m"}
    assert made["leakage"]["trailing"] == [quarter]
    assert "were known later than they happened" in said["card"]["data"]


def probabilities(outputs):
    (found,) = [output for output in outputs if getattr(output, "ndim", 0) == 2]
    return found[:, 1]


def test_onnxruntime_agrees_on_the_whole_hold_out(company, server, tmp_path):
    artifact = tmp_path / "m.onnx"
    company.run("export", "late_arrival@1", "--to", str(artifact))
    matrix = held_out(company)
    assert len(matrix) > 10_000
    session = onnxruntime.InferenceSession(artifact.read_bytes())
    name = session.get_inputs()[0].name
    theirs = probabilities(session.run(None, {name: matrix}))

    client = triton.InferenceServerClient(server)
    ours = []
    for start in range(0, len(matrix), 2_000):
        part = matrix[start : start + 2_000]
        tensor = triton.InferInput(name, list(part.shape), "FP32")
        tensor.set_data_from_numpy(part)
        reply = client.infer("late_arrival", [tensor], model_version="1")
        names = [output["name"] for output in reply.get_response()["outputs"]]
        ours.append(probabilities([reply.as_numpy(n) for n in names]))
    assert np.abs(np.concatenate(ours) - theirs).max() < 1e-5


def test_the_stock_triton_client_finds_its_way(server):
    client = triton.InferenceServerClient(server)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("late_arrival")
    assert client.get_server_metadata()["name"]
    metadata = client.get_model_metadata("late_arrival")
    assert metadata["inputs"][0]["datatype"] == "FP32"


def infer(server, body):
    return requests.post(f"http://{server}/v2/models/late_arrival/infer", json=body, timeout=10)


def test_bad_inference_requests_get_clear_errors(server):
    name = requests.get(f"http://{server}/v2/models/late_arrival", timeout=10).json()["inputs"][0]["name"]
    good = {"name": name, "shape": [1, 16], "datatype": "FP32", "data": [0.0] * 16}
    for broken in (
        {**good, "shape": [1, 3], "data": [0.0] * 3},
        {**good, "data": [0.0] * 15},
        {**good, "datatype": "INT64"},
        {**good, "name": "nothing"},
        {**good, "shape": [2**62, 16]},
        {**good, "data": ["text"] * 16},
    ):
        reply = infer(server, {"inputs": [broken]})
        assert reply.status_code == 400, (broken, reply.status_code, reply.text)
        assert reply.json()["error"]
    assert requests.post(f"http://{server}/v2/models/nothing/infer", json={"inputs": []}, timeout=10).status_code == 404


ENTITIES = {"flight_id": "UA1545-EWR-20130930T1015", "tailnum": "N14228", "origin": "EWR", "carrier": "UA", "dest": "IAH"}


def decide(server, body, deployment="late_arrival"):
    return requests.post(f"http://{server}/decide/{deployment}", json=body, timeout=10)


def test_a_decision_is_explained_and_adds_up(server):
    reply = decide(server, {"entities": ENTITIES, "explain": True})
    assert reply.status_code == 200, reply.text
    decision = reply.json()
    margin = decision["base"] + sum(decision["phi"])
    assert abs(1 / (1 + np.exp(-margin)) - decision["probability"]) < 1e-6
    assert decision["reasons"] and decision["version"].startswith("late_arrival@")
    assert all(f["known_at"] is None or f["known_at"] <= decision["at"] for f in decision["features"])
    receipt = requests.get(f"http://{server}/decisions/{decision['id']}", timeout=30)
    assert receipt.status_code == 200, receipt.text
    assert receipt.json()["verified"] is True


def test_bad_decision_requests_get_clear_errors(server):
    missing = {key: value for key, value in ENTITIES.items() if key != "tailnum"}
    reply = decide(server, {"entities": missing})
    assert reply.status_code == 422 and "tailnum" in reply.json()["error"]
    reply = decide(server, {"entities": {**ENTITIES, "tailnum": [1, 2]}})
    assert reply.status_code == 422 and "tailnum" in reply.json()["error"]
    assert decide(server, {"entities": ENTITIES}, "nothing").status_code == 404
    reply = decide(server, {"entities": ENTITIES, "unknown": 1})
    assert reply.status_code in (400, 422) and "unknown" in reply.json()["error"]
    assert requests.post(f"http://{server}/decide/late_arrival", data=b"{", timeout=10).status_code in (400, 415, 422)


def test_an_unknown_aircraft_is_missing_not_an_error(server):
    reply = decide(server, {"entities": {**ENTITIES, "tailnum": None}})
    assert reply.status_code == 200
    (delay,) = [f for f in reply.json()["features"] if f["name"] == "last_arr_delay"]
    assert delay["value"] is None and delay["status"] == "missing"


def test_pages_are_served(server):
    home = requests.get(f"http://{server}/", timeout=10)
    assert home.status_code == 200 and "late_arrival" in home.text
    assert "default-src" in home.headers["content-security-policy"]
    for page in ("/console/models/late_arrival@1", "/console/datasets/flights", "/console/facts"):
        assert requests.get(f"http://{server}{page}", timeout=10).status_code == 200, page


def test_the_log_is_served_as_tiles(server):
    checkpoint = requests.get(f"http://{server}/log/checkpoint", timeout=10).text
    assert checkpoint.splitlines()[0] == "acme"
    assert json.loads(f"[{checkpoint.splitlines()[1]}]")[0] > 100
