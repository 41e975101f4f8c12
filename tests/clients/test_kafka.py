"""Topics into the lake: exactly once, whatever dies, against a real broker.

The broker is a process of its own (PyPI `noida-db`, which speaks Kafka's protocol), the producer is librdkafka, and what a
table holds is read by somebody who is not Tenon (`deltalake`).
"""

import importlib.util
import io
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fastavro
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import TENON, Company
from deltalake import DeltaTable
from ports import free_port, wait_until_open

# The program itself: the script of that name only starts it, and would leave it behind.
NOIDA = Path(importlib.util.find_spec("noida_db").origin).parent / "noida-db"
KILLS = int(os.environ.get("TENON_KILLS", "50"))
DATASET = """description = "Readings of sensors"
event_time = "at"
latency = "{latency}"

[source.kafka]
brokers = "{brokers}"
topics = ["readings"]
{more}

[contract]
key = ["id"]
[contract.columns]
id = {{ type = "int64" }}
value = {{ type = "float64", nullable = true, range = [-1000, 1000] }}
at = {{ type = "timestamp" }}
_partition = {{ type = "int32" }}
_offset = {{ type = "int64" }}
{tail}
"""


class Broker:
    def __init__(self, folder: Path):
        self.folder, self.port, self.process = folder, free_port(), None
        self.address = f"127.0.0.1:{self.port}"
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [NOIDA, "start", "--data-dir", self.folder, "--only", "kafka", "--kafka-port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until_open(self.port, "the broker")

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(timeout=30)

    def admin(self):
        return AdminClient({"bootstrap.servers": self.address})

    def topic(self, name="readings", partitions=4):
        admin = self.admin()
        for made in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            made.result(20)

    def produce(self, messages, topic="readings"):
        """Messages as (partition, value)."""
        producer = Producer({"bootstrap.servers": self.address, "linger.ms": 2})
        for partition, value in messages:
            producer.produce(topic, value, partition=partition)
            producer.poll(0)
        assert producer.flush(30) == 0


    def read_all(self, topic="readings", partitions=4):
        """Every message of a topic, as another client reads it."""
        consumer = Consumer(
            {"bootstrap.servers": self.address, "group.id": "reader", "enable.auto.commit": False, "enable.partition.eof": True}
        )
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        values, ended = [], 0
        while ended < partitions:
            message = consumer.poll(10)
            assert message is not None, "the topic was not read to its end"
            if message.error():
                ended += 1
            else:
                values.append(message.value())
        consumer.close()
        return values


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path / "broker")
    yield broker
    broker.process.kill()
    broker.process.wait()


