"""A watched folder: each file once, also when the program is killed in the middle of one."""

import json
import random
import signal
import subprocess
import threading
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


def said(process):
    """Everything that a watcher said, after its end."""
    process.send_signal(signal.SIGTERM)
    heard = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 0, heard
    return heard


def test_a_file_waits_as_long_as_its_writer_takes(orders):
    """Half of each file lies there for several looks."""
    files = {}
    for at, ending in enumerate(("parquet", "csv", "arrow", "arrows", "ndjson")):
        put(orders, f"{at}.{ending}", rows(at * 100, 100))
        path = orders.folder / f"data/orders/{at}.{ending}"
        files[path] = path.read_bytes()
        path.write_bytes(files[path][: len(files[path]) // 2].rstrip(b"\n"))
    empty = orders.folder / "data/orders/empty.csv"
    empty.touch()
    # A number that is cut is a number still.
    cut = orders.folder / "data/orders/cut.csv"
    cut.write_text("id,amount\n600,1.0\n601,12")
    process = following(orders, stderr=subprocess.PIPE)
    time.sleep(4)
    assert not (orders.folder / ".tenon/lake/orders").exists(), "nothing is taken"
    for path, whole in files.items():
        path.write_bytes(whole)
    with cut.open("a") as file:
        file.write("3.5\n")
    eventually(lambda: sorted(ids(orders)) == [*range(500), 600, 601])
    heard = said(process)
    assert DeltaTable(orders.table("orders")).to_pyarrow_table(filters=[("id", "=", 601)])["amount"].to_pylist() == [123.5]
    for file in [*files, empty, cut]:
        assert heard.count(f"data/orders/{file.name}: waits: ") == 1, heard
    assert "refused" not in heard and heard.count("rows landed") == 6, heard
    balanced(orders)


def test_a_file_that_was_written_on_is_refused_and_no_row_lands_twice(orders):
    table, ndjson = orders.folder / "data/orders/a.csv", orders.folder / "data/orders/b.ndjson"
    table.write_text("id,amount\n1,1.0\n2,2.0\n")
    ndjson.write_text('{"id":3,"amount":3}')
    orders.run("ingest", "orders")
    process = following(orders, stderr=subprocess.PIPE)
    for file, more in ((table, "4,4.0\n"), (ndjson, '\n{"id":5,"amount":5}\n')):
        with file.open("a") as writing:
            writing.write(more)
    put(orders, "c.csv", rows(10, 2))
    eventually(lambda: sorted(ids(orders)) == [1, 2, 3, 10, 11])
    time.sleep(3)
    heard = said(process)
    assert "a.csv: refused: its first 3 lines are what was taken of it as version" in heard, heard
    assert "b.ndjson: refused: its first 1 lines are what was taken of it as version" in heard, heard
    assert heard.count("refused") == 2, heard
    done = orders.run("--output", "json", "ingest", "orders", check=False)
    told = {file["file"]: next(iter(file["outcome"])) for file in json.loads(done.stdout)}
    assert done.returncode == 1 and told == {
        "data/orders/a.csv": "refused",
        "data/orders/b.ndjson": "refused",
        "data/orders/c.csv": "already",
    }
    assert sorted(ids(orders)) == [1, 2, 3, 10, 11]
    # Other rows under the same name are another file, as before.
    table.write_text("id,amount\n6,6.0\n")
    assert orders.run("ingest", "orders", check=False).returncode == 1
    assert sorted(ids(orders)) == [1, 2, 3, 6, 10, 11]
    balanced(orders)


def test_a_file_that_is_written_while_it_is_read_lands_nothing_twice(orders):
    busy, stop = orders.folder / "data/orders/busy.csv", threading.Event()

    def write():
        with busy.open("w") as file:
            file.write("id,amount\n")
            for number in range(10_000_000):
                file.write(f"{number},1.0\n")
                file.flush()
                if stop.is_set():
                    return

    busy.touch()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(1)
        done = orders.run("ingest", "orders", check=False)
        assert done.returncode == 3 and "changed while it was read" in done.stdout, done.stdout
    finally:
        stop.set()
        writer.join()
    assert not (orders.folder / ".tenon/lake/orders").exists()
    orders.run("ingest", "orders")
    written = busy.read_text().count("\n") - 1
    assert sorted(ids(orders)) == list(range(written))


def test_a_quote_that_nobody_closed_refuses_the_file(orders):
    file = orders.folder / "data/orders/open.csv"
    file.write_text('id,amount\n1,1.0\n2,"2.0\n3,3.0\n')
    done = orders.run("--output", "json", "ingest", "orders", check=False)
    assert done.returncode == 1 and "opens at line 3, character 3" in done.stdout, done.stdout
    assert not (orders.folder / ".tenon/lake/orders").exists(), "refused whole"
    file.write_text('id,amount\n1,1.0\n2,"2.0"\n3,3.0\n')
    orders.run("ingest", "orders")
    assert sorted(ids(orders)) == [1, 2, 3]


def test_rows_that_are_pointed_to_come_first(orders):
    """By their names, the orders would come before the shops that they name, and be set aside."""
    shops = DATASET.replace("data/orders/*", "data/shops/*").replace("Orders", "Shops")
    (orders.folder / "pods/first/datasets/shops.toml").write_text(shops)
    pointing = DATASET.replace("amount = {", 'shop = { type = "int64", references = "shops.id" }\namount = {')
    (orders.folder / "pods/first/datasets/orders.toml").write_text(pointing)
    (orders.folder / "data/shops").mkdir()
    (orders.folder / "data/shops/1.csv").write_text("id,amount\n7,1\n")
    (orders.folder / "data/orders/1.csv").write_text("id,shop,amount\n1,7,1\n2,8,1\n")
    orders.run("apply")
    told = {file["dataset"]: file["outcome"]["committed"] for file in orders.json("ingest")}
    assert (told["orders"]["accepted"], told["orders"]["quarantined"]) == (1, 1)


def test_moments_land_exactly_or_not_at_all(orders):
    """Nanoseconds, milliseconds beyond every calendar, and the year 10000."""
    declared = DATASET.replace("amount = {", 'at = { type = "timestamp" }\namount = {')
    (orders.folder / "pods/first/datasets/orders.toml").write_text(declared)
    orders.run("apply")
    whole, finer, far, late = 1_700_000_000_123_456_000, 1_700_000_000_123_456_789, 1 << 62, 253_402_300_800_000
    nanoseconds = pa.table({"id": [1, 2], "at": pa.array([whole, finer], pa.timestamp("ns", "UTC")), "amount": [1.0, 2.0]})
    milliseconds = pa.table({"id": [3, 4, 5], "at": pa.array([0, far, late], pa.timestamp("ms")), "amount": [1.0, 2.0, 3.0]})
    for ending in ("parquet", "arrow"):
        for name, table in (("ns", nanoseconds), ("ms", milliseconds)):
            put(orders, f"{name}.{ending}", table)
        told = [file["outcome"]["committed"] for file in orders.json("ingest", "orders") if file["file"].endswith(ending)]
        assert sorted((one["accepted"], one["quarantined"]) for one in told) == [(1, 1), (1, 2)]
        for file in (orders.folder / "data/orders").iterdir():
            file.unlink()
    landed = DeltaTable(orders.table("orders")).to_pyarrow_table().sort_by("id")["at"]
    assert landed.cast(pa.int64()).to_pylist() == [whole // 1000] * 2 + [0] * 2
    kept = DeltaTable(orders.table("orders__quarantine")).to_pyarrow_table().to_pylist()
    rows_kept = sorted({(json.loads(row["_row"])["at"], row["_reason"]) for row in kept})
    assert rows_kept == [
        ("+10000-01-01T00:00:00", "at: +10000-01-01T00:00:00 is not a timestamp"),
        ("2023-11-14T22:13:20.123456789Z", "at: 2023-11-14T22:13:20.123456789Z is not a timestamp"),
        ("4611686018427387904", "at: 4611686018427387904 is not a timestamp"),
    ]


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
