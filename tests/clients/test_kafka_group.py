"""What a consumer group means here: it is told how far the table is, and nothing depends on it.

Partitions are not shared out by the group, so that members that come and go, a rebalance, or offsets that somebody moves
can neither lose nor double a row. One process writes a company's tables; a second one is refused.
"""

import signal
import subprocess
import threading
import time
from collections import Counter

from confluent_kafka import Consumer, TopicPartition
from conftest import TENON
from test_kafka import balanced, broker, eventually, ids, readings, stream  # noqa: F401 (fixtures)

FAST = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}


def following(company):
    arguments = [TENON, "--dir", str(company.folder), "ingest", "readings", "--follow"]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_a_second_process_is_refused_and_the_first_goes_on(broker, readings):
    broker.topic()
    company = readings(more='group = "watchers"', latency="200ms")
    first = following(company)
    try:
        broker.produce(stream(range(100)))
        eventually(lambda: len(ids(company)) == 100)
        for arguments in (["ingest", "readings", "--follow"], ["ingest", "readings"], ["serve", "--listen", "127.0.0.1:0"]):
            done = company.run(*arguments, check=False)
            assert done.returncode == 3 and str(first.pid) in done.stderr, done.stdout + done.stderr
        broker.produce(stream(range(100, 200)))
        eventually(lambda: len(ids(company)) == 200)
        # It is killed, and the next one takes over at once: no lock is left behind.
        first.send_signal(signal.SIGKILL)
        first.wait()
        broker.produce(stream(range(200, 300)))
        first = following(company)
        eventually(lambda: len(ids(company)) == 300)
    finally:
        first.terminate()
        assert first.wait(timeout=30) == 0
    assert Counter(ids(company)) == Counter(range(300))
    balanced(company)


def test_rebalances_and_moved_offsets_of_the_group_change_nothing(broker, readings):
    broker.topic()
    company = readings(more='group = "watchers"', latency="100ms")
    stop = threading.Event()

    def member():
        """Joins the group, reads a little, goes, and comes again."""
        while not stop.is_set():
            how = {"bootstrap.servers": broker.address, "group.id": "watchers", "auto.offset.reset": "earliest", **FAST}
            # A member that goes while it joins is believed to come for so long.
            consumer = Consumer(how | {"max.poll.interval.ms": 6000})
            consumer.subscribe(["readings"])
            until = time.monotonic() + 2
            while time.monotonic() < until and not stop.is_set():
                consumer.poll(0.1)
            consumer.close()

    members = [threading.Thread(target=member) for _ in range(2)]
    [one.start() for one in members]
    process = following(company)
    number = 0
    try:
        until = time.monotonic() + 12
        while time.monotonic() < until:
            broker.produce(stream(range(number, number + 100)))
            number += 100
            time.sleep(0.3)
            if number % 1000 == 0:
                process.kill()
                process.wait()
                process = following(company)
        eventually(lambda: len(ids(company)) == number)
    finally:
        stop.set()
        [one.join() for one in members]
        process.terminate()
        assert process.wait(timeout=30) == 0
    # Somebody sets the group back to the beginning, and far ahead.
    for offset in (0, 1_000_000):
        mover = Consumer({"bootstrap.servers": broker.address, "group.id": "watchers"})
        places = [TopicPartition("readings", p, offset) for p in range(4)]
        # As soon as the broker believes that the members have gone.
        eventually(lambda: mover.commit(offsets=places, asynchronous=False))
        mover.close()
        broker.produce(stream(range(number, number + 100)))
        number += 100
        company.run("ingest", "readings")
    assert Counter(ids(company)) == Counter(range(number))
    # And is told again how far the table is.
    told = Consumer({"bootstrap.servers": broker.address, "group.id": "watchers"})
    places = told.committed([TopicPartition("readings", p) for p in range(4)], timeout=10)
    assert [place.offset for place in places] == [number // 4] * 4
    told.close()
    balanced(company)
