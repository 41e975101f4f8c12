"""Versions: tags, states in SQL, differences, restores, branches, compaction and vacuum, as engines that are not Tenon see them."""

from pathlib import Path

import duckdb
import polars
import pytest
from deltalake import DeltaTable
from small import Folder

FLIGHTS = """description = "flights"
event_time = "at"
[source]
files = "data/flights/*.csv"
[contract]
max_quarantined = "60%"
key = ["id"]
[contract.columns.id]
type = "string"
[contract.columns.delay]
type = "int64"
nullable = true
range = [-60, 600]
[contract.columns.at]
type = "timestamp"
"""
PLANES = """description = "planes"
[source]
files = "data/planes/*.csv"
[contract]
key = ["tailnum"]
[contract.columns.tailnum]
type = "string"
"""


class Small(Folder):
    """A company of two datasets."""

    def __init__(self, folder: Path, flights=FLIGHTS):
        super().__init__(folder)
        (self.datasets / "flights.toml").write_text(flights)
        (self.datasets / "planes.toml").write_text(PLANES)
        self.give("flights", "1", "id,delay,at\na,1,2013-01-01T00:00:00Z\nb,2,2013-01-02T00:00:00Z\n")
        self.give("planes", "1", "tailnum\nN1\n")
        self.run("apply")
        self.run("ingest")

    def ids(self, *how):
        return [row["id"] for row in self.json("query", "SELECT id FROM flights ORDER BY id", *how)]


def elsewhere(table, version=None):
    """The ids in a table as deltalake, Polars and DuckDB read them: all three the same."""
    delta = DeltaTable(table, version=version)
    arrow = delta.to_pyarrow_dataset()
    by_duckdb = [row[0] for row in duckdb.sql("SELECT id FROM arrow ORDER BY id").fetchall()]
    by_polars = polars.scan_delta(table, version=version).select("id").collect()["id"].sort().to_list()
    assert by_duckdb == by_polars == sorted(delta.to_pyarrow_table()["id"].to_pylist())
    return by_duckdb


@pytest.fixture
def small(tmp_path):
    return Small(tmp_path / "acme")


def second(small):
    small.give("flights", "2", "id,delay,at\nc,3,2013-01-03T00:00:00Z\nx,999,2013-01-03T00:00:00Z\n")
    small.run("ingest", "flights")


def test_a_tag_names_a_state_for_every_read(small):
    small.run("tag", "create", "q1", "--reason", "seen by the board")
    second(small)
    assert small.ids() == ["a", "b", "c"]
    assert small.ids("--as-of", "q1") == ["a", "b"]
    new = small.json("query", "SELECT id FROM flights EXCEPT SELECT id FROM flights FOR VERSION AS OF 'q1'")
    assert new == [{"id": "c"}]
    told = small.json("export", "flights", "--as-of", "q1", "--to", str(small.folder / "out.parquet"))
    assert told["rows"] == 2
    assert [row["state"]["rows"] for row in small.json("get", "datasets", "--as-of", "q1") if row["name"] == "flights"] == [2]
    assert small.json("get", "versions", "--as-of", "q1") == small.json("get", "deployments", "--as-of", "q1") == []
    assert "did you mean `q1`?" in small.run("query", "SELECT 1 FROM flights", "--as-of", "q2", ok=3).stderr
    small.run("tag", "delete", "q1")
    assert small.json("tag", "list") == []


def test_a_difference_and_a_restore(small):
    second(small)
    diff = small.json("diff", "flights", "--from", "0")
    assert (diff["added"], diff["removed"], diff["changed"]) == (1, 0, 0)
    assert diff["samples"][0]["key"] == {"id": "c"}
    assert {moved["column"] for moved in diff["moved"]} >= {"delay", "at"}
    restored = small.json("restore", "flights", "--to", "0", "--reason", "a broken export")["restored"]
    assert (restored["version"], restored["rows_removed"]) == (2, 1)
    assert small.ids() == elsewhere(small.table("flights")) == ["a", "b"]
    assert elsewhere(small.table("flights"), 1) == ["a", "b", "c"]
    small.run("restore", "flights", "--to", "1", "--reason", "it was whole")
    assert small.ids() == elsewhere(small.table("flights")) == ["a", "b", "c"]
    small.run("audit", "verify")


