"""Vectors from a push, a Parquet and a CSV file to a table, a point-in-time join, a derived feature, and the nearest neighbours,
against numpy over the same rows."""

import json
import os
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import requests
from conftest import serving
from deltalake import DeltaTable
from small import Folder
from test_odcs import valid

SIZE = 64
NOW = datetime.now(timezone.utc).replace(microsecond=0)

DATASET = """description = "How tracks sound"
event_time = "heard_at"
[source]
{source}
[contract.columns]
track = {{ type = "int64" }}
heard_at = {{ type = "timestamp" }}
embedding = {{ type = "vector({size})", nullable = true }}
"""
VIEW = """description = "How a track sounds"
entity = ["track"]
event_time = "heard_at"
ttl = "30d"
dataset = "sounds"
source = "SELECT track, heard_at, embedding FROM sounds"
[features]
times_heard = {{ aggregate = "count" }}
[vectors.style]
column = "embedding"
dimensions = {size}
metric = "{metric}"
"""
DERIVED = """description = "How near a track is to what is looked for"
views = ["track_style"]
request = {{ query = "vector({size})" }}
[features]
distance = {{ sql = "cosine_distance(style, query)" }}
loudness = {{ sql = "style[1]" }}
"""
MODEL = """description = "Whether a track is played"
limits = "made up"
key = "play"
decided_at = "decided_at"
features = ["match"]
observations = "SELECT play, track, decided_at, query, played AS label FROM plays"
split = { by = "time", test = "20%" }
trainer = { kind = "gbdt" }
"""
PLAYS = """description = "Plays"
event_time = "decided_at"
[source]
push = true
[contract.columns]
play = {{ type = "int64" }}
track = {{ type = "int64" }}
decided_at = {{ type = "timestamp" }}
query = {{ type = "vector({size})" }}
played = {{ type = "boolean" }}
"""


def found(tmp_path, metric="cosine", size=SIZE):
    company = Folder(tmp_path / "acme")
    pod = company.datasets.parent
    for folder in ("features", "derived", "models"):
        (pod / folder).mkdir(exist_ok=True)
    (company.datasets / "sounds.toml").write_text(DATASET.format(source="push = true", size=size))
    (company.datasets / "plays.toml").write_text(PLAYS.format(size=size))
    (pod / "features/track_style.toml").write_text(VIEW.format(metric=metric, size=size))
    (pod / "derived/match.toml").write_text(DERIVED.format(size=size))
    (pod / "models/hit.toml").write_text(MODEL)
    company.run("apply")
    return company


def arrow(tracks, moments, vectors):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), vectors.shape[1])
    moments = pa.array(moments, pa.timestamp("us", "UTC"))
    return pa.table({"track": pa.array(tracks, pa.int64()), "heard_at": moments, "embedding": vectors})


