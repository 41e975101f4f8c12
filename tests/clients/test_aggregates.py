"""Every aggregate over every kind of window: training sets and online reads against DuckDB over the same Delta table."""

import io
import json
import random
import tomllib
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import jsonschema
import polars as pl
import pyarrow as pa
import pytest
import requests
from conftest import serving
from deltalake import DeltaTable
from small import Folder

START = datetime(2024, 1, 1, 3, 30, tzinfo=timezone.utc)
DAY = 86_400
DATASET = """description = "{name}"
event_time = "{time}"
[source]
files = "data/{name}/*.csv"
[contract]
key = ["id"]
[contract.columns]
id = {{ type = "int64" }}
account = {{ type = "string" }}
{columns}
"""
WINDOWS = {
    "day": '"1d"',
    "week": '"7d"',
    "whole": '{ tumbling = "1d", origin = "2024-01-01T05:00:00Z" }',
    "visit": '{ session = "2h" }',
    "ever": '"lifetime"',
}
#: Of a window: from when on and until when a payment counts. A visit is found by its gaps.
BOUNDS = {
    "day": "paid_at > decided_at - INTERVAL 1 DAY",
    "week": "paid_at > decided_at - INTERVAL 7 DAY",
    "whole": "paid_at >= whole_end - INTERVAL 1 DAY AND paid_at < whole_end",
    "visit": "gaps = 0",
    "ever": "true",
}
#: As DuckDB computes them of `amount`, with how many digits of a float32 may differ.
EXACT = {
    "last": "arg_max(amount, paid_at)",
    "first": "arg_min(amount, paid_at)",
    "count": "count(amount)",
    "sum": "coalesce(sum(amount), 0)",
    "mean": "avg(amount)",
    "min": "min(amount)",
    "max": "max(amount)",
    "std": "stddev_samp(amount)",
    "age": "date_diff('microsecond', max(paid_at) FILTER (amount IS NOT NULL), any_value(decided_at)) / 3600e6",
}
ACCOUNTS = "abcd"


def features() -> str:
    lines = []
    for window, said in WINDOWS.items():
        for aggregate in EXACT:
            lines.append(f'{aggregate}_{window} = {{ aggregate = "{aggregate}", column = "amount", window = {said} }}')
        lines += [
            f'shops_{window} = {{ aggregate = "distinct", column = "shop", window = {said} }}',
            f'median_{window} = {{ aggregate = "quantile", q = 0.5, column = "amount", window = {said} }}',
            f'p90_{window} = {{ aggregate = "quantile", q = 0.9, column = "amount", window = {said} }}',
            f'second_{window} = {{ aggregate = "top_k", k = 2, column = "amount", window = {said} }}',
            f'complete_{window} = {{ aggregate = "complete", window = {said} }}',
        ]
        if window in ("day", "week", "whole"):
            lines.append(f'rate_{window} = {{ aggregate = "rate", window = {said} }}')
    return "\n".join(lines)