def test_rows_that_were_released_are_open_again_after_a_restore_from_before(small):
    second(small)
    release = ("quarantine", "release", "flights", "--set", "delay=9", "--reason", "the sensor was off")
    assert small.json(*release)["released"]["rows"] == 1
    assert small.ids() == elsewhere(small.table("flights")) == ["a", "b", "c", "x"]
    restored = small.json("restore", "flights", "--to", "1", "--reason", "too early")["restored"]
    assert (restored["reopened"], small.ids()) == (1, ["a", "b", "c"])
    assert small.json("quarantine", "list", "flights")[0]["rows"] == 1
    assert small.json(*release)["released"]["rows"] == 1
    assert small.json(*release)["chosen"] == 0
    assert small.ids() == elsewhere(small.table("flights")) == ["a", "b", "c", "x"]
    small.run("audit", "data")
    small.run("audit", "verify")


def test_rows_that_another_program_took_out_are_told_whatever_comes_after(small):
    second(small)
    DeltaTable(small.table("flights")).delete("id = 'b'")
    small.run("restore", "flights", "--to", "0", "--reason", "something is missing")
    told = small.json("audit", "data", ok=1)["gap"]
    assert told["problem"].startswith("version 2 ") and "no fact accounts for" in told["problem"], told


def test_a_branch_is_written_audited_and_published(small):
    small.run("branch", "create", "audit", "--datasets", "flights,planes")
    small.give("flights", "2", "id,delay,at\nc,3,2013-01-03T00:00:00Z\nx,999,2013-01-03T00:00:00Z\n")
    small.give("planes", "2", "tailnum\nN2\n")
    small.run("ingest", "--branch", "audit")
    assert small.ids() == ["a", "b"]
    assert small.ids("--branch", "audit") == elsewhere(small.table("_branches/audit/flights")) == ["a", "b", "c"]
    told = small.json("branch", "diff", "audit")
    assert [(table["dataset"], table["rows_added"], table["quarantined"]) for table in told["tables"]] == [
        ("flights", 1, 1),
        ("planes", 1, 0),
    ]
    merged = small.json("branch", "merge", "audit")["merged"]
    assert {table["table"] for table in merged["tables"]} == {"flights", "flights__quarantine", "planes"}
    assert small.ids() == elsewhere(small.table("flights")) == ["a", "b", "c"]
    # The files that came by the branch do not come again.
    small.run("ingest")
    assert small.ids() == ["a", "b", "c"]
    sums = small.json("audit", "data")["datasets"]["flights"]
    assert (sums["commits"], sums["merged"], sums["rows_in"], sums["accepted"], sums["quarantined"]) == (2, 1, 4, 3, 1)
    small.run("audit", "verify")


def test_a_merge_that_conflicts_names_the_keys(small):
    small.run("branch", "create", "audit", "--datasets", "flights")
    small.give("flights", "2", "id,delay,at\nk,1,2013-01-03T00:00:00Z\n")
    small.run("ingest", "flights", "--branch", "audit")
    small.give("flights", "2", "id,delay,at\nk,2,2013-01-03T00:00:00Z\n")
    small.run("ingest", "flights")
    conflicts = small.json("branch", "merge", "audit", ok=1)["conflicts"]
    assert [(found["table"], found["keys"]) for found in conflicts] == [("flights", [{"id": "k"}])]
    assert small.ids() == ["a", "b", "k"]
    small.run("branch", "drop", "audit", "--reason", "the dataset has it")
    assert not (small.folder / ".tenon/lake/_branches/audit").exists()


def test_compaction_and_vacuum_leave_a_table_that_all_read(small):
    second(small)
    small.run("tag", "create", "first", "--dataset", "flights", "--as-of", "0")
    small.run("compact", "flights")
    assert small.ids() == elsewhere(small.table("flights")) == ["a", "b", "c"]
    small.run("hold", "create", "case-17", "--dataset", "flights", "--reason", "the court asks")
    assert small.json("vacuum", "flights", "--retain", "0s")["fact"] is None
    small.run("hold", "release", "case-17", "--reason", "settled")
    planned = small.json("vacuum", "flights", "--retain", "0s", "--dry-run")
    assert planned["tables"][0]["unreadable"] == [[1, 1]]
    small.run("vacuum", "flights", "--retain", "0s")
    assert small.ids() == elsewhere(small.table("flights")) == ["a", "b", "c"]
    assert small.ids("--as-of", "first") == elsewhere(small.table("flights"), 0) == ["a", "b"]
    gone = small.run("query", "SELECT * FROM flights", "--as-of", "1", ok=3).stderr
    assert "version 1 of `flights` cannot be read any more: the vacuum of" in gone
    small.run("audit", "verify")
