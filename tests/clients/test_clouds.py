"""Files in Google Cloud Storage and in Azure Blob Storage: each object once, read at once and watched. What a bad store does
to it is tested with S3, in `test_object_store.py`: the ways are the same, the client of the store is another one."""

import signal
import subprocess
from collections import Counter

import pytest
from clouds import BUCKET, Azure, Gcs
from conftest import TENON, Company
from test_kafka import balanced, eventually
from test_object_store import DATASET, encoded, held, outcomes, rows

FORMATS = ["parquet", "csv", "arrow", "arrows", "ndjson"]


@pytest.fixture(params=[Gcs, Azure], ids=["gs", "az"])
def store(request):
    store = request.param()
    yield store
    store.stop()


@pytest.fixture
def acme(store, tmp_path) -> Company:
    folder = tmp_path / "acme"
    subprocess.run([TENON, "init", str(folder), "--name", "acme"], check=True, capture_output=True)
    (folder / "pods/first/datasets").mkdir(parents=True)
    declared = f"[source.store]\n{store.declared(folder)}"
    text = DATASET.format(files=f"{store.scheme}://{BUCKET}/orders/*", store=declared)
    (folder / "pods/first/datasets/orders.toml").write_text(text)
    company = Company(folder, {})
    company.run("apply")
    return company


def test_objects_are_taken_once_and_watched(store, acme):
    for at, ending in enumerate(FORMATS):
        store.put(f"orders/{at}.{ending}", encoded(rows(at * 1000, 1000), ending))
    store.put("orders/deeper/not-mine.csv", b"id,amount\n5,5\n")
    store.put("others.csv", b"id,amount\n6,6\n")
    # Two pieces and a bit.
    large = encoded(rows(1_000_000, 1_600_000), "csv")
    assert len(large) > 16 << 20
    store.put("orders/large.csv", large)
    told = acme.json("ingest", "orders")
    assert outcomes(told) == {"committed": 6}
    assert told[0]["file"] == f"{store.scheme}://{BUCKET}/orders/0.parquet"
    assert outcomes(acme.json("ingest", "orders")) == {"already": 6}
    # The same bytes under another name are the same file; other bytes under the same name are another one.
    store.put("orders/copy.csv", encoded(rows(1000, 1000), "csv"))
    store.put("orders/2.arrow", encoded(rows(5000, 10), "arrow"))
    assert outcomes(acme.json("ingest", "orders")) == {"already": 6, "committed": 1}
    expected = Counter([*range(5010), *range(1_000_000, 2_600_000)])
    assert Counter(held(acme).column("id").to_pylist()) == expected

    process = subprocess.Popen(
        [TENON, "--dir", str(acme.folder), "ingest", "orders", "--follow"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        for at, ending in enumerate(FORMATS):
            store.put(f"orders/watched-{at}.{ending}", encoded(rows(10_000 + at * 10, 10), ending))
            eventually(lambda: held(acme).num_rows == expected.total() + (at + 1) * 10)
    finally:
        process.send_signal(signal.SIGTERM)
        heard = process.communicate(timeout=30)[1].decode()
        assert process.returncode == 0, heard
    balanced(acme)
    for path in (acme.folder / ".tenon").rglob("*"):
        assert not path.is_file() or store.secret.encode() not in path.read_bytes(), path
