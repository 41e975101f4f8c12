"""An S3 server (PyPI `moto`, a process of its own), and a proxy before it that is as bad as a test wants it to be."""

import http.client
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from ports import free_port, wait_until_open

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
REFUSED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id you provided does not exist in our records.</Message>
<AWSAccessKeyId>%s</AWSAccessKeyId></Error>"""


class Server:
    """The server itself, without faults."""

    def __init__(self, bucket: str):
        self.bucket, self.port = bucket, free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until_open(self.port, "the S3 server")
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=bucket)

    def put(self, key: str, body: bytes):
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Proxy:
    """Stands before a server. One request in ten fails (500, 503, a cut before the answer, a cut within it), and one in
    ten is late, where `faulty`. `before` is called with each request's method and path before it goes on."""

    def __init__(self, server: Server, faulty: bool = False, seed: int = 4, tls: tuple | None = None):
        self.server, self.faulty, self.dice = server, faulty, random.Random(seed)
        self.requests, self.faults = [], []
        self.before, self.only_key = lambda method, path: None, None
        self.lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                proxy.serve(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_):
                pass  # The other side went away, as it is meant to in these tests.

        self.http = Quiet(("127.0.0.1", 0), Handler)
        scheme = "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
            scheme = "https"
        self.address = f"{scheme}://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()

    def fault(self):
        with self.lock:
            die = self.dice.random()
            fault = None
            if self.faulty and die < 0.1:
                kinds = ["500", "cut within", "503", "cut before"]
                fault = kinds[sum(fault != "late" for fault in self.faults) % 4]
            elif self.faulty and die < 0.2:
                fault = "late"
            if fault:
                self.faults.append(fault)
        return fault

    def serve(self, request: BaseHTTPRequestHandler):
        self.requests.append((request.command, request.path, request.headers.get("Range")))
        if self.only_key and f"Credential={self.only_key}/" not in request.headers.get("Authorization", ""):
            credential = request.headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0]
            return answer(request, 403, [("Content-Type", "application/xml")], REFUSED % credential.encode())
        fault = self.fault()
        if fault in ("500", "503"):
            return answer(request, int(fault), [], b"<Error><Code>SlowDown</Code></Error>")
        if fault == "cut before":
            return cut(request)
        if fault == "late":
            time.sleep(1)
        self.before(request.command, request.path)
        onward = http.client.HTTPConnection("127.0.0.1", self.server.port)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        onward.request(request.command, request.path, headers=headers)
        got = onward.getresponse()
        body = got.read()
        kept = [(name, value) for name, value in got.getheaders() if name.lower() not in HOP_BY_HOP]
        length = got.getheader("Content-Length") if request.command == "HEAD" else None
        onward.close()
        answer(request, got.status, kept, body, length, within=fault == "cut within")


def answer(request, status, headers, body, length=None, within=False):
    request.send_response(status)
    for name, value in headers:
        request.send_header(name, value)
    request.send_header("Content-Length", length or str(len(body)))
    request.end_headers()
    if request.command == "HEAD":
        return
    if within:
        request.wfile.write(body[: len(body) // 2])
        request.wfile.flush()
        return cut(request)
    request.wfile.write(body)


def cut(request):
    """Closes the connection with a reset."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
    request.close_connection = True
