"""The stock `feast` package reads and writes through its remote online store, and raises its own errors."""

import json
import subprocess
from datetime import datetime, timedelta, timezone

import pandas as pd
import pytest
import requests
from conftest import TENON, Company, serving
from deltalake import DeltaTable
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RepoConfig
from feast.data_source import PushMode
from feast.errors import (
    EntityNotFoundException,
    FeastError,
    FeastPermissionError,
    FeatureNameCollisionError,
    FeatureServiceNotFoundException,
    FeatureViewNotFoundException,
    SpecifiedFeaturesNotPresentError,
)
from feast.types import Float64
from feast.value_type import ValueType

SENSORS = {
    "datasets/readings.toml": """description = "Readings"
event_time = "at"
[source]
push = true
[contract]
max_quarantined = "100%"
[contract.columns]
sensor = { type = "string" }
at = { type = "timestamp" }
value = { type = "float64", range = [0, 100] }
""",
    "features/heat.toml": """description = "How hot it is"
entity = ["sensor"]
dataset = "readings"
source = "SELECT sensor, at, value FROM readings"
event_time = "at"
ttl = "12h"
[features]
last_value = { aggregate = "last", column = "value" }
mean_value = { aggregate = "mean", column = "value" }
readings = { aggregate = "count" }
""",
}


def client(address: str, folder, *objects) -> FeatureStore:
    config = RepoConfig(
        project="acme",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "remote", "path": f"http://{address}", "connection_retries": 0},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply(list(objects))
    return store


def view(name: str, entities: list, features: list, folder, source=None) -> FeatureView:
    file = FileSource(name=f"{name}_file", path=str(folder / "none.parquet"), timestamp_field="event_timestamp")
    source = source or PushSource(name=f"{name}_push", batch_source=file)
    schema = [Field(name=feature, dtype=Float64) for feature in features]
    return FeatureView(name=name, entities=entities, schema=schema, source=source, ttl=timedelta(hours=12))


@pytest.fixture
def sensors(tmp_path) -> Company:
    folder = tmp_path / "acme"
    subprocess.run([TENON, "init", str(folder), "--name", "acme"], check=True, capture_output=True)
    for name, text in SENSORS.items():
        path = folder / "pods/first" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    company = Company(folder, {})
    company.run("apply")
    return company


@pytest.fixture(scope="module")
def flights(made):
    """Schedule rows whose entities are known, the newest first."""
    sql = "SELECT flight_id, tailnum, origin, carrier, dest FROM schedule WHERE tailnum IS NOT NULL ORDER BY published_at DESC, flight_id LIMIT 200"
    return json.loads(made.run("--output", "json", "query", sql, "--limit", "200").stdout)


def test_a_feature_service_reads_what_the_model_decides_by(server, flights, tmp_path):
    tail = Entity(name="tailnum", join_keys=["tailnum"], value_type=ValueType.STRING)
    delay = view("aircraft_delay", [tail], ["last_arr_delay", "hours_since_landing"], tmp_path)
    store = client(server, tmp_path, tail, delay, FeatureService(name="late_arrival", features=[delay]))
    rows = flights[:20]
    read = store.get_online_features(features=store.get_feature_service("late_arrival"), entity_rows=rows).to_dict()
    known = 0
    for number, row in enumerate(rows):
        decided = requests.post(f"http://{server}/decide/late_arrival", json={"entities": row}, timeout=30).json()
        for feature in decided["features"]:
            name, value = feature["name"], feature.get("value")
            if name == "hours_since_landing":
                assert (read[name][number] is None) == (value is None)
                continue
            assert read[name][number] == value, (row, feature)
            known += value is not None
        assert read["tailnum"][number] == row["tailnum"]
    assert known > 100, "a test of strangers would be too easy"


