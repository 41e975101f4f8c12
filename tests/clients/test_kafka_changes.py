"""Changes of another database's rows, as Debezium writes them, become the table of that database: against a real broker,
with the program killed at random. What the table must hold is computed here, change by change."""

import base64
import io
import json
import os
import random
import subprocess
import time

import fastavro
import pytest
from confluent_kafka import Producer
from conftest import TENON, Company
from deltalake import DeltaTable
from test_kafka import Registry, balanced, broker, table  # noqa: F401

KILLS = min(int(os.environ.get("TENON_KILLS", "20")), 50)
PARTITIONS = 3
MOMENT = 1767225600000
DATASET = """description = "Accounts of the shop"
latency = "{latency}"
{head}
[source.kafka]
brokers = "{brokers}"
topics = ["shop.public.accounts"]
changes = "{changes}"
{more}

[contract]
key = ["account"]
[contract.columns]
account = {{ type = "int64" }}
owner = {{ type = "string", nullable = true }}
balance = {{ type = "float64", nullable = true, range = [0, 1000000] }}
updated_at = {{ type = "timestamp", nullable = true }}
{columns}

[clean.columns]
account = {{ from = "id" }}
updated_at = {{ parse = {{ epoch = "microseconds" }} }}
"""


@pytest.fixture
def accounts(tmp_path, broker):  # noqa: F811
    def make(changes="debezium", more="", columns="", head="", apply=True, latency="20s") -> Company:
        folder = tmp_path / "acme"
        if not folder.exists():
            done = subprocess.run([TENON, "init", str(folder), "--name", "acme"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        path = folder / "pods/first/datasets/accounts.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        declared = DATASET.format(
            brokers=broker.address, changes=changes, more=more, columns=columns, head=head, latency=latency
        )
        path.write_text(declared)
        company = Company(folder, {})
        if apply:
            company.run("apply")
        return company

    return make


def row(number, owner="ana", balance=1.0, moment=MOMENT * 1000):
    return {"id": number, "owner": owner, "balance": balance, "updated_at": moment}


def envelope(op, before, after, wrapped=False, at=MOMENT):
    source = {"version": "3.3.1.Final", "connector": "postgresql", "name": "shop", "ts_ms": at, "db": "shop", "table": "accounts"}
    payload = {"before": before, "after": after, "source": source, "op": op, "ts_ms": at + 5, "transaction": None}
    if not wrapped:
        return payload
    return {"schema": {"type": "struct", "optional": False, "name": "shop.public.accounts.Envelope", "fields": []}, "payload": payload}


def key_of(number, wrapped=False):
    key = {"id": number}
    return {"schema": {"type": "struct", "fields": []}, "payload": key} if wrapped else key


def message(number, value, wrapped=False):
    """A message as (partition, key, value): a row's changes keep their order by its key."""
    text = None if value is None else (value if isinstance(value, bytes) else json.dumps(value).encode())
    return number % PARTITIONS, json.dumps(key_of(number, wrapped)).encode(), text


def produce(broker, messages, topic="shop.public.accounts"):  # noqa: F811
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 2})
    for partition, key, value in messages:
        producer.produce(topic, value, key=key, partition=partition)
        producer.poll(0)
    assert producer.flush(30) == 0


def held(company):
    rows = table(company, "accounts").to_pylist()
    found = {r["account"]: (r["owner"], r["balance"], r["updated_at"] and round(r["updated_at"].timestamp() * 1e6)) for r in rows}
    assert len(found) == len(rows), "a key stands twice"
    return found


def taken(company):
    return company.json("ingest", "accounts")[0]["outcome"]["taken"]


