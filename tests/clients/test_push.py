"""Rows pushed by many at once: each lands once, nobody waits in a line that takes memory, and the answer says what became."""

import io
import json
import random
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
import requests
from conftest import TENON, Company, serving
from deltalake import DeltaTable
from test_kafka import balanced

DATASET = """description = "Readings"
[source]
push = true
[contract]
max_quarantined = "50%"
[contract.columns]
id = { type = "int64" }
value = { type = "float64", range = [0, 100] }
note = { type = "string", nullable = true }
"""
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture
def pushed(tmp_path) -> Company:
    folder = tmp_path / "acme"
    subprocess.run([TENON, "init", str(folder), "--name", "acme"], check=True, capture_output=True)
    (folder / "pods/first/datasets").mkdir(parents=True)
    (folder / "pods/first/datasets/readings.toml").write_text(DATASET)
    company = Company(folder, {})
    company.run("apply")
    return company


def ids(company):
    return DeltaTable(company.table("readings")).to_pyarrow_table().column("id").to_pylist()


def rows(first, count, note="", bad=0):
    values = [200.0 if at < bad else at % 100.0 for at in range(count)]
    return pa.table({"id": range(first, first + count), "value": values, "note": [note] * count})


def body(table, arrow):
    if not arrow:
        return "".join(json.dumps(row) + "\n" for row in table.to_pylist()).encode()
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def push(address, table, key, arrow=False, session=requests):
    headers = {"Idempotency-Key": key, "Content-Type": ARROW if arrow else "application/x-ndjson"}
    return session.post(f"http://{address}/ingest/readings", data=body(table, arrow), headers=headers, timeout=60)


def memory(process) -> int:
    """The most that a process has held, in KB."""
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def test_thirty_two_at_once_each_lands_once_and_is_told(pushed):
    """Those for whom there is no room are told when to come again, and come; some push the same twice."""
    pushers, each, count = 32, 6, 500
    told, refusals, lock = {}, Counter(), threading.Lock()

    def one(pusher):
        dice, session = random.Random(pusher), requests.Session()
        for at in range(each):
            number = pusher * each + at
            table = rows(number * count, count, bad=number % 3)
            for _ in range(1 + (dice.random() < 0.3)):
                while True:
                    answer = push(address, table, f"key-{number}", arrow=number % 2 == 0, session=session)
                    if answer.status_code != 429:
                        break
                    with lock:
                        refusals[answer.headers["Retry-After"]] += 1
                    time.sleep(float(answer.headers["Retry-After"]) * dice.uniform(0.2, 1))
                assert answer.status_code == 200, answer.text
                with lock:
                    told.setdefault(number, []).append(answer.json())

    with serving(pushed.folder, stderr=subprocess.DEVNULL) as (address, process):
        with ThreadPoolExecutor(pushers) as pool:
            list(pool.map(one, range(pushers)))
        most = memory(process)
    assert refusals.keys() == {"1"} and sum(refusals.values()) > 10, refusals
    versions = set()
    for number, answers in told.items():
        first = answers[0]
        assert [answer["outcome"] for answer in answers] == ["committed", "already"][: len(answers)]
        assert {answer["version"] for answer in answers} == {first["version"]}
        versions.add(first["version"])
        bad = number % 3
        assert (first["rows_in"], first["accepted"], first["quarantined"]) == (count, count - bad, bad)
        assert first["reasons"] == ([{"rule": "value: outside [0, 100]", "rows": bad}] if bad else [])
    assert len(versions) == len(told) == pushers * each, "each answer names the commit of its own"
    landed = {n * count + at for n in range(pushers * each) for at in range(n % 3, count)}
    assert Counter(ids(pushed)) == Counter(landed)
    assert most < 500_000, f"{most} KB"
    sums = balanced(pushed)["datasets"]["readings"]
    assert (sums["rows_in"], sums["commits"]) == (pushers * each * count, pushers * each)


def test_large_pushes_at_once_stay_within_memory(pushed):
    """24 pushers of 30 MB each, NDJSON and Arrow: 700 MB of bodies are not 700 MB at once."""
    note = "x" * 2000
    bodies = {arrow: [body(rows(0, 15_000, note), arrow)] for arrow in (True, False)}

    def one(number):
        arrow = number % 2 == 0
        headers = {"Idempotency-Key": f"key-{number}", "Content-Type": ARROW if arrow else "application/x-ndjson"}
        while True:
            answer = requests.post(f"http://{address}/ingest/readings", data=bodies[arrow][0], headers=headers, timeout=120)
            if answer.status_code != 429:
                return answer
            time.sleep(0.3)

    with serving(pushed.folder, stderr=subprocess.DEVNULL) as (address, process):
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(one, range(24)))
        most = memory(process)
    assert [answer.status_code for answer in answers] == [200] * 24, [answer.text for answer in answers]
    assert len(ids(pushed)) == 24 * 15_000
    assert most < 1_500_000, f"{most} KB"
    balanced(pushed)


def test_limits_and_what_is_said_of_them(pushed):
    with serving(pushed.folder, stderr=subprocess.DEVNULL) as (address, _):
        url = f"http://{address}/ingest/readings"
        most = 64 << 20
        told = requests.post(url, data=b" " * (most + 1), timeout=60)
        assert told.status_code == 413 and "error" in told.json(), told.text
        # One who does not say how much comes is cut off at the same place.
        chunks = (b" " * (1 << 20) for _ in range(80))
        told = requests.post(url, data=chunks, timeout=60)
        assert told.status_code == 413, told.text
        assert requests.post(url, data=b"{}", headers={"Idempotency-Key": "x" * 300}, timeout=60).status_code == 400
        told = push(address, rows(0, 10, bad=8), "mostly bad")
        assert told.status_code == 422 and told.json()["outcome"] == "refused", told.text
        assert told.json()["reasons"] == [{"rule": "value: outside [0, 100]", "rows": 8}]
        assert push(address, rows(0, 10), "once").json()["outcome"] == "committed"
        again = push(address, rows(0, 10), "once").json()
        assert (again["outcome"], again["rows_in"]) == ("already", 10)
        # The same key with other rows is a mistake: what landed first stands, and the others are not taken for it.
        told = push(address, rows(100, 20), "once")
        assert told.status_code == 422 and "`once` was used for other rows" in told.json()["error"], told.text
    assert sorted(ids(pushed)) == list(range(10))
    balanced(pushed)


def test_one_who_sends_slowly_keeps_nobody_else_from_pushing(pushed):
    import socket

    with serving(pushed.folder, stderr=subprocess.DEVNULL) as (address, _):
        host, port = address.split(":")
        slow = []
        for _ in range(8):
            connection = socket.create_connection((host, int(port)))
            connection.sendall(f"POST /ingest/readings HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1000\r\n\r\n{{".encode())
            slow.append(connection)
        time.sleep(0.5)
        until = time.monotonic() + 60
        while (answer := push(address, rows(0, 10), "quick")).status_code == 429:
            assert time.monotonic() < until, "slow ones hold all the room"
            time.sleep(0.5)
        assert answer.status_code == 200, answer.text
        for connection in slow:
            connection.close()
    assert sorted(ids(pushed)) == list(range(10))
