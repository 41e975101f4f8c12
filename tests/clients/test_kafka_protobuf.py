"""Protobuf by the registry's schemas: messages written by Confluent's own serializer and by Python's protobuf, against a real
broker."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2, wrappers_pb2
from ports import free_port
from test_kafka import balanced, broker, declare, readings, table  # noqa: F401

MOMENT = 1767225600
READING = """syntax = "proto3";
package acme;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "common/place.proto";
message Other { int32 n = 1; }
message Reading {
  int64 id = 1;
  google.protobuf.DoubleValue value = 2;
  google.protobuf.Timestamp at = 3;
  acme.common.Place place = 4;
  enum Kind { HOT = 0; COLD = 1; }
  Kind kind = 5;
  repeated string tags = 6;
  message Inner { int64 id = 1; google.protobuf.Timestamp at = 2; }
}
"""
PLACE = 'syntax = "proto3"; package acme.common; message Place { string name = 1; }'
MORE = 'format = "protobuf"\nregistry = {{ url = "{}" }}'
COLUMNS = """
[contract.columns.place]
type = "string"
nullable = true
[contract.columns.kind]
type = "string"
nullable = true
[contract.columns.tags]
type = "string"
nullable = true
"""


class Registry:
    """As much of Confluent's registry as a producer and a reader ask for: schemas, subjects, references."""

    def __init__(self):
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.schemas, self.subjects = {}, {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, body, status=200):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def path_parts(self):
                return [unquote(part) for part in self.path.split("?")[0].strip("/").split("/")]

            def do_GET(self):
                match self.path_parts():
                    case ["schemas", "ids", number] if int(number) in registry.schemas:
                        self.answer(registry.schemas[int(number)])
                    case ["subjects", subject, "versions", version] if version in registry.subjects.get(subject, {}):
                        number = registry.subjects[subject][version]
                        self.answer({"subject": subject, "version": int(version), "id": number, **registry.schemas[number]})
                    case _:
                        self.answer({"error_code": 40403, "message": "not found"}, 404)

            def do_POST(self):
                schema = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                parts = self.path_parts()
                number = registry.add(parts[1], schema)
                self.answer({"subject": parts[1], "version": 1, "id": number, **registry.schemas[number]})

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, subject, schema):
        if "1" in self.subjects.get(subject, {}):
            return self.subjects[subject]["1"]
        number = len(self.schemas) + 1
        self.schemas[number] = {name: schema[name] for name in ("schema", "schemaType", "references") if name in schema}
        self.subjects.setdefault(subject, {})["1"] = number
        return number

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def classes():
    """Python's classes for the schema above: there is no compiler here that would make them."""
    F = descriptor_pb2.FieldDescriptorProto

    def field(message, name, number, kind, type_name=None, label=F.LABEL_OPTIONAL):
        message.field.add(name=name, number=number, type=kind, label=label, type_name=type_name)

    pool = descriptor_pool.DescriptorPool()
    for module in (timestamp_pb2, wrappers_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        pool.Add(file)
    place = descriptor_pb2.FileDescriptorProto(name="common/place.proto", package="acme.common", syntax="proto3")
    field(place.message_type.add(name="Place"), "name", 1, F.TYPE_STRING)
    pool.Add(place)
    imports = ["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto", "common/place.proto"]
    file = descriptor_pb2.FileDescriptorProto(name="reading.proto", package="acme", syntax="proto3", dependency=imports)
    field(file.message_type.add(name="Other"), "n", 1, F.TYPE_INT32)
    reading = file.message_type.add(name="Reading")
    kinds = reading.enum_type.add(name="Kind")
    kinds.value.add(name="HOT", number=0)
    kinds.value.add(name="COLD", number=1)
    field(reading, "id", 1, F.TYPE_INT64)
    field(reading, "value", 2, F.TYPE_MESSAGE, ".google.protobuf.DoubleValue")
    field(reading, "at", 3, F.TYPE_MESSAGE, ".google.protobuf.Timestamp")
    field(reading, "place", 4, F.TYPE_MESSAGE, ".acme.common.Place")
    field(reading, "kind", 5, F.TYPE_ENUM, ".acme.Reading.Kind")
    field(reading, "tags", 6, F.TYPE_STRING, label=F.LABEL_REPEATED)
    inner = reading.nested_type.add(name="Inner")
    field(inner, "id", 1, F.TYPE_INT64)
    field(inner, "at", 2, F.TYPE_MESSAGE, ".google.protobuf.Timestamp")
    pool.Add(file)
    found = [pool.FindMessageTypeByName(name) for name in ("acme.Reading", "acme.Reading.Inner", "acme.Other")]
    return [message_factory.GetMessageClass(kind) for kind in found]


def framed(schema_id, indexes, body):
    return b"\0" + schema_id.to_bytes(4, "big") + bytes(indexes) + body


def test_protobuf_by_the_registrys_schemas(broker, readings):  # noqa: F811
    broker.topic()
    registry = Registry()
    Reading, Inner, Other = classes()
    client = SchemaRegistryClient({"url": registry.address})
    context = SerializationContext("readings", MessageField.VALUE)
    company = readings(more=MORE.format(registry.address), tail=COLUMNS)

    def reading(number):
        message = Reading(id=number, kind=number % 2, tags=["a", "b"] if number % 2 else [])
        message.at.seconds = MOMENT
        if number % 3:
            message.value.value = number / 2
        if number % 5 == 0:
            message.place.name = "Newark"
        return message

    # Confluent's serializer registers the schema, as a descriptor, and what it imports; another program did as text.
    serialize = ProtobufSerializer(Reading, client, {})
    from_confluent = [serialize(reading(n), context) for n in range(50)]
    place = registry.add("place-by-text", {"schema": PLACE, "schemaType": "PROTOBUF"})
    references = [{"name": "common/place.proto", "subject": "place-by-text", "version": 1}]
    text = registry.add("reading-by-text", {"schema": READING, "schemaType": "PROTOBUF", "references": references})
    body = lambda n: reading(n).SerializeToString()
    from_text = [framed(text, [2, 2], body(n)) for n in range(50, 100)]
    inner = Inner(id=100)
    inner.at.seconds = MOMENT
    # Within the second type of the file, the first.
    from_text.append(framed(text, [4, 2, 0], inner.SerializeToString()))
    missing = registry.add("nobody", {"schema": READING, "schemaType": "PROTOBUF", "references": [
        {"name": "common/place.proto", "subject": "gone", "version": 3}]})
    avro = registry.add("avro", {"schema": '"string"'})
    bad = {
        "its schema id is unknown to the registry": framed(999, [2, 2], body(1)),
        "not what its Protobuf schema says": from_text[7][:-1],
        "its schema has no such message type": framed(text, [2, 8], body(1)),
        "it does not say which message type it is": framed(text, [], b""),
        "not in the Confluent wire format": b"{}",
        "its schema cannot be followed": framed(missing, [2, 2], body(1)),
        "its schema is not a Protobuf schema": framed(avro, [0], b"x"),
        "at: missing": framed(text, [0], Other(n=7).SerializeToString()),
    }
    messages = from_confluent + from_text
    for at, value in enumerate(bad.values()):
        messages.insert(at * 10, value)
    broker.produce([(at % 4, value) for at, value in enumerate(messages)])
    taken = company.json("ingest", "readings")[0]["outcome"]["taken"]
    rules = {reason["rule"]: reason["rows"] for reason in taken["reasons"]}
    # The other type has neither id nor moment.
    assert rules.pop("id: missing") == 1
    assert rules == dict.fromkeys(bad, 1)
    assert (taken["accepted"], taken["quarantined"]) == (101, 8)
    held = {row["id"]: row for row in table(company).to_pylist()}
    assert sorted(held) == list(range(101))
    assert {row["at"].timestamp() for row in held.values()} == {MOMENT}
    for n in range(100):
        row = held[n]
        assert row["value"] == (n / 2 if n % 3 else None)
        assert row["kind"] == ("COLD" if n % 2 else "HOT")
        assert json.loads(row["tags"]) == (["a", "b"] if n % 2 else [])
        assert (row["place"] and json.loads(row["place"])) == ({"name": "Newark"} if n % 5 == 0 else None)
    # All bytes of what was set aside are there.
    kept = [json.loads(row["_row"]) for row in table(company, "readings__quarantine").to_pylist()]
    bytes_kept = {base64.b64decode(row["_value_base64"]) if "_value_base64" in row else row.get("_value", "").encode() for row in kept}
    assert {value for rule, value in bad.items() if rule != "at: missing"} <= bytes_kept
    assert place and company.json("ingest", "readings")[0]["outcome"]["taken"]["rows_in"] == 0
    registry.stop()
    balanced(company)


def test_a_registry_is_asked_for_with_the_declaration(broker, readings):  # noqa: F811
    company = readings()
    declare(company.folder, broker.address, more='format = "protobuf"')
    done = company.run("plan", check=False)
    assert done.returncode == 1 and "Protobuf needs a schema registry" in done.stderr, done.stderr