def test_a_snapshot_and_the_changes_after_it(broker, accounts):  # noqa: F811
    broker.topic("shop.public.accounts", PARTITIONS)
    company = accounts(columns='_op = { type = "string" }\n_changed_at = { type = "timestamp" }')
    produce(broker, [message(n, envelope("r", None, row(n, balance=float(n)), wrapped=n % 2 == 0)) for n in range(10)])
    first = taken(company)
    assert (first["rows_in"], first["accepted"], first["changes"]["updated"]) == (10, 10, 0)
    later = [
        message(1, envelope("u", row(1, balance=1.0), row(1, "eva", 11.0), at=MOMENT + 1000)),
        # PostgreSQL sends the key alone of a row that is gone, unless it is told to send all of it.
        message(2, envelope("d", {"id": 2, "owner": None, "balance": None, "updated_at": None}, None)),
        message(2, None),
        message(3, envelope("d", row(3), None, wrapped=True), wrapped=True),
        message(3, None, wrapped=True),
        # A key that changes is a delete and a create.
        message(4, envelope("d", row(4), None)),
        message(4, None),
        message(40, envelope("c", None, row(40, "max", 4.0))),
        # Comes, changes and goes within a batch; goes and comes again.
        message(50, envelope("c", None, row(50))),
        message(50, envelope("u", None, row(50, "x"))),
        message(50, envelope("d", row(50), None)),
        message(5, envelope("d", row(5), None)),
        message(5, envelope("c", None, row(5, "new", 55.0))),
        message(60, envelope("c", None, row(60, None, None, None))),
    ]
    produce(broker, later)
    second = taken(company)
    assert (second["rows_in"], second["accepted"], second["quarantined"]) == (14, 4, 0)
    expected = {"updated": 2, "deleted": 3, "absent": 1, "superseded": 6}
    assert {name: second["changes"][name] for name in expected} == expected
    assert second["rows_in"] == second["accepted"] + sum(second["changes"][n] for n in ("deleted", "absent", "superseded"))
    now = held(company)
    micros = MOMENT * 1000
    left = {n: ("ana", float(n), micros) for n in (0, 6, 7, 8, 9)}
    assert now == {**left, 1: ("eva", 11.0, micros), 40: ("max", 4.0, micros), 5: ("new", 55.0, micros), 60: (None, None, None)}
    told = {r["account"]: (r["_op"], round(r["_changed_at"].timestamp() * 1000)) for r in table(company, "accounts").to_pylist()}
    assert (told[0], told[1], told[40]) == (("r", MOMENT), ("u", MOMENT + 1000), ("c", MOMENT))
    # Both versions are there, and what lies between them is told.
    diff = company.json("diff", "accounts", "--from", "0")
    diff = diff[0] if isinstance(diff, list) else diff
    assert (diff["added"], diff["removed"], diff["changed"]) == (2, 3, 2)
    assert company.json("query", "SELECT count(*) AS n FROM accounts", "--as-of", "0")[0]["n"] == 10
    sums = balanced(company)["datasets"]["accounts"]
    assert (sums["rows_in"], sums["accepted"], sums["changes"]["deleted"]) == (24, 14, 3)
    position = DeltaTable(company.table("accounts")).transaction_version("kafka:shop.public.accounts/1")
    assert position == sums["positions"]["kafka:shop.public.accounts/1"]
    assert taken(company)["commits"] == 0


def test_what_cannot_be_followed_is_set_aside_and_changes_nothing(broker, accounts):  # noqa: F811
    broker.topic("shop.public.accounts", PARTITIONS)
    company = accounts()
    produce(broker, [message(n, envelope("r", None, row(n, balance=float(n)))) for n in range(6)])
    taken(company)
    before = held(company)
    truncate = json.dumps(envelope("t", None, None)).encode()
    poison = {
        "not JSON": message(0, b"hello"),
        "a truncate is not followed": (0, None, truncate),
        "an operation that is not known": message(0, envelope("m", None, None)),
        "not a change as Debezium writes it": message(1, {"id": 1}),
        "it changes its key": message(1, envelope("u", row(1), row(99))),
        "a value that did not change was not sent": message(2, envelope("u", None, row(2, "__debezium_unavailable_value"))),
        "a delete that names no key": (2, None, None),
        "balance: outside [0, 1000000]": message(3, envelope("u", None, row(3, balance=-1.0))),
        "account: missing": message(4, envelope("c", None, {"owner": "x"})),
        "account: not an int64": message(4, envelope("d", {"id": "four"}, None)),
    }
    produce(broker, [*poison.values(), message(5, envelope("u", None, row(5, "still", 5.5)))])
    found = taken(company)
    assert {reason["rule"]: reason["rows"] for reason in found["reasons"]} == dict.fromkeys(poison, 1)
    assert (found["rows_in"], found["accepted"], found["quarantined"]) == (11, 1, 10)
    assert held(company) == {**before, 5: ("still", 5.5, MOMENT * 1000)}
    kept = table(company, "accounts__quarantine").to_pylist()
    rows = {kept_row["_rules"]: json.loads(kept_row["_row"]) for kept_row in kept}
    assert rows["not JSON"]["_value"] == "hello" and rows["a truncate is not followed"]["_value"].encode() == truncate
    assert rows["balance: outside [0, 1000000]"]["balance"] == -1.0
    balanced(company)
    # Rows come by the topic alone: a release would bring a key twice.
    done = company.run("quarantine", "release", "accounts", "--reason", "r", check=False)
    assert done.returncode != 0 and "its topics alone" in done.stderr, done.stderr
    done = company.run("replay", "accounts", check=False)
    assert done.returncode != 0, done.stdout