@pytest.fixture
def readings(tmp_path, broker):
    def make(more="", tail="", latency="1s", brokers=None) -> Company:
        folder = tmp_path / "acme"
        done = subprocess.run([TENON, "init", str(folder), "--name", "acme"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        declare(folder, brokers or broker.address, more, tail, latency)
        company = Company(folder, {})
        company.run("apply")
        return company

    return make


def declare(folder, brokers, more="", tail="", latency="1s"):
    path = folder / "pods/first/datasets/readings.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(DATASET.format(brokers=brokers, more=more, tail=tail, latency=latency))


def reading(number: int, **more) -> bytes:
    row = {"id": number, "value": number % 100 / 2, "at": "2026-01-01T00:00:00Z", **more}
    return json.dumps(row).encode()


def stream(numbers, partitions=4):
    return [(number % partitions, reading(number)) for number in numbers]


def table(company, name="readings"):
    return DeltaTable(company.table(name)).to_pyarrow_table()


def ids(company):
    return table(company).column("id").to_pylist()


def balanced(company):
    done = company.run("--output", "json", "audit", "data", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_topic_is_taken_once_and_the_table_says_how_far(broker, readings):
    broker.topic()
    company = readings(more='group = "watchers"')
    assert company.json("ingest", "readings")[0]["outcome"]["taken"]["commits"] == 0
    broker.produce(stream(range(1000)))
    first = company.json("ingest", "readings")[0]["outcome"]["taken"]
    assert (first["rows_in"], first["accepted"], first["quarantined"]) == (1000, 1000, 0)
    assert company.json("ingest", "readings")[0]["outcome"]["taken"]["rows_in"] == 0
    broker.produce(stream(range(1000, 1500)))
    assert company.json("ingest")[0]["outcome"]["taken"]["rows_in"] == 500
    assert sorted(ids(company)) == list(range(1500))
    # The position stands in Delta's own words, and the group has been told.
    held = table(company)
    for partition in range(4):
        rows = [o for p, o in zip(held["_partition"].to_pylist(), held["_offset"].to_pylist()) if p == partition]
        position = DeltaTable(company.table("readings")).transaction_version(f"kafka:readings/{partition}")
        assert (position, sorted(rows)) == (375, list(range(375)))
    told = Consumer({"bootstrap.servers": broker.address, "group.id": "watchers"})
    places = [TopicPartition("readings", partition) for partition in range(4)]
    assert [place.offset for place in told.committed(places, timeout=10)] == [375] * 4
    told.close()
    sums = balanced(company)["datasets"]["readings"]
    assert (sums["rows_in"], sums["accepted"], sums["positions"]["kafka:readings/0"]) == (1500, 1500, 375)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_messages_in_every_codec_are_read(broker, readings, codec):
    broker.topic()
    company = readings()
    producer = Producer({"bootstrap.servers": broker.address, "compression.type": codec, "linger.ms": 20})
    for partition, value in stream(range(5000)):
        producer.produce("readings", value, partition=partition)
    assert producer.flush(30) == 0
    taken = company.json("ingest", "readings")[0]["outcome"]["taken"]
    assert (taken["rows_in"], taken["accepted"]) == (5000, 5000)
    assert sorted(ids(company)) == list(range(5000))
    # They are compressed where they stand: no segment holds a message in plain text.
    stands = [path for path in broker.folder.rglob("*") if path.is_file() and b'"value": ' in path.read_bytes()]
    assert not stands, stands
    balanced(company)


def test_poison_in_any_place_is_set_aside_with_all_its_bytes(broker, readings):
    broker.topic()
    company = readings(more="max_bytes = 1000\nmax_depth = 5")
    poison = {
        "not JSON": b"hello",
        "not UTF-8": b'{"id":1,"value":"\xff"}',
        "not a JSON object": b"[1,2]",
        "nested deeper than 5 levels": b'{"id":1,"value":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "the message has more than 1000 bytes": b'{"id":1,"pad":"' + b"x" * 2000 + b'"}',
        "the message has no value": None,
        "value: not a float64": b'{"id":7001,"value":"warm","at":"2026-01-01T00:00:00Z"}',
        "value: outside [-1000, 1000]": b'{"id":7002,"value":5000,"at":"2026-01-01T00:00:00Z"}',
        "id: missing": b'{"value":1,"at":"2026-01-01T00:00:00Z"}',
    }
    # The deep one is longer than the limit as well; it may be as long as it likes here.
    del poison["nested deeper than 5 levels"]
    poison["nested deeper than 5 levels"] = b'{"id":1,"value":' + b"[" * 100 + b"]" * 100 + b"}"
    values = list(poison.values())
    messages = stream(range(200))
    for at, value in enumerate(values):
        messages.insert(at * 20, (at % 4, value))
    messages.append((0, values[0]))
    broker.produce(messages)
    taken = company.json("ingest", "readings")[0]["outcome"]["taken"]
    assert (taken["rows_in"], taken["accepted"], taken["quarantined"]) == (210, 200, 10)
    reasons = {reason["rule"]: reason["rows"] for reason in taken["reasons"]}
    assert reasons == {**dict.fromkeys(poison, 1), "not JSON": 2}
    kept = table(company, "readings__quarantine").to_pylist()
    for rule, value in poison.items():
        rows = [row for row in kept if rule in row["_reason"] or rule.split(": ")[-1] in row["_reason"]]
        assert rows, (rule, [row["_reason"] for row in kept])
        row = json.loads(rows[0]["_row"])
        assert {"_topic", "_partition", "_offset"} <= row.keys()
        if rule.startswith(("not JSON", "nested")):
            assert row["_value"].encode() == value
    balanced(company)


def test_killed_at_random_no_row_is_lost_or_doubled(broker, readings):
    """A known stream is produced while the program is killed again and again; the broker is killed on the way, too."""
    broker.topic()
    company = readings(latency="100ms")
    dice = random.Random(20261124)
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 2})
    sent, poisoned = Counter(), 0
    number, kills = 0, 0
    while kills < KILLS:
        process = subprocess.Popen(
            [TENON, "--dir", str(company.folder), "ingest", "readings", "--follow"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        until = time.monotonic() + dice.uniform(0.1, 1.2)
        while time.monotonic() < until:
            for _ in range(50):
                if dice.random() < 0.01:
                    producer.produce("readings", b"poison", partition=dice.randrange(4))
                    poisoned += 1
                else:
                    partition = dice.randrange(4)
                    producer.produce("readings", reading(number), partition=partition)
                    sent[number] += 1
                    number += 1
            producer.poll(0)
            time.sleep(0.005)
        process.kill()
        process.wait()
        said = process.stderr.read().decode()
        assert "panicked" not in said, said
        kills += 1
        if kills % 20 == 10:
            producer.flush(30)
            broker.stop()
            broker.start()
    assert producer.flush(60) == 0
    company.run("ingest", "readings")
    # The stream is what stands in the topic, read by somebody who is not Tenon.
    stands = broker.read_all()
    assert Counter(json.loads(value)["id"] for value in stands if value != b"poison") == sent
    assert Counter(ids(company)) == sent
    quarantined = table(company, "readings__quarantine").num_rows
    assert quarantined == poisoned
    sums = balanced(company)["datasets"]["readings"]
    assert (sums["rows_in"], sums["accepted"], sums["quarantined"]) == (number + poisoned, number, poisoned)
    # Every place of every partition is in exactly one stretch.
    offsets = Counter((row["_partition"], row["_offset"]) for row in table(company).select(["_partition", "_offset"]).to_pylist())
    assert max(offsets.values()) == 1
    assert sums["commits"] > KILLS / 5, "it was killed in the middle of work"
    assert company.run("audit", "verify").returncode == 0


def test_a_transaction_that_was_aborted_never_lands(broker, readings):
    broker.topic(partitions=1)
    company = readings()
    producer = Producer({"bootstrap.servers": broker.address, "transactional.id": "t"})
    producer.init_transactions(30)
    for first, commit in ((0, True), (100, False), (200, True)):
        producer.begin_transaction()
        for number in range(first, first + 10):
            producer.produce("readings", reading(number), partition=0)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    company.run("ingest", "readings")
    assert sorted(ids(company)) == [*range(10), *range(200, 210)]
    assert company.json("ingest", "readings")[0]["outcome"]["taken"]["rows_in"] == 0
    balanced(company)


def test_a_broker_that_vanishes_is_waited_for(broker, readings):
    broker.topic()
    company = readings(latency="200ms")
    broker.produce(stream(range(100)))
    with open(company.folder / "said", "w+") as said:
        process = subprocess.Popen(
            [TENON, "--dir", str(company.folder), "ingest", "readings", "--follow"], stdout=subprocess.DEVNULL, stderr=said
        )
        try:
            eventually(lambda: len(ids(company)) == 100)
            broker.stop()
            time.sleep(8)
            broker.start()
            broker.produce(stream(range(100, 200)))
            eventually(lambda: sorted(ids(company)) == list(range(200)))
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0
    text = (company.folder / "said").read_text()
    assert "is away" in text and "is back" in text, text
    balanced(company)


def eventually(holds, seconds=30):
    until = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except Exception:
            if time.monotonic() > until:
                raise
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.1)


def test_a_topic_made_anew_is_refused_loudly_until_somebody_decides(broker, readings):
    broker.topic(partitions=1)
    company = readings()
    broker.produce([(0, reading(number)) for number in range(50)])
    company.run("ingest", "readings")
    admin = broker.admin()
    for gone in admin.delete_topics(["readings"]).values():
        gone.result(20)
    eventually(lambda: "readings" not in admin.list_topics(timeout=5).topics)
    broker.topic(partitions=1)
    broker.produce([(0, reading(number)) for number in range(1000, 1010)])
    done = company.run("--output", "json", "ingest", "readings", check=False)
    assert done.returncode == 3 and "made anew" in done.stdout and "`generation`" in done.stdout, done.stdout + done.stderr
    assert len(ids(company)) == 50
    declare(company.folder, broker.address, more="generation = 1")
    company.run("apply")
    company.run("ingest", "readings")
    assert sorted(ids(company)) == [*range(50), *range(1000, 1010)]
    balanced(company)


def test_what_comes_while_serving_can_be_asked_for_within_the_latency(broker, readings):
    from conftest import serving

    broker.topic()
    company = readings(latency="2s")
    with serving(company.folder, stderr=subprocess.DEVNULL):
        broker.produce(stream(range(10)))
        eventually(lambda: len(ids(company)) == 10)
        slowest = 0.0
        for number in range(10, 20):
            began = time.monotonic()
            broker.produce([(0, reading(number))])
            while number not in ids(company):
                assert time.monotonic() - began < 10
                time.sleep(0.02)
            slowest = max(slowest, time.monotonic() - began)
        print(f"slowest {slowest:.2f} s")
    assert slowest < 2.0
    balanced(company)


def test_secrets_are_references_and_stay_out_of_the_record(broker, readings):
    broker.topic()
    company = readings()
    sasl = '[source.kafka.security.sasl]\nmechanism = "PLAIN"\nusername = "ana"\npassword = "{}"'
    declare(company.folder, broker.address, more=sasl.format("hunter2"))
    done = company.run("plan", check=False)
    assert done.returncode == 1 and "env:NAME" in done.stderr and "readings.toml" in done.stderr, done.stderr
    declare(company.folder, broker.address, more=sasl.format("env:TENON_TEST_PASSWORD"))
    company.run("apply")
    done = company.run("--output", "json", "ingest", "readings", check=False)
    assert done.returncode == 3 and "env:TENON_TEST_PASSWORD" in done.stdout, done.stdout + done.stderr


def test_late_rows_are_set_aside_and_repeated_keys_left_out(broker, readings):
    broker.topic(partitions=1)
    company = readings(tail='[late]\nallowed = "1h"\n[dedup]\nwithin = "2h"')
    at = lambda number, moment: (0, reading(number, at=f"2026-01-01T{moment}:00Z"))
    broker.produce([at(1, "10:00"), at(2, "12:00"), at(2, "12:00")])
    first = company.json("ingest", "readings")[0]["outcome"]["taken"]
    assert (first["accepted"], first["duplicates"], first["quarantined"]) == (2, 1, 0)
    # A later run knows from the table what has landed.
    broker.produce([at(2, "12:00"), at(3, "10:59"), at(4, "11:30"), at(4, "11:30"), at(5, "12:30")])
    second = company.json("ingest", "readings")[0]["outcome"]["taken"]
    assert (second["rows_in"], second["accepted"], second["duplicates"], second["quarantined"]) == (5, 2, 2, 1)
    assert [reason["rule"] for reason in second["reasons"]] == ["at: later than is allowed"]
    assert sorted(ids(company)) == [1, 2, 4, 5]
    kept = table(company, "readings__quarantine").to_pylist()
    assert "the watermark is 2026-01-01T11:00:00Z" in kept[0]["_reason"], kept
    balanced(company)


def test_books_that_were_cooked_are_found(broker, readings):
    broker.topic(partitions=1)
    company = readings()
    for number in range(3):
        broker.produce([(0, reading(number))])
        company.run("ingest", "readings")
    balanced(company)
    from deltalake import write_deltalake

    write_deltalake(company.table("readings"), table(company).slice(0, 1), mode="append")
    broker.produce([(0, reading(9))])
    company.run("ingest", "readings")
    done = company.run("audit", "data", check=False)
    assert done.returncode == 1 and "no fact accounts for" in done.stdout, done.stdout
    shutil.rmtree(company.folder)


class Registry:
    """Confluent's `GET /schemas/ids/ID`, over HTTP; it can go away and come back."""

    def __init__(self):
        self.port, self.schemas, self.server = free_port(), {}, None
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        schemas = self.schemas

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                schema = schemas.get(int(self.path.rsplit("/", 1)[1]))
                body = {"schema": json.dumps(schema)} if schema else {"error_code": 40403, "message": "Schema not found"}
                self.send_response(200 if schema else 404)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def avro(schema_id, schema, row):
    out = io.BytesIO(b"\0" + schema_id.to_bytes(4, "big"))
    out.seek(5)
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), row)
    return out.getvalue()


