"""`ASOF JOIN` over datasets, against DuckDB's over the same Delta tables."""

import random
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable
from small import Folder

DECISIONS = """description = "moments of decision"
event_time = "decided_at"
[source]
files = "data/decisions/*.csv"
[contract]
key = ["id"]
[contract.columns.id]
type = "int64"
[contract.columns.account]
type = "string"
nullable = true
[contract.columns.decided_at]
type = "timestamp"
"""
FEATURE = """description = "{name}"
event_time = "event_time"
[source]
files = "data/{name}/*.csv"
[contract]
key = ["row"]
[contract.columns.row]
type = "int64"
[contract.columns.account]
type = "string"
[contract.columns.event_time]
type = "timestamp"
[contract.columns.known_at]
type = "timestamp"
[contract.columns.amount]
type = "float64"
nullable = true
"""
START = datetime(2024, 1, 1, tzinfo=timezone.utc)


class Small(Folder):
    """A company with decisions and two tables that say what was known of accounts."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        (self.datasets / "decisions.toml").write_text(DECISIONS)
        chance = random.Random(7)
        moments = [START + timedelta(seconds=second) for second in chance.sample(range(200_000), 1500)]
        accounts = ["", "a", "b", "c", "d"]
        lines = [f"{row},{chance.choice(accounts)},{moment:%Y-%m-%dT%H:%M:%SZ}" for row, moment in enumerate(moments)]
        self.give("decisions", "1", "\n".join(["id,account,decided_at", *lines, ""]))
        for name in ("balances", "scores"):
            (self.datasets / f"{name}.toml").write_text(FEATURE.format(name=name))
            # No two rows of one moment: what ties is each engine's own affair.
            events = [START + timedelta(seconds=second) for second in chance.sample(range(200_000), 3000)]
            lines = []
            for row, event in enumerate(events):
                known = event + timedelta(seconds=chance.choice([0, 0, 60, 4000]))
                amount = "" if chance.random() < 0.1 else chance.randrange(1000) / 8
                lines.append(
                    f"{row},{chance.choice('abcde')},{event:%Y-%m-%dT%H:%M:%SZ},{known:%Y-%m-%dT%H:%M:%SZ},{amount}"
                )
            self.give(name, "1", "\n".join(["row,account,event_time,known_at,amount", *lines, ""]))
        self.run("apply")
        self.run("ingest")

    def rows(self, sql: str, *columns: str):
        # A column of JSON's rows is not there where it is null.
        answer = self.json("query", sql, "--limit", "2000")
        return [tuple(row.get(column) for column in columns) for row in answer]

    def duckdb(self, sql: str):
        connection = duckdb.connect()
        for name in ("decisions", "balances", "scores"):
            table = DeltaTable(self.table(name))
            connection.register(name, table.to_pyarrow_table())
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Small:
    return Small(tmp_path_factory.mktemp("asof") / "acme")


def test_rows_are_those_of_duckdb(small: Small):
    own = small.rows(
        """SELECT d.id, b."row", b.amount, s."row" AS score_row, s.amount AS score FROM decisions d
           ASOF JOIN balances b MATCH_CONDITION (d.decided_at >= b.event_time) ON d.account = b.account
           ASOF LEFT JOIN scores s MATCH_CONDITION (d.decided_at > s.event_time) ON d.account = s.account
           ORDER BY d.id""",
        *["id", "row", "amount", "score_row", "score"],
    )
    theirs = small.duckdb(
        """SELECT d.id, b."row", b.amount, s."row", s.amount FROM decisions d
           ASOF LEFT JOIN balances b ON d.account = b.account AND d.decided_at >= b.event_time
           ASOF LEFT JOIN scores s ON d.account = s.account AND d.decided_at > s.event_time ORDER BY d.id"""
    )
    assert own == theirs
    assert len(own) == 1500 and any(row[1] is None for row in own) and any(row[3] is not None for row in own)


def test_an_inner_join_leaves_out_what_has_no_row(small: Small):
    sql = """SELECT d.id, b."row" FROM decisions d ASOF {kind} JOIN balances b
             {condition} ORDER BY d.id"""
    own = small.rows(
        sql.format(kind="INNER", condition="MATCH_CONDITION (d.decided_at >= b.event_time) ON d.account = b.account"),
        *["id", "row"],
    )
    theirs = small.duckdb(sql.format(kind="", condition="ON d.account = b.account AND d.decided_at >= b.event_time"))
    assert own == theirs and 0 < len(own) < 1500


def test_time_to_live_and_what_was_known(small: Small):
    own = small.rows(
        """SELECT d.id, b."row" FROM decisions d ASOF JOIN balances b
           MATCH_CONDITION (d.decided_at >= b.event_time AND d.decided_at >= b.known_at
             AND d.decided_at - b.event_time <= INTERVAL '10 minutes')
           ON d.account = b.account ORDER BY d.id""",
        *["id", "row"],
    )
    theirs = small.duckdb(
        """SELECT d.id, (SELECT arg_max(b."row", b.event_time) FROM balances b
             WHERE b.account = d.account AND b.event_time <= d.decided_at AND b.known_at <= d.decided_at
               AND b.event_time >= d.decided_at - INTERVAL 10 MINUTE)
           FROM decisions d ORDER BY d.id"""
    )
    # The newest row that was known; it is the one, or it is too old, so that no older one can be either.
    assert own == theirs
    assert any(row[1] is None for row in own) and any(row[1] is not None for row in own)


def test_what_is_wrong_is_told(small: Small):
    for condition, says in [
        ("d.decided_at >= b.happened_at", "happened_at"),
        ("d.decided_at <= b.event_time", "takes the newest row before"),
    ]:
        sql = f"SELECT 1 FROM decisions d ASOF JOIN balances b MATCH_CONDITION ({condition}) ON d.account = b.account"
        assert says in small.run("query", sql, ok=3).stderr
