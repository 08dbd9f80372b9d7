"""Local servers in the layouts of torchvision's downloads and of the Hugging Face hub; caches in temporary folders."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


class _Hub(_Quiet):
    """Answers ``/<owner>/<repository>/resolve/<revision>/<file>`` with the headers that the hub's client reads."""

    def translate_path(self, path):
        owner, repository, _, _, file = path.strip("/").split("/")
        return super().translate_path(f"/{owner}/{repository}/{file}")

    def end_headers(self):
        file = self.translate_path(self.path)
        try:
            with open(file, "rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("ETag", f'"{self.server.etag or digest}"')
            self.send_header("X-Repo-Commit", COMMIT)
        super().end_headers()


@pytest.fixture
def serve(tmp_path):
    """Return a function that serves ``tmp_path / "served"`` and gives its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    servers = []

    def start(handler=_Quiet, etag=None):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        server.etag = etag
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    start.folder = folder
    start.hub = partial(start, _Hub)
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    """No test sees or fills the caches of the person who runs it, nor is told to stay offline by their shell."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("ONETRUNK_OFFLINE", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