def test_features_by_name_are_what_the_table_says(server, made, flights, tmp_path):
    tail = Entity(name="tailnum", join_keys=["tailnum"], value_type=ValueType.STRING)
    store = client(server, tmp_path, tail, view("aircraft_delay", [tail], ["last_arr_delay"], tmp_path))
    tails = sorted({row["tailnum"] for row in flights})[:100]
    asked = {"features": ["aircraft_delay:last_arr_delay"], "entities": {"tailnum": [*tails, "N-NONE", None]}}
    raw = requests.post(f"http://{server}/get-online-features", json=asked, timeout=30).json()
    assert raw["metadata"]["feature_names"] == ["tailnum", "last_arr_delay"]
    values, statuses = raw["results"][1]["values"], raw["results"][1]["statuses"]
    events = [datetime.fromisoformat(at.replace("Z", "+00:00")) for at in raw["results"][1]["event_timestamps"]]
    landed = DeltaTable(made.table("flights")).to_pyarrow_table(columns=["tailnum", "landed_at", "arr_delay"]).to_pandas()
    landed = landed.dropna().sort_values("landed_at")
    for tail_number, value, status, event in zip(tails, values, statuses, events):
        mine = landed[landed.tailnum == tail_number]
        if status == "PRESENT":
            assert mine.landed_at.iloc[-1] == event and mine.arr_delay.iloc[-1] == value, tail_number
        else:
            # The store keeps rows for the 12 hours that they count, and two days more; it sweeps once a day.
            ago = landed.landed_at.iloc[-1] - mine.landed_at.iloc[-1] if len(mine) else timedelta.max
            assert value is None and status in ("OUTSIDE_MAX_AGE", "NOT_FOUND"), tail_number
            assert status == "OUTSIDE_MAX_AGE" if ago < timedelta(hours=60) else ago < timedelta(hours=85) or status == "NOT_FOUND"
    assert statuses.count("PRESENT") > 20
    assert statuses[-2:] == ["NOT_FOUND", "NOT_FOUND"] and events[-1] == datetime(1970, 1, 1, tzinfo=timezone.utc)
    # The client hands the same to its caller, an entity without features as None.
    read = store.get_online_features(
        features=["aircraft_delay:last_arr_delay"],
        entity_rows=[{"tailnum": tail_number} for tail_number in [*tails, "N-NONE"]],
        full_feature_names=True,
    ).to_dict()
    assert read["aircraft_delay__last_arr_delay"] == values[:-1]


def test_what_the_client_pushes_it_reads_back(sensors, tmp_path):
    sensor = Entity(name="sensor", join_keys=["sensor"], value_type=ValueType.STRING)
    # One view named as here, of which the client writes a feature; one named as the dataset, of which it writes the columns.
    heat, readings = (view(name, [sensor], [column], tmp_path) for name, column in [("heat", "last_value"), ("readings", "value")])
    now = datetime.now(timezone.utc).replace(microsecond=0)

    def rows(column, *values):
        columns = zip(*[(name, now - timedelta(minutes=ago), value) for name, ago, value in values])
        return pd.DataFrame(dict(zip(["sensor", "event_timestamp", column], columns)))

    with serving(sensors.folder, stderr=subprocess.DEVNULL) as (address, _):
        store = client(address, tmp_path, sensor, heat, readings)

        def read(name):
            features = ["heat:last_value", "heat:mean_value", "heat:readings"]
            found = store.get_online_features(features=features, entity_rows=[{"sensor": name}]).to_dict()
            return [found[feature.split(":")[1]][0] for feature in features]

        assert read("s1") == [None, None, 0.0]
        store.push("heat_push", rows("last_value", ("s1", 30, 20.0), ("s2", 30, 1.5)), to=PushMode.ONLINE)
        assert read("s1") == [20.0, 20.0, 1.0]
        assert read("s2") == [1.5, 1.5, 1.0]
        store.push("readings_push", rows("value", ("s1", 10, 40.0)), to=PushMode.ONLINE)
        assert read("s1") == [40.0, 30.0, 2.0]
        # Older than what is stored: it counts in the window, and does not become the last value.
        store.write_to_online_store("heat", rows("last_value", ("s1", 60, 90.0)))
        assert read("s1") == [40.0, 50.0, 3.0]
        # The client's own reader of one view, which takes features by the types that were declared.
        provider = store._get_provider()
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        keys = [EntityKey(join_keys=["sensor"], entity_values=[Value(string_val=name)]) for name in ("s1", "nobody")]
        found = provider.online_read(store.config, store.get_feature_view("heat"), keys, ["last_value"])
        assert [row[1]["last_value"].WhichOneof("val") for row in found] == ["double_val", None]
        assert found[0][1]["last_value"].double_val == 40.0 and found[0][0] == now - timedelta(minutes=10)

        with pytest.raises(FeastError, match="none of the 1 rows was accepted; they wait in the quarantine of `readings`: value: outside"):
            store.write_to_online_store("heat", rows("last_value", ("s1", 5, 1000.0)))
        assert read("s1")[0] == 40.0
        url = f"http://{address}/push"
        frame = {"sensor": ["s1", "s2"], "at": [str(now), (now - timedelta(hours=2)).isoformat()], "value": [50, 2]}
        told = requests.post(url, json={"push_source_name": "heat", "to": "online_and_offline", "df": frame}, timeout=30)
        assert told.status_code == 200 and told.json()["older"] == {"heat": 1}, told.text
        assert read("s1") == [50.0, 50.0, 4.0] and read("s2") == [1.5, 1.75, 2.0]
        told = requests.post(url, json={"push_source_name": "heat", "to": "offline", "df": frame}, timeout=30)
        assert told.status_code == 422 and "rows that land here are served as well" in told.text
    landed = DeltaTable(sensors.table("readings")).to_pyarrow_table().num_rows
    assert landed == 6, "what was pushed is in the lake, and on the record"
    assert sensors.json("audit", "data")["datasets"]["readings"]["accepted"] == 6


