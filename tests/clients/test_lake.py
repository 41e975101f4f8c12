"""Every table that Tenon writes is read by engines that are not Tenon."""

import duckdb
import polars
import pytest
from deltalake import DeltaTable

DATASETS = ["flights", "departures", "schedule", "weather", "planes", "flights__quarantine"]


@pytest.mark.parametrize("dataset", DATASETS)
def test_deltalake_polars_and_duckdb_count_the_same_rows(made, dataset):
    table = DeltaTable(made.table(dataset))
    rows = table.to_pyarrow_table().num_rows
    assert rows > 0
    assert polars.scan_delta(made.table(dataset)).select(polars.len()).collect().item() == rows
    arrow = table.to_pyarrow_dataset()
    assert duckdb.sql("SELECT count(*) FROM arrow").fetchall()[0][0] == rows


def test_decisions_and_outcomes_join_in_duckdb(made):
    lake = made.folder / ".tenon" / "lake"
    folders = {path.name.lstrip("_"): path for path in lake.iterdir()}
    decisions = DeltaTable(str(folders["decisions_late_arrival"])).to_pyarrow_dataset()
    outcomes = DeltaTable(str(folders["outcomes_late_arrival"])).to_pyarrow_dataset()
    joined = duckdb.sql("SELECT count(*), count(DISTINCT decision_id) FROM decisions JOIN outcomes USING (decision_id)").fetchall()[0]
    assert joined[0] == joined[1] == made.closing["outcomes"]
    assert duckdb.sql("SELECT count(*) FROM decisions").fetchall()[0][0] == made.closing["decisions"]


def test_the_past_reads_as_it_was(company):
    now = company.json("query", "SELECT count(*) AS n FROM flights")[0]["n"]
    then = company.json("query", "SELECT count(*) AS n FROM flights", "--as-of", "2013-04-01T00:00:00Z")[0]["n"]
    assert 75_000 < then < now


def test_quarantined_rows_keep_their_reason(company):
    rows = company.json("query", "SELECT _reason, count(*) AS n FROM flights__quarantine GROUP BY _reason ORDER BY n DESC")
    assert any("tailnum" in row["_reason"] for row in rows)


def test_an_export_is_plain_parquet(company, tmp_path):
    to = tmp_path / "flights.parquet"
    told = company.json("export", "flights", "--as-of", "2013-04-01T00:00:00Z", "--to", str(to))
    assert duckdb.sql(f"SELECT count(*) FROM '{to}'").fetchall()[0][0] == told["rows"]
