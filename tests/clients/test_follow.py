"""A watched folder: each file once, also when the program is killed in the middle of one."""

import json
import random
import signal
import subprocess
import time
from collections import Counter

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from conftest import TENON, Company
from deltalake import DeltaTable
from test_kafka import balanced, eventually

DATASET = """description = "Orders"
[source]
files = "data/orders/*"
[contract]
key = ["id"]
[contract.columns]
id = { type = "int64" }
amount = { type = "float64", range = [0, 1000000] }
"""


@pytest.fixture
def orders(tmp_path) -> Company:
    folder = tmp_path / "acme"
    subprocess.run([TENON, "init", str(folder), "--name", "acme"], check=True, capture_output=True)
    (folder / "pods/first/datasets").mkdir(parents=True)
    (folder / "pods/first/datasets/orders.toml").write_text(DATASET)
    (folder / "data/orders").mkdir(parents=True)
    company = Company(folder, {})
    company.run("apply")
    return company


def rows(first, count):
    return pa.table({"id": range(first, first + count), "amount": [float(i % 100) for i in range(count)]})


def put(company, name, table):
    """Writes a file beside its place and moves it there, as careful programs do."""
    path = company.folder / "data/orders" / name
    part = company.folder / "data" / (name + ".part")
    match path.suffix:
        case ".parquet":
            pyarrow.parquet.write_table(table, part)
        case ".csv":
            pyarrow.csv.write_csv(table, part)
        case ".arrow":
            pyarrow.feather.write_feather(table, part, compression="uncompressed")
        case ".arrows":
            with pa.ipc.new_stream(part, table.schema) as writer:
                writer.write_table(table)
        case ".ndjson":
            part.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    part.rename(path)


def ids(company):
    return DeltaTable(company.table("orders")).to_pyarrow_table().column("id").to_pylist()


def following(company, **how):
    arguments = [TENON, "--dir", str(company.folder), "ingest", "orders", "--follow"]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, **how)


def test_every_format_is_taken_as_it_comes(orders):
    process = following(orders, stderr=subprocess.DEVNULL)
    try:
        for at, ending in enumerate(("parquet", "csv", "arrow", "arrows", "ndjson")):
            put(orders, f"{at}.{ending}", rows(at * 100, 100))
        # One that is still being written is left until it is whole.
        slow = orders.folder / "data/orders/slow.csv"
        with slow.open("w") as file:
            file.write("id,amount\n")
            for row in range(500, 600):
                file.write(f"{row},1.0\n")
                file.flush()
                time.sleep(0.02)
        eventually(lambda: sorted(ids(orders)) == list(range(600)))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert {file["outcome"].keys().__iter__().__next__() for file in orders.json("ingest", "orders")} == {"already"}
    balanced(orders)


def test_an_arrow_file_cut_in_half_lands_nothing(orders):
    put(orders, "whole.arrow", rows(0, 1000))
    whole = (orders.folder / "data/orders/whole.arrow").read_bytes()
    (orders.folder / "data/orders/cut.arrow").write_bytes(whole[: len(whole) // 2])
    done = orders.run("--output", "json", "ingest", "orders", check=False)
    assert done.returncode == 1 and "no whole Arrow IPC file" in done.stdout, done.stdout
    assert len(ids(orders)) == 1000


def test_killed_at_random_each_file_lands_once(orders):
    dice = random.Random(7)
    first, files = 0, 0
    for _ in range(25):
        process = following(orders, stderr=subprocess.PIPE)
        for _ in range(dice.randrange(1, 4)):
            put(orders, f"{files:04}.{dice.choice(['parquet', 'csv', 'arrow'])}", rows(first, 2000))
            first, files = first + 2000, files + 1
            time.sleep(dice.uniform(0.0, 0.4))
        time.sleep(dice.uniform(0.0, 1.4))
        process.kill()
        process.wait()
        assert b"panicked" not in process.stderr.read()
    orders.run("ingest", "orders")
    assert Counter(ids(orders)) == Counter(range(first))
    sums = balanced(orders)["datasets"]["orders"]
    assert (sums["commits"], sums["accepted"]) == (files, first)