def test_the_client_raises_its_own_errors(sensors, tmp_path):
    sensor = Entity(name="sensor", join_keys=["sensor"], value_type=ValueType.STRING)
    other = view("humidity", [sensor], ["last_value"], tmp_path)
    heat = view("heat", [sensor], ["mean_value"], tmp_path)
    with serving(sensors.folder, stderr=subprocess.DEVNULL) as (address, _):
        store = client(address, tmp_path, sensor, other, heat, FeatureService(name="weather", features=[heat]))

        def read(features, **row):
            return store.get_online_features(features=features, entity_rows=[row or {"sensor": "s1"}])

        with pytest.raises(FeatureViewNotFoundException, match="there is no feature_view `humidity`"):
            read(["humidity:last_value"])
        with pytest.raises(SpecifiedFeaturesNotPresentError, match="it has `last_value`, `mean_value`, `readings`"):
            read(["heat:last"])
        with pytest.raises(FeatureServiceNotFoundException, match="weather"):
            read(store.get_feature_service("weather"))
        with pytest.raises(EntityNotFoundException, match="did you mean `sensor`"):
            read(["heat:last_value"], sensors="s1")
        with pytest.raises(FeatureNameCollisionError, match="last_value"):
            read(["heat:last_value", "heat:last_value"])
        with pytest.raises(FeastError, match="names an entity by text, and the request has 7"):
            read(["heat:last_value"], sensor=7)
        with pytest.raises(FeastError, match="too many at once"):
            store.get_online_features(features=["heat:last_value"], entity_rows=[{"sensor": str(at)} for at in range(10_001)])
        frame = pd.DataFrame({"sensor": ["s1"], "event_timestamp": [datetime.now(timezone.utc)]})
        with pytest.raises(FeatureViewNotFoundException, match="humidity"):
            store.write_to_online_store("humidity", frame.assign(last_value=1.0))
        with pytest.raises(FeastError, match="`mean_value` is computed from rows of `readings`"):
            store.write_to_online_store("heat", frame.assign(mean_value=1.0))
    # What a policy forbids, the client hears in its own words too.
    forbid = 'forbid (principal, action == Tenon::Action::"feature.read", resource);\n'
    (sensors.folder / "policies/closed.cedar").write_text(f'@id("closed")\n@says("features are closed today")\n{forbid}')
    sensors.run("apply")
    with serving(sensors.folder, stderr=subprocess.DEVNULL) as (address, _):
        store = client(address, tmp_path, sensor, heat)
        with pytest.raises(FeastPermissionError, match="features are closed today"):
            store.get_online_features(features=["heat:last_value"], entity_rows=[{"sensor": "s1"}])
