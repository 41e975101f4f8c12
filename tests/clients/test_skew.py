"""What was served is held against what training sees: the flights agree, and a row that landed late is an incident."""

import time
from datetime import datetime, timedelta

import polars as pl
import requests
from conftest import serving

MONITOR = """description = "Is what was served what training sees?"
deployment = "late_arrival"
window = "1d"
every = "1d"
drift = { psi = 0.5, alpha = 0.001, in_a_row = 7, min_rows = 100000000 }
skew = { sample = "100%" }
"""


def measured(company, name):
    """What a monitor finds that never looked before."""
    (company.folder / "pods/arrivals/monitors" / f"{name}.toml").write_text(MONITOR)
    company.run("apply")
    with serving(company.folder) as (server, _):
        until = time.monotonic() + 90
        while time.monotonic() < until:
            monitors = requests.get(f"http://{server}/api/v1/monitors", timeout=30).json()
            (found,) = [monitor for monitor in monitors if monitor["name"] == name]
            if found["skew"]:
                return found["skew"]
            time.sleep(0.5)
    raise AssertionError("the monitor did not look")


def incidents(company):
    return [one for one in company.json("get", "incidents") if one.get("skew")]


def test_served_features_are_what_training_sees_until_a_row_lands_late(company):
    (look,) = measured(company, "served")
    assert look["rows"] > 300 and look["most_often"] is None, look
    assert incidents(company) == []
    (told,) = [monitor for monitor in company.json("get", "monitors") if monitor["name"] == "served"]
    assert told["skew"] == look
    assert company.json("describe", "served")["monitor"]["skew"] == [look]

    # A departure of the day before yesterday that nobody had heard of.
    sql = "SELECT decided_at, entities FROM decisions_late_arrival ORDER BY decided_at DESC LIMIT 1"
    (last,) = company.json("query", sql)
    last = datetime.fromisoformat(last["decided_at"].replace("Z", "+00:00"))
    until = last - timedelta(hours=30)
    sql = f"SELECT decided_at FROM decisions_late_arrival WHERE decided_at < TIMESTAMP '{until:%Y-%m-%dT%H:%M:%SZ}' ORDER BY decided_at DESC LIMIT 1"
    (decided,) = company.json("query", sql)
    decided = datetime.fromisoformat(decided["decided_at"].replace("Z", "+00:00"))
    (carrier, origin) = [
        company.json("query", "SELECT carrier, origin FROM departures ORDER BY departed_at DESC LIMIT 1")[0][key] for key in ("carrier", "origin")
    ]
    late = pl.DataFrame(
        {
            "flight_id": ["LATE-1"],
            "carrier": [carrier],
            "tailnum": ["N1LATE"],
            "origin": [origin],
            "departed_at": [decided - timedelta(minutes=90)],
            "dep_delay": [1200],
        }
    )
    late.with_columns(pl.col("departed_at").dt.cast_time_unit("us")).write_parquet(company.folder / "data/departures/late.parquet")
    company.run("ingest", "departures")

    (look,) = measured(company, "served_later")
    feature, rows = look["most_often"]
    assert rows > 0 and feature in ("carrier_dep_delay_24h", "origin_dep_delay_3h", "origin_dep_delay_1h", "carrier_dep_delay_3h"), look
    (incident,) = incidents(company)
    assert incident["closed"] is None and incident["monitor"] == "served_later" and incident["retrain"] is False
    assert f"training would see other values of `{feature}`" in incident["sentence"]
    assert all(one["served"] != one["recomputed"] for one in incident["skew"])
    assert f"`{feature}` differs in {rows}" in company.run("describe", "served_later").stdout
    first = incident["skew"][0]
    (row,) = company.json("query", f"SELECT features FROM decisions_late_arrival WHERE decision_id = '{first['decision']}'")
    assert any(abs(value - first["served"]) < 1e-6 for value in row["features"] if value is not None)