def push(server, dataset, table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    headers = {"Content-Type": "application/vnd.apache.arrow.stream", "Idempotency-Key": os.urandom(8).hex()}
    answer = requests.post(f"http://{server}/ingest/{dataset}", data=sink.getvalue().to_pybytes(), headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def nearest(server, status=200, **asked):
    answer = requests.post(f"http://{server}/api/v1/features/track_style/nearest", json={"feature": "style"} | asked, timeout=60)
    assert answer.status_code == status, answer.text
    return answer.json()


def tracks(answer):
    return [neighbour["entity"]["track"] for neighbour in answer["neighbours"]]


def cosines(vectors, query):
    vectors, query = vectors.astype(np.float64), np.asarray(query, np.float64)
    return 1 - vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)


def test_vectors_land_from_every_format_and_wrong_ones_are_set_aside(tmp_path):
    company = Folder(tmp_path / "acme")
    for name in ("pushed", "parquets", "csvs"):
        source = "push = true" if name == "pushed" else f'files = "data/{name}/*"'
        (company.datasets / f"{name}.toml").write_text(DATASET.format(source=source, size=3))
    company.run("apply")
    moment = NOW.isoformat()
    good, wrong = [[0.1, -2.5, 3.0], None], [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [1.0, None, 2.0]]
    rows = [{"track": at, "heard_at": moment, "embedding": vector} for at, vector in enumerate(good + wrong)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    company.give("csvs", "sounds", "track,heard_at,embedding\n" + "".join(
        f'{row["track"]},{moment},"{"" if row["embedding"] is None else json.dumps(row["embedding"])}"\n' for row in rows
    ))
    lists = pa.array(good + wrong + [[1.0, float("nan"), 2.0]], pa.list_(pa.float64()))
    moments = pa.array([NOW] * 6, pa.timestamp("us", "UTC"))
    (tmp_path / "acme/data/parquets").mkdir(parents=True)
    parquet.write_table(
        pa.table({"track": pa.array(range(6), pa.int64()), "heard_at": moments, "embedding": lists}),
        tmp_path / "acme/data/parquets/sounds.parquet",
    )
    with serving(company.folder) as (server, _):
        answer = requests.post(f"http://{server}/ingest/pushed", data=lines, timeout=60)
        assert answer.status_code == 200 and answer.json()["quarantined"] == 3, answer.text
    for name in ("parquets", "csvs"):
        company.run("ingest", name)
    for name, aside in (("pushed", 3), ("parquets", 4), ("csvs", 3)):
        # By another reader of Delta tables, by SQL, and by the audit of what landed.
        table = DeltaTable(company.table(name)).to_pyarrow_table().sort_by("track")
        held = [np.float32(vector).tolist() if vector else None for vector in good]
        assert table.column("embedding").to_pylist() == held, name
        assert "array<float>" in str(DeltaTable(company.table(name)).schema().to_json()) or table.schema.field("embedding").type.value_type == pa.float32()
        told = company.json("query", f"SELECT track, embedding, array_length(embedding) AS n, l2 FROM (SELECT *, array_distance(embedding, [0, 0, 0]) AS l2 FROM {name}) ORDER BY track")
        assert [row.get("n") for row in told] == [3, None] and told[0]["l2"] == pytest.approx(np.linalg.norm(good[0])), told
        assert told[0]["embedding"] == pytest.approx(good[0])
        reasons = company.json("quarantine", "show", name)
        assert len(reasons) == aside and "is not a vector of 3 finite numbers" in json.dumps(reasons), reasons
    company.run("audit", "data")
    company.run("compact", "pushed")
    company.run("profile", "pushed")
    # Another row, and what came between: lists are compared as a whole.
    with serving(company.folder) as (server, _):
        requests.post(f"http://{server}/ingest/pushed", data=json.dumps(rows[0] | {"track": 9}) + "\n", timeout=60)
        page = requests.get(f"http://{server}/console/datasets/pushed", timeout=60)
        assert page.status_code == 200 and "vector(3)" in page.text, page.text[:2000]
    assert company.json("diff", "pushed", "--from", "0", "--key", "track")
    contract = company.json("contract", "export", "pushed")
    (column,) = [column for column in contract["schema"][0]["properties"] if column["name"] == "embedding"]
    assert (column["logicalType"], column["physicalType"]) == ("array", "vector(3)")
    valid(contract)


def test_a_contract_that_asks_too_much_of_vectors_is_told(tmp_path):
    company = Folder(tmp_path / "acme")
    text = DATASET.format(source="push = true", size=3).replace("vector(3)\"", "vector(3)\", range = [0, 1]")
    (company.datasets / "sounds.toml").write_text(text)
    told = company.run("plan", ok=1).stderr
    assert "`embedding` holds vectors, which cannot promise a range" in told, told
    (company.datasets / "sounds.toml").write_text(DATASET.format(source="push = true", size=0))
    told = company.run("plan", ok=1).stderr
    assert "`vector(0)` is no vector" in told, told


def test_trained_and_served_alike_and_the_nearest_by_http_and_by_command(tmp_path):
    dice = np.random.default_rng(11)
    company = found(tmp_path)
    count = 300
    # Each track is heard twice, and sounds differently the second time.
    old, new = (dice.normal(size=(count, SIZE)).astype(np.float32) for _ in range(2))
    early, late = NOW - timedelta(days=9), NOW - timedelta(days=2)
    queries = dice.normal(size=(count, SIZE)).astype(np.float32)
    plays = arrow(range(count), [NOW - timedelta(days=5 if at % 2 else 1) for at in range(count)], queries)
    plays = plays.rename_columns(["track", "decided_at", "query"])
    plays = plays.append_column("play", plays["track"]).append_column("played", pa.array([at % 3 == 0 for at in range(count)]))
    with serving(company.folder) as (server, _):
        push(server, "sounds", arrow(range(count), [early] * count, old))
        push(server, "sounds", arrow(range(count), [late] * count, new))
        push(server, "plays", plays)
    made = company.json("train", "hit")
    assert made
    (path,) = [
        path for path in (company.folder / ".tenon/artifacts").rglob("*.parquet") if "distance" in parquet.read_schema(path).names
    ]
    learnt = parquet.read_table(path).sort_by("play")
    sounds = np.where((np.arange(count) % 2 == 1)[:, None], old, new)
    wanted = np.array([cosines(sounds[at : at + 1], queries[at])[0] for at in range(count)])
    np.testing.assert_allclose(learnt["distance"].to_numpy(), wanted, atol=1e-6)
    np.testing.assert_array_equal(learnt["loudness"].to_numpy(), sounds[:, 0])

    with serving(company.folder) as (server, _):
        body = {"features": ["match:distance", "match:loudness"], "entities": {"track": [7, 8], "query": queries[[7, 8]].tolist()}}
        answer = requests.post(f"http://{server}/get-online-features", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        results = {name: result["values"] for name, result in zip(answer.json()["metadata"]["feature_names"], answer.json()["results"])}
        distances = [values for name, values in results.items() if name.endswith("distance")][0]
        np.testing.assert_allclose(distances, [cosines(new[at : at + 1], queries[at])[0] for at in (7, 8)], atol=1e-6)

        query = dice.normal(size=SIZE)
        far = cosines(new, query)
        answer = nearest(server, vector=query.tolist(), k=5)
        assert tracks(answer) == np.argsort(far)[:5].tolist() and answer["entities"] == count
        np.testing.assert_allclose([near["distance"] for near in answer["neighbours"]], np.sort(far)[:5], atol=1e-6)
        of_track = nearest(server, entity={"track": 7}, k=5)
        order = [at for at in np.argsort(cosines(new, new[7])).tolist() if at != 7]
        assert tracks(of_track) == order[:5]
        by_command = company.json("features", "nearest", "track_style.style", "--entity", "track=7", "-k", "5")
        assert tracks(by_command) == order[:5]
        # What lands is found at once.
        push(server, "sounds", arrow([9999], [NOW], query[None]))
        assert tracks(nearest(server, vector=query.tolist(), k=1)) == [9999]
        for asked, status, words in (
            ({"vector": [1, 2]}, 422, "has 2 numbers"),
            ({"vector": [0] * SIZE}, 422, "has no direction"),
            ({"vector": query.tolist(), "k": 0}, 422, "`k` is 0"),
            ({"vector": query.tolist(), "k": 1001}, 422, "from 1 to 1000"),
            ({"vector": query.tolist(), "feature": "stile"}, 404, "did you mean `style`?"),
            ({"entity": {"track": 12345}}, 404, "has no vector `style`"),
            ({"entity": {"track": "x"}}, 422, "`track` names an entity by a whole number"),
            ({}, 422, "near to what?"),
        ):
            told = nearest(server, status=status, **asked)
            assert words in told["error"], told
    # The same from a start of its own.
    told = company.run("features", "nearest", "track_style.style", "--vector", json.dumps(query.tolist()), "-k", "1").stdout
    assert "9999" in told and "0.000000" in told, told
    told = company.run("features", "nearest", "track_style", "--vector", "[1]", ok=2).stderr
    assert "VIEW.FEATURE" in told, told


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_of_twenty_thousand_the_nearest_are_those_of_numpy(tmp_path, metric):
    count, asked = 20_000, 50
    dice = np.random.default_rng(5)
    company = found(tmp_path, metric)
    vectors = dice.normal(size=(count, SIZE)).astype(np.float32)
    queries = dice.normal(size=(asked, SIZE))
    with serving(company.folder) as (server, _):
        push(server, "sounds", arrow(range(count), [NOW] * count, vectors))
        hits = 0
        for query in queries:
            far = cosines(vectors, query) if metric == "cosine" else np.linalg.norm(vectors - query, axis=1)
            answer = nearest(server, vector=query.tolist())
            hits += len(set(tracks(answer)) & set(np.argsort(far)[:10].tolist()))
        assert hits / (10 * asked) >= 0.95, hits