READING = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "value", "type": ["null", "double"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}


def test_avro_by_the_registrys_schemas(broker, readings):
    broker.topic()
    registry = Registry()
    registry.schemas[7] = READING
    company = readings(more=f'format = "avro"\nregistry = {{ url = "{registry.address}" }}')
    moment = 1767225600000
    good = [(n % 4, avro(7, READING, {"id": n, "value": n / 2, "at": moment})) for n in range(100)]
    bad = [
        (0, avro(8, READING, {"id": 1000, "value": None, "at": moment})),
        (1, good[0][1][:-3]),
        (2, b"{}"),
    ]
    broker.produce(good[:50] + bad + good[50:])
    taken = company.json("ingest", "readings")[0]["outcome"]["taken"]
    assert (taken["accepted"], taken["quarantined"]) == (100, 3)
    assert {reason["rule"] for reason in taken["reasons"]} == {
        "its schema id is unknown to the registry", "not what its Avro schema says", "not in the Confluent wire format",
    }
    held = table(company).sort_by("id").to_pylist()
    assert [row["value"] for row in held] == [n / 2 for n in range(100)]
    assert held[0]["at"].timestamp() * 1000 == moment
    # A registry that is away is waited for: nothing is set aside because nobody knows it just now.
    registry.stop()
    broker.produce([(0, avro(9, READING, {"id": 5000, "value": None, "at": moment}))])
    registry.schemas[9] = READING
    threading.Timer(1.5, registry.start).start()
    done = company.run("ingest", "readings")
    assert "does not answer" in done.stderr, done.stderr
    assert 5000 in ids(company)
    registry.stop()
    balanced(company)
