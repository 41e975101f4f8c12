"""The online store in Redis: the same values as from the file, through restarts, floods, hangs and losses."""

import json
import time
from datetime import datetime, timedelta, timezone

import polars as pl
import pyarrow as pa
import pytest
import requests
from conftest import Company, serving
from redis_server import Server
from small import Folder
from test_online import ARROW, asked, entities

DATASET = """description = "Readings"
event_time = "at"
[source]
push = true
[contract]
[contract.columns]
sensor = { type = "string" }
at = { type = "timestamp" }
value = { type = "float64" }
"""
VIEW = """description = "How hot it is"
entity = ["sensor"]
dataset = "readings"
source = "SELECT sensor, at, value FROM readings"
event_time = "at"
ttl = "12h"
[features]
last_value = { aggregate = "last", column = "value" }
total = { aggregate = "sum", column = "value" }
readings = { aggregate = "count" }
"""


@pytest.fixture
def store(tmp_path):
    server = Server(tmp_path)
    yield server
    server.go_on()
    server.kill()


@pytest.fixture
def sensors(tmp_path, store):
    folder = Folder(tmp_path / "acme")
    store.declare(folder.folder)
    (folder.datasets / "readings.toml").write_text(DATASET)
    views = folder.datasets.parent / "features"
    views.mkdir(exist_ok=True)
    (views / "heat.toml").write_text(VIEW)
    folder.run("apply")
    return folder


def push(address, name, *rows):
    """Pushes (sensor, minutes ago, value)."""
    now = datetime.now(timezone.utc)
    lines = [
        json.dumps({"sensor": sensor, "at": (now - timedelta(minutes=ago)).isoformat(), "value": value})
        for sensor, ago, value in rows
    ]
    headers = {"Idempotency-Key": name, "Content-Type": "application/x-ndjson"}
    told = requests.post(f"http://{address}/ingest/readings", data="\n".join(lines), headers=headers, timeout=60)
    assert told.status_code == 200, told.text


def read(address, *sensors, timeout=30):
    features = ["heat:last_value", "heat:total", "heat:readings"]
    body = {"features": features, "entities": {"sensor": list(sensors)}}
    answer = requests.post(f"http://{address}/get-online-features", json=body, timeout=timeout)
    if answer.status_code != 200:
        return answer.status_code, answer.json()
    return answer.status_code, list(zip(*(result["values"] for result in answer.json()["results"][1:])))


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def test_what_is_pushed_is_read_and_survives_what_happens_to_the_store(sensors, store):
    with serving(sensors.folder) as (address, _):
        push(address, "1", ("s1", 30, 20.0), ("s1", 10, 21.5), ("s2", 5, 3.0))
        expected = [(21.5, 41.5, 2.0), (3.0, 3.0, 1.0), (None, 0.0, 0.0)]
        assert read(address, "s1", "s2", "s9") == (200, expected)
        keys = sorted(key.decode() for key in store.client.keys("*"))
        assert len(keys) == 3 and all(key.startswith("tenon:acme:heat@") for key in keys), keys
        of_entities = [key for key in keys if key.count(":") > 2]
        lives = [store.client.ttl(key) for key in of_entities]
        assert all(60 * 3600 < life < 62 * 3600 for life in lives), f"12 h, two days of slack, one hour for clocks: {lives}"
        assert store.client.ttl(keys[0]) == -1, "the cursor stays"

        # A store that hangs: a bounded wait, then none at all, and a clear status. Rows land all the same.
        store.hang()
        began = time.monotonic()
        status, told = read(address, "s1")
        assert status == 503 and "redis://" in str(told) and "password" not in str(told) and "sesame" not in str(told), told
        assert time.monotonic() - began < 2
        began = time.monotonic()
        assert [read(address, "s1")[0] for _ in range(20)] == [503] * 20
        assert time.monotonic() - began < 2, "who comes later does not wait"
        push(address, "2", ("s1", 1, 1.0))
        store.go_on()
        assert until(lambda: read(address, "s1") == (200, [(1.0, 42.5, 3.0)])), read(address, "s1")

        # It is killed, and comes back empty.
        store.kill()
        push(address, "3", ("s2", 1, 4.0))
        assert read(address, "s1")[0] == 503
        store.start()
        assert until(lambda: read(address, "s1", "s2") == (200, [(1.0, 42.5, 3.0), (4.0, 7.0, 2.0)])), read(address, "s1", "s2")

        # Somebody empties it while it runs.
        store.client.flushall()
        assert until(lambda: read(address, "s1", "s2") == (200, [(1.0, 42.5, 3.0), (4.0, 7.0, 2.0)])), read(address, "s1", "s2")
        before = {key: store.client.get(key) for key in store.client.keys("*")}
    with serving(sensors.folder) as (again, _):
        assert read(again, "s1", "s2") == (200, [(1.0, 42.5, 3.0), (4.0, 7.0, 2.0)])
        assert {key: store.client.get(key) for key in store.client.keys("*")} == before, "it goes on from what is there"
        push(again, "4", ("s3", 1, 9.0))
        assert read(again, "s2", "s3") == (200, [(4.0, 7.0, 2.0), (9.0, 9.0, 1.0)])


