"""Features of many entities in one request, Arrow in and Arrow out."""

import io
import json

import numpy as np
import polars as pl
import pyarrow as pa
import requests
from conftest import Company

ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}
KEYS = ["flight_id", "tailnum", "origin", "carrier", "dest"]


def asked(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3000)
    return sink.getvalue()


def entities(company: Company, count: int) -> pa.Table:
    sql = f"SELECT flight_id, tailnum, origin, carrier, dest FROM schedule ORDER BY published_at DESC, flight_id LIMIT {count}"
    rows = json.loads(company.run("--output", "json", "query", sql, "--limit", str(count)).stdout)
    return pa.table({key: pa.array([row.get(key) for row in rows], pa.string()) for key in KEYS})


def test_twenty_thousand_flights_at_once_are_what_feasts_door_says_of_each(made, server):
    table = entities(made, 20_000)
    url = f"http://{server}/api/v1/features/late_arrival/online"
    answer = requests.post(url, data=asked(table), headers=ARROW, timeout=60)
    assert answer.status_code == 200, answer.text
    read = pa.ipc.open_stream(answer.content).read_all()
    assert read.num_rows == table.num_rows
    frame = pl.from_arrow(read)
    assert frame["last_arr_delay"].dtype == pl.Float32 and frame["last_arr_delay__event_at"].dtype == pl.Datetime("us", "UTC")
    assert set(frame["last_arr_delay__status"].cast(pl.String).unique()) <= {"PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"}  # what looks for the newest row alone
    assert (frame["last_arr_delay"].is_not_null() == (frame["last_arr_delay__status"].cast(pl.String) == "PRESENT")).all()
    some = table.slice(0, 500)
    body = {"feature_service": "late_arrival", "entities": {key: some[key].to_pylist() for key in KEYS}}
    feast = requests.post(f"http://{server}/get-online-features", json=body, timeout=60).json()
    present = 0
    for name, result in zip(feast["metadata"]["feature_names"][len(KEYS) :], feast["results"][len(KEYS) :]):
        if name != "hours_since_landing":
            values = pl.Series(result["values"], dtype=pl.Float32, strict=False)
            assert frame[name][:500].to_list() == values.to_list(), name
        # Feast has no word for a window that begins before the data does.
        ours = frame[f"{name}__status"].cast(pl.String)[:500].replace("INCOMPLETE_WINDOW", "PRESENT")
        assert ours.to_list() == result["statuses"], name
        present += result["statuses"].count("PRESENT")
    assert present > 2000
    assert requests.post(url, data=asked(table)[:-200_000], headers=ARROW, timeout=60).status_code == 400


def test_a_version_is_a_service_and_each_row_has_its_own_moment(made, server):
    table = entities(made, 50)
    times = requests.get(f"http://{server}/api/v1/facts?from=0&limit=1", timeout=30).json()["size"]
    newest = requests.get(f"http://{server}/api/v1/facts/{times - 1}", timeout=30).json()["fact"]["at"]
    at = pl.Series([newest]).str.to_datetime(time_unit="us", time_zone="UTC").to_arrow().cast(pa.timestamp("us", "UTC"))
    at = pa.concat_arrays([at] * 50)
    table = table.append_column("when", at)
    url = f"http://{server}/api/v1/features/late_arrival@1/online?at=when"
    answer = requests.post(url, data=asked(table), headers=ARROW, timeout=60)
    assert answer.status_code == 200, answer.text
    read = pl.from_arrow(pa.ipc.open_stream(answer.content).read_all())
    events = read["last_arr_delay__event_at"].drop_nulls()
    assert len(events) > 5 and (events <= at[0].as_py()).all()
    for row in range(0, 50, 10):
        body = {"entities": {key: table[key][row].as_py() for key in KEYS}, "at": newest}
        decided = requests.post(f"http://{server}/decide/late_arrival", json=body, timeout=30).json()
        for feature in decided["features"]:
            value = feature.get("value")
            assert read[feature["name"]][row] == (None if value is None else np.float32(value)), feature


def test_features_are_found_by_their_words(made, server):
    found = made.json("features", "search", "CARRIER", "delay")
    names = ["carrier_dep_delay_3h", "carrier_dep_delay_24h", "carrier_departures_3h"]
    assert [one["feature"] for one in found] == [*names, "origin_dep_delay_1h", "origin_dep_delay_3h"]
    first = found[0]
    assert (first["view"], first["pod"], first["dataset"], first["unit"]) == ("carrier_origin_delay", "arrivals", "departures", "minutes")
    assert (first["models"], first["deployments"], first["window"]) == (["late_arrival"], ["late_arrival"], "3h")
    online = first["online"]
    assert 0 < online["with_value"] <= online["entities"] and online["newest_event"].startswith("2013-09-30")
    shown = made.run("features", "search", "carrier", "delay").stdout
    assert "carrier_departures_3h" in shown and "model late_arrival" in shown and " ago" in shown, shown
    over_http = requests.get(f"http://{server}/api/v1/features/search", params={"q": "carrier delay"}, timeout=30).json()
    assert [one["definition"] for one in over_http] == [one["definition"] for one in found]
    assert len(made.json("features", "search")) == 16
    assert "no feature has all of these words" in made.run("features", "search", "unicorns").stdout
