"""Files in an object store: the same rows as from a folder, each object once, however bad the store is and whoever dies.

The store is PyPI `moto` over HTTP; a proxy before it fails one request in ten and is late with one in ten.
"""

import io
import json
import random
import resource
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
from certificates import Authority
from conftest import TENON, Company
from deltalake import DeltaTable
from s3 import Proxy, Server
from test_kafka import balanced, eventually

DATASET = """description = "Orders"
latency = "1s"
[source]
files = "{files}"
{store}
[contract]
key = ["id"]
[contract.columns]
id = {{ type = "int64" }}
amount = {{ type = "float64", range = [0, 1000000] }}
"""
STORE = """[source.store]
endpoint = "{endpoint}"
access_key = "env:ACME_KEY"
secret_key = "file:secret"
{more}"""
KEY, SECRET = "AKIAORDERS", "correct-horse-battery"


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv("ACME_KEY", KEY)


@pytest.fixture(scope="module")
def running():
    server = Server("raw")
    yield server
    server.stop()


@pytest.fixture
def server(running):
    yield running
    listed = running.client.list_objects_v2(Bucket="raw").get("Contents", [])
    for held in listed:
        running.client.delete_object(Bucket="raw", Key=held["Key"])


@pytest.fixture
def proxy(server):
    proxy = Proxy(server)
    yield proxy
    proxy.stop()


@pytest.fixture
def acme(tmp_path):
    """Makes a company whose dataset `orders` reads these files."""

    def make(files, endpoint=None, more="") -> Company:
        folder = tmp_path / "acme"
        subprocess.run([TENON, "init", str(folder), "--name", "acme"], check=True, capture_output=True)
        (folder / "pods/first/datasets").mkdir(parents=True)
        (folder / "secret").write_text(SECRET + "\n")
        company = Company(folder, {})
        declare(company, "orders", files, endpoint, more)
        company.run("apply")
        return company

    return make


def declare(company, name, files, endpoint=None, more=""):
    store = STORE.format(endpoint=endpoint, more=more) if endpoint else ""
    (company.folder / f"pods/first/datasets/{name}.toml").write_text(DATASET.format(files=files, store=store))


def rows(first, count):
    return pa.table({"id": range(first, first + count), "amount": [float(i % 100) for i in range(count)]})


def encoded(table, ending) -> bytes:
    out = io.BytesIO()
    match ending:
        case "parquet":
            pyarrow.parquet.write_table(table, out)
        case "csv":
            pyarrow.csv.write_csv(table, out)
        case "arrow":
            pyarrow.feather.write_feather(table, out, compression="uncompressed")
        case "arrows":
            with pa.ipc.new_stream(out, table.schema) as writer:
                writer.write_table(table)
        case "ndjson":
            out.write("".join(json.dumps(row) + "\n" for row in table.to_pylist()).encode())
    return out.getvalue()


def held(company, name="orders"):
    return DeltaTable(company.table(name)).to_pyarrow_table()


def outcomes(told):
    return Counter(next(iter(file["outcome"])) for file in told)


