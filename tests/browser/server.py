"""Starts a page's server as a process of its own on a free local port and waits until it says that it listens."""

import os
import socket
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """Owns the process; `lines` is all that it printed so far."""

    process: subprocess.Popen
    url: str
    lines: list[str] = field(default_factory=list)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_server(command: Sequence[str], port: int, ready: str, timeout_s: float = 180, cwd: Path = ROOT) -> Server:
    """Runs `command` until a line of its output contains `ready`; raises with the output if it ends first."""
    environment = {
        **os.environ,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    process = subprocess.Popen(
        list(command),
        cwd=cwd,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process, f"http://127.0.0.1:{port}")
    listens = threading.Event()

    def read() -> None:
        for line in process.stdout:
            server.lines.append(line.rstrip())
            if ready in line:
                listens.set()
        listens.set()

    threading.Thread(target=read, daemon=True).start()
    if not listens.wait(timeout_s) or process.poll() is not None:
        server.stop()
        raise RuntimeError("the server did not start:\n" + "\n".join(server.lines[-30:]))
    return server