def test_a_changed_view_is_written_anew_and_what_nobody_reads_is_swept_up(sensors, store):
    with serving(sensors.folder) as (address, _):
        push(address, "1", ("s1", 30, 20.0), ("s1", 400, 1.0))
        assert read(address, "s1") == (200, [(20.0, 21.0, 2.0)])
    before = set(store.client.keys("*"))
    view = sensors.datasets.parent / "features" / "heat.toml"
    view.write_text(VIEW.replace('aggregate = "sum", column = "value"', 'aggregate = "sum", column = "value", window = "1h"'))
    sensors.run("apply")
    with serving(sensors.folder) as (address, _):
        assert read(address, "s1") == (200, [(20.0, 20.0, 2.0)])
        assert until(lambda: not before & set(store.client.keys("*"))), "what nobody reads goes"
        assert read(address, "s1") == (200, [(20.0, 20.0, 2.0)])


def test_a_wrong_password_is_told_and_keeps_nothing_else_from_working(sensors, store):
    (sensors.folder / "password").write_text("close sesame\n")
    with serving(sensors.folder) as (address, _):
        push(address, "1", ("s1", 30, 20.0))
        status, told = read(address, "s1")
        assert status == 503 and "sesame" not in str(told), told
        landed = requests.post(f"http://{address}/api/v1/query", json={"sql": "SELECT count(*) AS n FROM readings"}, timeout=30)
        assert landed.status_code == 200
        found = sensors_search(address)
        assert found[0]["online"] is None and "sesame" not in found[0]["not_served"], found
    file = sensors.folder / "company.toml"
    file.write_text(file.read_text().replace("redis://", "redis://:secret@"))
    done = sensors.run("get", "datasets", ok=3)
    assert "a login does not belong into the address" in done.stderr and "secret@" not in done.stderr, done.stderr


def sensors_search(address):
    return requests.get(f"http://{address}/api/v1/features/search?q=last_value", timeout=30).json()


def test_redis_serves_what_the_file_serves_and_decides_without_it(made, server, company: Company, store, tmp_path):
    store.declare(company.folder)
    deployment = company.folder / "pods/arrivals/deployments/late_arrival.toml"
    text = deployment.read_text()
    deployment.write_text(text.replace("[rollout]", "[fallback]\nlast_arr_delay = 7.5\n[rollout]", 1))
    company.run("apply")
    table = entities(made, 3_000)
    with serving(company.folder) as (address, _):
        # One moment for both: the clock of the server that tests share has gone on, and windows with it.
        size = requests.get(f"http://{address}/api/v1/facts?from=0&limit=1", timeout=30).json()["size"]
        at = requests.get(f"http://{address}/api/v1/facts/{size - 1}", timeout=30).json()["fact"]["at"]
        moment = pa.array([datetime.fromisoformat(at)] * table.num_rows, pa.timestamp("us", "UTC"))
        timed = asked(table.append_column("when", moment))
        answers = [
            requests.post(f"http://{where}/api/v1/features/late_arrival/online?at=when", data=timed, headers=ARROW, timeout=60)
            for where in (server, address)
        ]
        file, here = (pl.from_arrow(pa.ipc.open_stream(answer.content).read_all()) for answer in answers)
        assert file.equals(here)
        plan = {key: table[key][0].as_py() for key in table.column_names}

        def decide(where):
            told = requests.post(f"http://{where}/decide/late_arrival", json={"entities": plan, "at": at}, timeout=30)
            assert told.status_code == 200, told.text
            return told.json()["features"]

        def plain(features):
            return [(one["name"], one["value"], one["known_at"]) for one in features if one["name"] != "last_arr_delay"]

        assert plain(decide(address)) == plain(decide(server))
        store.hang()
        began = time.monotonic()
        told = {one["name"]: (one["status"], one["value"]) for one in decide(address)}
        assert time.monotonic() - began < 2
        assert told.pop("last_arr_delay") == ("fallback", 7.5)
        assert set(told.values()) == {("unavailable", None)}, told
        bulk = requests.post(f"http://{address}/api/v1/features/late_arrival/online", data=asked(table), headers=ARROW, timeout=60)
        assert bulk.status_code == 503, bulk.text
        store.go_on()
        assert until(lambda: plain(decide(address)) == plain(decide(server)))
