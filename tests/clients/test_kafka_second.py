"""Topics of a second broker that shares no code with the first, and of one that wants TLS and SASL."""

import random
import subprocess
from collections import Counter

import pytest
from certificates import Authority
from conftest import TENON, Company
from tansu import Gate, Tansu, produce, topic
from test_kafka import balanced, declare, ids, reading, stream, table

PASSWORD = "correct-horse-battery"


@pytest.fixture
def company(tmp_path):
    folder = tmp_path / "acme"
    subprocess.run([TENON, "init", str(folder), "--name", "acme"], check=True, capture_output=True)
    return Company(folder, {})


def reads(company, address, security=""):
    """Has the company read the topic at this address, by this security."""
    declare(company.folder, address, more=security, latency="200ms")
    company.run("apply")


def said_nowhere(company, *texts):
    for text in texts:
        assert PASSWORD not in text, text
    for path in (company.folder / ".tenon").rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_a_second_broker_is_read_once_too(company):
    broker = Tansu()
    how = {"bootstrap.servers": broker.address}
    try:
        topic(how)
        reads(company, broker.address, 'group = "watchers"')
        dice, number, poisoned = random.Random(3), 0, 0
        for _ in range(12):
            process = subprocess.Popen(
                [TENON, "--dir", str(company.folder), "ingest", "readings", "--follow"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for _ in range(dice.randrange(2, 6)):
                count = dice.randrange(50, 200)
                produce(how, stream(range(number, number + count)) + [(dice.randrange(4), b"poison")])
                number, poisoned = number + count, poisoned + 1
            process.kill()
            process.wait()
            assert b"panicked" not in process.stderr.read()
        company.run("ingest", "readings")
        assert Counter(ids(company)) == Counter(range(number))
        assert table(company, "readings__quarantine").num_rows == poisoned
        sums = balanced(company)["datasets"]["readings"]
        assert (sums["rows_in"], sums["accepted"], sums["quarantined"]) == (number + poisoned, number, poisoned)
        assert sum(sums["positions"].values()) == number + poisoned
    finally:
        broker.stop()


def test_tls_with_an_authority_and_a_certificate_of_our_own(company, tmp_path):
    authority, stranger = Authority(tmp_path, "acme"), Authority(tmp_path, "stranger")
    ours, theirs = authority.issue("tenon"), stranger.issue("somebody")
    gate = Gate(tls=authority.issue("broker"), clients=authority.path)
    how = {
        "bootstrap.servers": gate.address,
        "security.protocol": "ssl",
        "ssl.ca.location": str(authority.path),
        "ssl.certificate.location": str(ours[0]),
        "ssl.key.location": str(ours[1]),
    }
    try:
        topic(how)
        produce(how, stream(range(100)))
        security = 'security = {{ tls = true, ca = "{}", certificate = "{}", key = "file:{}" }}'
        reads(company, gate.address, security.format(authority.path, *ours))
        company.run("ingest", "readings")
        assert sorted(ids(company)) == list(range(100))
        produce(how, stream(range(100, 200)))
        # An authority that did not sign what the broker shows.
        reads(company, gate.address, security.format(stranger.path, *ours))
        done = company.run("--output", "json", "ingest", "readings", check=False)
        assert done.returncode == 3 and "certificate" in done.stdout and "do not come together" in done.stdout, done.stdout
        # Our certificate is from an authority that the broker does not know; and none at all.
        for shown in (theirs, None):
            how_shown = security.format(authority.path, *shown) if shown else f'security = {{ tls = true, ca = "{authority.path}" }}'
            reads(company, gate.address, how_shown)
            done = company.run("--output", "json", "ingest", "readings", check=False)
            assert done.returncode == 3 and "readings" in done.stdout and "SSL" in done.stdout, done.stdout
        # Without TLS one hears nothing that helps, but in time.
        reads(company, gate.address, "")
        done = company.run("--output", "json", "ingest", "readings", check=False)
        assert done.returncode == 3 and gate.address in done.stdout, done.stdout
        assert sorted(ids(company)) == list(range(100))
        reads(company, gate.address, security.format(authority.path, *ours))
        company.run("ingest", "readings")
        assert sorted(ids(company)) == list(range(200))
        key = ours[1].read_text().splitlines()[1]
        for path in (company.folder / ".tenon").rglob("*"):
            assert not path.is_file() or key.encode() not in path.read_bytes(), path
        balanced(company)
    finally:
        gate.stop()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_and_a_password(company, tmp_path, monkeypatch, mechanism):
    authority = Authority(tmp_path, "acme")
    gate = Gate(tls=authority.issue("broker"), users={"ana": PASSWORD})
    how = {
        "bootstrap.servers": gate.address,
        "security.protocol": "sasl_ssl",
        "ssl.ca.location": str(authority.path),
        "sasl.mechanism": mechanism,
        "sasl.username": "ana",
        "sasl.password": PASSWORD,
    }
    try:
        topic(how)
        produce(how, stream(range(100)))
        sasl = f'mechanism = "{mechanism}", username = "{{}}", password = "env:ACME_PASSWORD"'
        security = f'security = {{{{ tls = true, ca = "{authority.path}", sasl = {{{{ {sasl} }}}} }}}}'
        reads(company, gate.address, security.format("ana"))
        monkeypatch.setenv("ACME_PASSWORD", PASSWORD)
        done = company.run("ingest", "readings")
        assert sorted(ids(company)) == list(range(100))
        said_nowhere(company, done.stdout, done.stderr)
        assert (mechanism, True) in gate.logins
        produce(how, [(0, reading(100))])
        # A wrong password, and somebody whom nobody knows.
        for name, password in (("ana", PASSWORD + "x"), ("bob", PASSWORD)):
            reads(company, gate.address, security.format(name))
            monkeypatch.setenv("ACME_PASSWORD", password)
            done = company.run("--output", "json", "ingest", "readings", check=False)
            assert done.returncode == 3 and "SASL authentication error" in done.stdout, done.stdout + done.stderr
            assert "readings" in done.stdout and "these credentials are not right" in done.stdout, done.stdout
            said_nowhere(company, done.stdout, done.stderr)
        assert len(ids(company)) == 100
        monkeypatch.setenv("ACME_PASSWORD", PASSWORD)
        reads(company, gate.address, security.format("ana"))
        company.run("ingest", "readings")
        assert len(ids(company)) == 101
        balanced(company)
    finally:
        gate.stop()


def test_one_who_follows_comes_in_once_the_password_is_right(company, tmp_path):
    from test_kafka import eventually

    gate = Gate(users={"ana": PASSWORD})
    how = {
        "bootstrap.servers": gate.address,
        "security.protocol": "sasl_plaintext",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "ana",
        "sasl.password": PASSWORD,
    }
    try:
        topic(how)
        produce(how, stream(range(100)))
        (company.folder / "password").write_text("wrong")
        sasl = '[source.kafka.security.sasl]\nmechanism = "SCRAM-SHA-256"\nusername = "ana"\npassword = "file:password"'
        reads(company, gate.address, sasl)
        with open(tmp_path / "said", "w+") as said:
            process = subprocess.Popen(
                [TENON, "--dir", str(company.folder), "ingest", "readings", "--follow"], stdout=subprocess.DEVNULL, stderr=said
            )
            try:
                eventually(lambda: "SASL authentication error" in (tmp_path / "said").read_text())
                (company.folder / "password").write_text(PASSWORD)
                eventually(lambda: len(ids(company)) == 100)
            finally:
                process.terminate()
                assert process.wait(timeout=30) == 0
        said_nowhere(company, (tmp_path / "said").read_text())
    finally:
        gate.stop()