class Shop(Folder):
    """Payments of four accounts, and of one that has very many; and moments of decision."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        chance = random.Random(11)
        columns = 'paid_at = { type = "timestamp" }\nknown_at = { type = "timestamp" }\nshop = { type = "string" }\namount = { type = "float64", nullable = true }'
        (self.datasets / "payments.toml").write_text(DATASET.format(name="payments", time="paid_at", columns=columns))
        columns = 'decided_at = { type = "timestamp" }\nlate = { type = "boolean" }'
        (self.datasets / "decisions.toml").write_text(DATASET.format(name="decisions", time="decided_at", columns=columns))
        pod = self.datasets.parent
        for name in ("features", "models"):
            (pod / name).mkdir(exist_ok=True)
        (pod / "features" / "spending.toml").write_text(
            'description = "What an account pays"\nentity = ["account"]\ndataset = "payments"\n'
            'source = "SELECT account, paid_at, known_at, amount, shop FROM payments"\nevent_time = "paid_at"\nknown_at = "known_at"\n'
            f'ttl = "20d"\n[features]\n{features()}\n'
        )
        (pod / "models" / "fraud.toml").write_text(
            'description = "d"\nlimits = "l"\nobservations = "SELECT id, account, decided_at, late AS label FROM decisions"\n'
            'key = "id"\ndecided_at = "decided_at"\nfeatures = ["spending"]\nsplit = { by = "time", test = "20%" }\n'
            'trainer = { kind = "gbdt", budget = 0.1 }\n'
        )
        # No two payments of one moment: what ties is each engine's own affair.
        seconds = chance.sample(range(14 * DAY), 8000)
        rows = []
        for row, second in enumerate(seconds):
            account = ACCOUNTS[row % 4] if row < 2000 else "big"
            at = START + timedelta(seconds=second)
            known = at + timedelta(seconds=chance.choice([0, 0, 0, 600, 9000]))
            amount = "" if chance.random() < 0.1 else chance.choice([chance.randrange(40), chance.randrange(10**6) / 64 - 900])
            rows.append(f"{row},{account},{at:%Y-%m-%dT%H:%M:%SZ},{known:%Y-%m-%dT%H:%M:%SZ},shop {chance.randrange(4000)},{amount}")
        self.give("payments", "1", "\n".join(["id,account,paid_at,known_at,shop,amount", *rows, ""]))
        moments = [START + timedelta(seconds=second) for second in chance.sample(range(-DAY, 16 * DAY), 400)]
        accounts = [*ACCOUNTS, "big", "nobody"]
        rows = [f"{row},{chance.choice(accounts)},{moment:%Y-%m-%dT%H:%M:%SZ},{chance.choice(['true', 'false'])}" for row, moment in enumerate(moments)]
        self.give("decisions", "1", "\n".join(["id,account,decided_at,late", *rows, ""]))
        self.run("apply")
        self.run("ingest")
        self.version = self.json("train", "fraud")
        digest = self.version["run"]["training_set"]["digest"].removeprefix("sha256:")
        self.trained = pl.read_parquet(folder / ".tenon" / "artifacts" / "training_sets" / f"{digest}.parquet").sort("id")

    def duckdb(self) -> pl.DataFrame:
        connection = duckdb.connect()
        connection.sql("SET TimeZone = 'UTC'")
        for name in ("payments", "decisions"):
            connection.register(name, DeltaTable(self.table(name)).to_pyarrow_table())
        connection.sql(
            """CREATE TABLE seen AS
            WITH pairs AS (
                SELECT d.id, d.decided_at, p.paid_at, p.shop, p.amount,
                    d.decided_at - to_microseconds((epoch_us(d.decided_at) - epoch_us(TIMESTAMPTZ '2024-01-01T05:00:00Z') + 100 * 86400000000)
                        % 86400000000) AS whole_end
                FROM decisions d JOIN payments p ON d.account = p.account AND p.paid_at <= d.decided_at AND p.known_at <= d.decided_at
            ), steps AS (
                SELECT *, coalesce(lead(paid_at) OVER (PARTITION BY id ORDER BY paid_at), decided_at) - paid_at > INTERVAL 2 HOUR AS gap FROM pairs
            )
            SELECT *, sum(gap::INT) OVER (PARTITION BY id ORDER BY paid_at DESC) AS gaps FROM steps"""
        )
        ask = lambda sql: pl.from_arrow(connection.sql(sql).to_arrow_table())  # noqa: E731
        frame = ask("SELECT id, account, decided_at FROM decisions ORDER BY id")
        began = connection.sql("SELECT min(greatest(paid_at, known_at)) FROM payments").fetchall()[0][0]
        for window, bound in BOUNDS.items():
            wanted = [f"{sql} AS {aggregate}_{window}" for aggregate, sql in EXACT.items()]
            wanted += [
                f"count(DISTINCT shop) AS shops_{window}",
                f"list_sort(list(amount) FILTER (amount IS NOT NULL))[1 + floor(0.5 * (count(amount) - 1))::INT] AS median_{window}",
                f"list_sort(list(amount) FILTER (amount IS NOT NULL))[1 + floor(0.9 * (count(amount) - 1))::INT] AS p90_{window}",
                f"count(*) AS rows_{window}",
            ]
            all_of = ask(f"SELECT id, {', '.join(wanted)} FROM seen WHERE {bound} GROUP BY id")
            second = ask(
                f"""SELECT id, amount AS second_{window} FROM (
                    SELECT id, amount, row_number() OVER (PARTITION BY id ORDER BY count(*) DESC, amount) AS place
                    FROM seen WHERE {bound} AND amount IS NOT NULL GROUP BY id, amount) WHERE place = 2"""
            )
            frame = frame.join(all_of, on="id", how="left").join(second, on="id", how="left")
        none = [f"{name}_{window}" for window in WINDOWS for name in ("count", "sum", "shops", "rows")]
        frame = frame.with_columns(pl.col(none).fill_null(0)).sort("id")
        since = pl.col("decided_at").dt.convert_time_zone("UTC") - began
        return frame.with_columns(
            complete_day=since >= timedelta(days=1),
            complete_week=since >= timedelta(days=7),
            complete_ever=since >= timedelta(0),
            **{f"rate_{window}": pl.col(f"rows_{window}") / days / DAY for window, days in (("day", 1), ("week", 7), ("whole", 1))},
        )


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop") / "acme")


def same(ours: pl.Series, theirs: pl.Series, name: str, relative=1e-6, absolute=0.0):
    assert len(ours) == len(theirs) and len(ours) > 0
    values = 0
    for row, (one, other) in enumerate(zip(ours.to_list(), theirs.cast(pl.Float64).to_list())):
        assert (one is None) == (other is None), f"{name}, row {row}: {one} for {other}"
        if one is not None:
            assert abs(one - other) <= relative * abs(other) + absolute, f"{name}, row {row}: {one} for {other}"
            values += 1
    assert values > 10, name


@pytest.fixture(scope="module")
def told(shop: Shop) -> pl.DataFrame:
    return shop.duckdb()


@pytest.mark.parametrize("window", WINDOWS)
def test_aggregates_are_what_duckdb_says(shop: Shop, told: pl.DataFrame, window: str):
    assert shop.trained["id"].to_list() == told["id"].to_list()
    for aggregate in [*EXACT, "second", *(["rate"] if f"rate_{window}" in told.columns else [])]:
        name = f"{aggregate}_{window}"
        # A sum of large numbers of both signs keeps the digits of its largest.
        same(shop.trained[name], told[name], name, absolute=1e-2 if aggregate == "sum" else 1e-6)
    few = told[f"rows_{window}"] <= 1024
    for name in (f"median_{window}", f"p90_{window}"):
        same(shop.trained[name].filter(few), told[name].filter(few), name)
        # A sketch is within a hundredth of the value of that rank.
        if (~few).any():
            same(shop.trained[name].filter(~few), told[name].filter(~few), name, relative=0.01001)
    few = told[f"shops_{window}"] <= 1024
    same(shop.trained[f"shops_{window}"].filter(few), told[f"shops_{window}"].filter(few), "shops")
    if (~few).any():
        same(shop.trained[f"shops_{window}"].filter(~few), told[f"shops_{window}"].filter(~few), "shops", relative=3 * 0.01625)


def test_a_window_that_the_history_cannot_fill_is_marked(shop: Shop, told: pl.DataFrame):
    for window in ("day", "week", "ever"):
        assert shop.trained[f"complete_{window}"].to_list() == told[f"complete_{window}"].cast(pl.Float32).to_list()
    incomplete = shop.version["run"]["training_set"]["incomplete"]
    assert incomplete["count_week"] == (~told["complete_week"]).sum() > 100
    assert "last_week" not in incomplete and "complete_week" not in incomplete


def test_online_is_the_training_set_to_the_bit(shop: Shop):
    # The store answers for two days back: what is older is read from the lake.
    newest = datetime.fromisoformat(shop.json("query", "SELECT max(paid_at) AS at FROM payments")[0]["at"])
    recent = shop.trained.filter(pl.col("decided_at") > newest - timedelta(days=2))
    assert 20 < len(recent) < len(shop.trained)
    with serving(shop.folder) as (address, _):
        answer, refused = (online(address, rows) for rows in (recent, shop.trained))
    assert refused.status_code == 422 and "read the past from the lake" in refused.text
    assert answer.status_code == 200, answer.text
    read = pl.from_arrow(pa.ipc.open_stream(answer.content).read_all())
    names = [name for name in shop.trained.columns if name in read.columns]
    assert len(names) == 5 * 14 + 3
    for name in names:
        # Float32 as the bytes that they are: nothing is near enough.
        assert read[name].to_arrow().equals(recent[name].to_arrow()), name
    marked = (read["count_week__status"].cast(pl.String) == "INCOMPLETE_WINDOW").sum()
    assert marked == 0, "the history is longer than a week by then"


def online(address, rows):
    table = rows.select("account", "decided_at").to_arrow()
    table = table.set_column(0, "account", table["account"].cast(pa.string()))
    body = io.BytesIO()
    with pa.ipc.new_stream(body, table.schema) as writer:
        writer.write_table(table)
    return requests.post(
        f"http://{address}/api/v1/features/fraud/online?at=decided_at",
        data=body.getvalue(),
        headers={"Content-Type": "application/vnd.apache.arrow.stream"},
        timeout=60,
    )


def test_the_schema_knows_every_window(shop: Shop):
    validator = jsonschema.Draft202012Validator(json.loads(shop.run("schema", "feature_view").stdout))
    view = tomllib.loads((shop.datasets.parent / "features" / "spending.toml").read_text())
    assert list(validator.iter_errors(view)) == []
    for wrong in ({"sesion": "1h"}, 6, {}):
        view["features"]["count_visit"]["window"] = wrong
        assert list(validator.iter_errors(view)), wrong


def test_nonsense_is_told_with_its_place(shop: Shop):
    view = shop.datasets.parent / "features" / "spending.toml"
    sound = view.read_text()
    for wrong, words in {
        'x = { aggregate = "quantile", column = "amount", q = 2 }': "`q` is 2, and lies between 0 and 1",
        'x = { aggregate = "top_k", column = "amount", k = 0 }': "`k` is 0, and counts from 1",
        'x = { aggregate = "mean", column = "shop" }': "it must be a number or a boolean",
        'x = { aggregate = "count", window = "session" }': "a session window needs its gap",
        'x = { aggregate = "count", window = "-1h" }': "is not a length of time",
        'x = { aggregate = "count", window = { sesion = "1h" } }': "did you mean `session`?",
        'x = { aggregate = "count", window = { tumbling = "15d" } }': "begins up to 30d before the moment",
        'x = { aggregate = "rate", window = "lifetime" }': "this window has no length",
    }.items():
        view.write_text(f"{sound}{wrong}\n")
        said = shop.run("plan", ok=1).stderr
        assert words in said.replace("\n", " "), said
        assert "spending.toml:" in said, said
    view.write_text(sound)