def secrets_stay_out(company, *texts):
    """Neither the secret nor the key's name is in what was said, or anywhere in what the program wrote."""
    for text in texts:
        assert SECRET not in text and KEY not in text, text
    for path in (company.folder / ".tenon").rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_a_bad_store_brings_what_the_folder_brings(server, acme):
    """Every format; one request in ten fails, one in ten is late; bad rows and a bad file as well."""
    proxy = Proxy(server, faulty=True)
    company = acme("s3://raw/orders/*", proxy.address)
    declare(company, "same", "data/orders/*")
    company.run("apply")
    (company.folder / "data/orders").mkdir(parents=True)
    formats = ["parquet", "csv", "arrow", "arrows", "ndjson"]
    files = {f"orders/{at:02}.{formats[at % 5]}": encoded(rows(at * 1000, 1000), formats[at % 5]) for at in range(60)}
    files["orders/broken.csv"] = b"id,amount\n1,1\nx\n"
    files["orders/bad-rows.ndjson"] = b'{"id":900001,"amount":-5}\n{"id":900002,"amount":5}\n'
    # Two pieces and a bit, and not one byte.
    files["orders/large.csv"] = encoded(rows(1_000_000, 1_600_000), "csv")
    files["orders/none.csv"] = b""
    assert len(files["orders/large.csv"]) > 16 << 20
    for name, body in files.items():
        server.put(name, body)
        (company.folder / "data" / name).write_bytes(body)
    server.put("orders/deeper/not-mine.csv", b"id,amount\n5,5\n")
    server.put("others.csv", b"id,amount\n6,6\n")

    done = company.run("--output", "json", "ingest", "orders", check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    told = json.loads(done.stdout)
    local = json.loads(company.run("--output", "json", "ingest", "same", check=False).stdout)
    assert [file["file"] for file in told] == [f"s3://raw/{file['file'].removeprefix('data/')}" for file in local]
    assert outcomes(told) == outcomes(local) == {"committed": 62, "refused": 2}
    assert len(proxy.faults) > 10 and {"500", "503", "cut before", "cut within", "late"} == set(proxy.faults), proxy.faults
    assert held(company).sort_by("id").equals(held(company, "same").sort_by("id"))
    kept = [held(company, f"{name}__quarantine").select(["_row", "_reason"]).to_pylist() for name in ("orders", "same")]
    assert kept[0] == kept[1] and len(kept[0]) == 1
    sums = balanced(company)["datasets"]
    assert sums["orders"]["commits"] == sums["same"]["commits"] == 62
    secrets_stay_out(company, done.stdout, done.stderr)

    # What did not change is not fetched again; what was refused is.
    before = len(proxy.requests)
    proxy.faulty = False
    again = json.loads(company.run("--output", "json", "ingest", "orders", check=False).stdout)
    assert outcomes(again) == {"already": 62, "refused": 2}
    fetched = {path for method, path, _ in proxy.requests[before:] if "list-type" not in path}
    assert all("broken" in path or "none" in path for path in fetched), fetched
    # The same bytes under another name are the same file; other bytes under the same name are another one.
    server.put("orders/copy.csv", files["orders/01.csv"])
    server.put("orders/02.arrow", encoded(rows(5_000_000, 10), "arrow"))
    again = json.loads(company.run("--output", "json", "ingest", "orders", check=False).stdout)
    assert outcomes(again) == {"already": 62, "refused": 2, "committed": 1}
    assert held(company).num_rows == 60 * 1000 + 1 + 1_600_000 + 10
    balanced(company)
    proxy.stop()


def test_killed_at_random_each_object_lands_once(server, acme):
    proxy = Proxy(server, faulty=True, seed=11)
    company = acme("s3://raw/orders/*", proxy.address)
    dice = random.Random(5)
    first, objects, killed = 0, 0, 0
    for _ in range(20):
        process = subprocess.Popen(
            [TENON, "--dir", str(company.folder), "ingest", "orders", "--follow"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for _ in range(dice.randrange(1, 4)):
            ending = dice.choice(["parquet", "csv", "arrow", "ndjson"])
            server.put(f"orders/{objects:04}.{ending}", encoded(rows(first, 5000), ending))
            first, objects = first + 5000, objects + 1
            time.sleep(dice.uniform(0.0, 0.3))
        time.sleep(dice.uniform(0.0, 1.5))
        killed += process.poll() is None
        process.kill()
        process.wait()
        assert b"panicked" not in process.stderr.read()
    company.run("ingest", "orders")
    assert killed == 20
    assert Counter(held(company).column("id").to_pylist()) == Counter(range(first))
    sums = balanced(company)["datasets"]["orders"]
    assert (sums["commits"], sums["accepted"]) == (objects, first)
    spool = list((company.folder / ".tenon/objects").iterdir())
    assert [path.name for path in spool] == ["orders.ndjson"], "nothing is left of what was fetched"
    assert company.run("audit", "verify").returncode == 0
    proxy.stop()


def test_a_watched_bucket_is_listed_and_only_what_is_new_is_fetched(server, proxy, acme):
    company = acme("s3://raw/orders/*.csv", proxy.address)
    with open(company.folder / "said", "w+") as said:
        process = subprocess.Popen(
            [TENON, "--dir", str(company.folder), "ingest", "orders", "--follow"], stdout=subprocess.DEVNULL, stderr=said
        )
        try:
            for at in range(4):
                server.put(f"orders/{at}.csv", encoded(rows(at * 10, 10), "csv"))
                eventually(lambda: held(company).num_rows == (at + 1) * 10)
            # The store goes away and comes back.
            proxy.only_key = "NOBODY"
            server.put("orders/late.csv", encoded(rows(40, 10), "csv"))
            eventually(lambda: "cannot be looked at" in (company.folder / "said").read_text())
            proxy.only_key = None
            eventually(lambda: held(company).num_rows == 50)
            listings = sum("list-type" in path for _, path, _ in proxy.requests)
            eventually(lambda: sum("list-type" in path for _, path, _ in proxy.requests) > listings + 3)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
    fetched = Counter(path for method, path, _ in proxy.requests if "list-type" not in path)
    assert set(fetched.values()) == {1} and len(fetched) == 5, fetched
    secrets_stay_out(company, (company.folder / "said").read_text())
    balanced(company)


def test_an_object_that_changes_while_it_is_read_is_read_anew(server, proxy, acme):
    company = acme("s3://raw/orders/*.csv", proxy.address)
    old, new = (encoded(rows(first, 1_000_000), "csv") for first in (0, 2_000_000))
    assert len(old) > 8 << 20
    server.put("orders/changing.csv", old)
    pieces = []

    def change_once(method, path):
        if "changing" in path:
            pieces.append(method)
            if len(pieces) == 2:
                server.put("orders/changing.csv", new)

    proxy.before = change_once
    done = company.run("ingest", "orders")
    assert "changed while it was read" in done.stderr, done.stderr
    assert Counter(held(company).column("id").to_pylist()) == Counter(range(2_000_000, 3_000_000))

    # One that never rests is left alone, and taken once it rests.
    bodies = iter(encoded(rows(3_000_000 + at, 1_000_000), "csv") for at in range(100))
    busy = threading.Lock()

    def change_always(method, path):
        with busy:
            if "changing" in path and method == "GET":
                pieces.append(method)
                if len(pieces) % 2 == 0:
                    server.put("orders/changing.csv", next(bodies))

    pieces.clear()
    proxy.before = change_always
    server.put("orders/changing.csv", next(bodies))
    done = company.run("--output", "json", "ingest", "orders", check=False)
    assert done.returncode == 3 and "taken once it rests" in done.stdout, done.stdout + done.stderr
    assert held(company).num_rows == 1_000_000
    proxy.before = lambda *_: None
    company.run("ingest", "orders")
    assert held(company).num_rows == 2_000_000
    balanced(company)


def test_a_disk_without_room_for_an_object_is_told(server, proxy, acme):
    company = acme("s3://raw/orders/*", proxy.address)
    server.put("orders/large.csv", encoded(rows(0, 1_000_000), "csv"))
    server.put("orders/small.csv", encoded(rows(2_000_000, 10), "csv"))

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, resource.RLIM_INFINITY))

    command = [TENON, "--dir", str(company.folder), "--output", "json", "ingest", "orders"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=limited)
    assert done.returncode == 3 and "there is no room for `s3://raw/orders/large.csv`" in done.stdout, done.stdout
    assert held(company).num_rows == 10, "what has room is taken"
    assert outcomes(company.json("ingest", "orders")) == {"already": 1, "committed": 1}
    assert held(company).num_rows == 1_000_010
    balanced(company)


def test_what_is_wrong_with_a_store_is_said_and_no_secret_is(server, proxy, acme):
    company = acme("s3://raw/orders/*.csv", proxy.address)
    server.put("orders/1.csv", encoded(rows(0, 10), "csv"))
    # Another dataset is not kept from its files by a store that refuses.
    declare(company, "local", "data/*.csv")
    (company.folder / "data").mkdir(exist_ok=True)
    (company.folder / "data/1.csv").write_bytes(encoded(rows(0, 10), "csv"))
    company.run("apply")
    proxy.only_key = "SOMEBODY"
    done = company.run("ingest", check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "orders" in done.stdout and "InvalidAccessKeyId" in done.stdout, done.stdout
    told = company.run("--output", "json", "ingest", "orders", check=False).stdout
    assert "it does not let us" in told, told
    assert held(company, "local").num_rows == 10
    secrets_stay_out(company, done.stdout, done.stderr, told)
    proxy.only_key = None

    declare(company, "orders", "s3://nowhere/orders/*.csv", proxy.address)
    company.run("apply")
    done = company.run("--output", "json", "ingest", "orders", check=False)
    assert done.returncode == 3 and "NoSuchBucket" in done.stdout, done.stdout + done.stderr

    (company.folder / "secret").unlink()
    done = company.run("--output", "json", "ingest", "orders", check=False)
    assert done.returncode == 3 and "the secret `file:secret` cannot be read" in done.stdout, done.stdout + done.stderr
    assert company.run("audit", "verify").returncode == 0


@pytest.mark.parametrize(
    "files, more, words",
    [
        ("s3://AKIA:hunter2@raw/*.csv", "", ["never written into an address"]),
        ("ftp://raw/*.csv", "", ["`ftp://` is no object store"]),
        ("s3://raw/orders/", "", ["in the last part of a key"]),
        ("s3://raw/*.csv", 'account = "acme"', ["belongs to az://"]),
        ("s3://raw/*.csv", 'session_token = "hunter2"', ["a secret is never written here"]),
        ("data/*.csv", "", ["does not lie in an object store"]),
    ],
)
def test_what_is_wrong_with_the_declaration_is_said_at_its_place(acme, tmp_path, files, more, words):
    company = acme("data/*.csv")
    declare(company, "orders", files, "http://127.0.0.1:9", more)
    done = company.run("plan", check=False)
    assert done.returncode == 1 and "orders.toml:" in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_store_over_tls_is_believed_by_its_authority_only(server, acme, tmp_path):
    authority, stranger = Authority(tmp_path, "acme"), Authority(tmp_path, "stranger")
    proxy = Proxy(server, tls=authority.issue("store"))
    server.put("orders/1.csv", encoded(rows(0, 10), "csv"))
    company = acme("s3://raw/orders/*.csv", proxy.address, f'ca = "{authority.path}"')
    company.run("ingest", "orders")
    assert held(company).num_rows == 10
    declare(company, "orders", "s3://raw/orders/*.csv", proxy.address, f'ca = "{stranger.path}"')
    company.run("apply")
    done = company.run("--output", "json", "ingest", "orders", check=False)
    assert done.returncode == 3 and "certificate" in done.stdout, done.stdout + done.stderr
    proxy.stop()