def test_killed_at_random_the_table_is_what_its_changes_say(broker, accounts):  # noqa: F811
    broker.topic("shop.public.accounts", PARTITIONS)
    company = accounts(latency="100ms")
    dice = random.Random(20261124)
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 2})
    state, sent, poisoned, fresh = {}, 0, 0, 1000
    said = {partition: [] for partition in range(PARTITIONS)}

    def send(number, value, wrapped):
        nonlocal sent
        partition, key, text = message(number, value, wrapped)
        producer.produce("shop.public.accounts", text, key=key, partition=partition)
        said[partition].append((key, text))
        del said[partition][:-20]
        sent += 1

    def remove(number, wrapped):
        was = state.pop(number)
        whole = {"id": number, **dict(zip(("owner", "balance", "updated_at"), was))}
        bare = {"id": number, "owner": None, "balance": None, "updated_at": None}
        send(number, envelope("d", whole if dice.random() < 0.5 else bare, None, wrapped), wrapped)
        if dice.random() < 0.7:
            send(number, None, wrapped)

    def put(number, wrapped):
        new = (dice.choice(["ana", "eva", None]), float(dice.randrange(1000)), (MOMENT + sent) * 1000)
        op = "u" if number in state else dice.choice("cr")
        send(number, envelope(op, None, {"id": number, **dict(zip(("owner", "balance", "updated_at"), new))}, wrapped), wrapped)
        state[number] = new

    for kill in range(KILLS):
        process = subprocess.Popen(
            [TENON, "--dir", str(company.folder), "ingest", "accounts", "--follow"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        until = time.monotonic() + dice.uniform(0.2, 1.5)
        while time.monotonic() < until:
            for _ in range(20):
                wrapped, what = dice.random() < 0.5, dice.random()
                number = dice.randrange(200)
                if what < 0.01:
                    producer.produce("shop.public.accounts", b"poison", partition=dice.randrange(PARTITIONS))
                    poisoned += 1
                elif what < 0.25 and number in state:
                    remove(number, wrapped)
                elif what < 0.28 and number in state:
                    # The primary key changes: the old row goes, and the new one comes, to another partition perhaps.
                    remove(number, wrapped)
                    fresh += 1
                    put(fresh, wrapped)
                else:
                    put(number, wrapped)
            if dice.random() < 0.02:
                # The connector starts again and says once more what it had said.
                for partition, last in said.items():
                    for key, text in list(last):
                        producer.produce("shop.public.accounts", text, key=key, partition=partition)
                        sent += 1
            producer.poll(0)
            time.sleep(0.005)
        process.kill()
        process.wait()
        text = process.stderr.read().decode()
        assert "panicked" not in text, text
        if kill % 10 == 5:
            producer.flush(30)
            broker.stop()
            broker.start()
        if kill % 7 == 3:
            company.run("compact", "accounts")
    assert producer.flush(60) == 0
    company.run("ingest", "accounts")
    assert held(company) == state
    sums = balanced(company)["datasets"]["accounts"]
    assert (sums["rows_in"], sums["quarantined"]) == (sent + poisoned, poisoned)
    changes = sums["changes"]
    assert sums["rows_in"] == sums["accepted"] + poisoned + changes["deleted"] + changes["absent"] + changes["superseded"]
    assert len(state) == sums["accepted"] - changes["updated"] - changes["deleted"]
    assert changes["updated"] > 100 and changes["deleted"] > 20 and sums["commits"] > KILLS / 5
    assert sum(sums["positions"].values()) == sent + poisoned
    assert company.run("audit", "verify").returncode == 0
    print(f"{sent} changes, {sums['commits']} commits, {changes}")


def test_rows_that_debezium_flattened(broker, accounts):  # noqa: F811
    broker.topic("shop.public.accounts", PARTITIONS)
    company = accounts(changes="debezium_flattened")
    flat = lambda number, gone="false", **more: message(number, {**row(number, **more), "__deleted": gone})
    produce(broker, [flat(n) for n in range(6)])
    assert taken(company)["accepted"] == 6
    produce(broker, [flat(1, owner="eva"), flat(2, "true"), message(2, None), message(3, None), message(4, row(4, "plain"))])
    found = taken(company)
    assert (found["accepted"], found["changes"]["deleted"], found["changes"]["superseded"]) == (2, 2, 1)
    assert {number: owner for number, (owner, _, _) in held(company).items()} == {0: "ana", 1: "eva", 4: "plain", 5: "ana"}
    balanced(company)


def avro(schema_id, schema, value):
    out = io.BytesIO()
    out.write(b"\0" + schema_id.to_bytes(4, "big"))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def test_changes_in_avro_with_keys_by_the_registry(broker, accounts):  # noqa: F811
    broker.topic("shop.public.accounts", PARTITIONS)
    registry = Registry()
    fields = [
        {"name": "id", "type": "long"},
        {"name": "owner", "type": ["null", "string"]},
        {"name": "balance", "type": ["null", "double"]},
        {"name": "updated_at", "type": ["null", "long"]},
    ]
    value = {"type": "record", "name": "Value", "namespace": "shop.public.accounts", "fields": fields}
    wrapper = {
        "type": "record",
        "name": "Envelope",
        "namespace": "shop.public.accounts",
        "fields": [
            {"name": "before", "type": ["null", value]},
            {"name": "after", "type": ["null", "Value"]},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"]},
        ],
    }
    key = {"type": "record", "name": "Key", "namespace": "shop.public.accounts", "fields": [{"name": "id", "type": "long"}]}
    registry.schemas.update({1: wrapper, 2: key})
    company = accounts(more=f'format = "avro"\nregistry = {{ url = "{registry.address}" }}')

    def said(number, op, before, after):
        body = avro(1, wrapper, {"before": before, "after": after, "op": op, "ts_ms": MOMENT})
        return number % PARTITIONS, avro(2, key, {"id": number}), body

    gone = lambda number: (number % PARTITIONS, avro(2, key, {"id": number}), None)
    produce(broker, [said(n, "r", None, row(n)) for n in range(6)])
    assert taken(company)["accepted"] == 6
    # A topic that is compacted may have kept the tombstone alone.
    produce(broker, [said(1, "u", None, row(1, "eva")), said(2, "d", row(2), None), gone(2), gone(3), (0, b"\xff", None)])
    found = taken(company)
    assert (found["accepted"], found["quarantined"], found["changes"]["deleted"]) == (1, 1, 2)
    assert {number: owner for number, (owner, _, _) in held(company).items()} == {0: "ana", 1: "eva", 4: "ana", 5: "ana"}
    kept = table(company, "accounts__quarantine").to_pylist()
    assert base64.b64decode(json.loads(kept[0]["_row"])["_key_base64"]) == b"\xff"
    registry.stop()
    balanced(company)


def test_a_column_that_comes_later_and_readers_that_follow(broker, accounts):  # noqa: F811
    broker.topic("shop.public.accounts", PARTITIONS)
    company = accounts()
    produce(broker, [message(n, envelope("r", None, row(n))) for n in range(4)])
    taken(company)
    # The source has a column more; the contract does not know it yet.
    produce(broker, [message(1, envelope("u", None, {**row(1, "eva"), "city": "Newark"}))])
    taken(company)
    company = accounts(columns='city = { type = "string", nullable = true }')
    produce(broker, [message(2, envelope("u", None, {**row(2, "max"), "city": "Boston"})), message(3, envelope("d", row(3), None))])
    taken(company)
    rows = {r["account"]: (r["owner"], r["city"]) for r in table(company, "accounts").to_pylist()}
    assert rows == {0: ("ana", None), 1: ("eva", None), 2: ("max", "Boston")}
    # Older versions stay what they were, also for other readers.
    assert DeltaTable(company.table("accounts"), version=0).to_pyarrow_table().num_rows == 4
    done = company.run("restore", "accounts", "--to", "1", "--reason", "to look at it")
    assert done.returncode == 0 and len(held(company)) == 4
    balanced(company)


def test_what_would_lose_a_change_is_a_fault_in_the_file(broker, accounts):  # noqa: F811
    company = accounts(head='keep_raw = true\n[dedup]\nwithin = "1h"\n[late]\nallowed = "1h"\n', apply=False)
    done = company.run("plan", check=False)
    assert done.returncode == 1, done.stderr
    for sentence in ("one row a key", "set aside for being late", "keeps no rows as they came", "accounts.toml"):
        assert sentence in done.stderr, done.stderr
