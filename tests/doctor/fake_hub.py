"""A hub on 127.0.0.1 that serves folders: as much of its interface as downloading a pinned repository asks for."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace


@contextmanager
def fake_hub(repositories: dict[tuple[str, str], Path], gated: frozenset[str] | set[str] = frozenset()):
    """Serve folders by (model id, commit); gives the address and the requests so far, as (method, path).

    Of gated ids it says that a licence has to be accepted first.
    """
    requests: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self._answer(with_body=False)

        def do_GET(self):
            self._answer(with_body=True)

        def _answer(self, with_body):
            path = self.path.split("?")[0]
            requests.append((self.command, path))
            if any(model_id in path for model_id in gated):
                status, headers, body = 403, {"X-Error-Code": "GatedRepo"}, b""
            else:
                status, headers, body = answer(repositories, path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield SimpleNamespace(endpoint=f"http://127.0.0.1:{server.server_port}", requests=requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(repositories, path):
    """Status, headers and body."""
    if path == "/":
        return 200, {}, b""
    for (model_id, commit), folder in repositories.items():
        if path == f"/api/models/{model_id}/revision/{commit}":
            return 200, {}, json.dumps({"id": model_id, "sha": commit, "siblings": []}).encode()
        if path == f"/api/models/{model_id}/tree/{commit}":
            return 200, {}, json.dumps([entry(folder, file) for file in files(folder)]).encode()
        start = f"/{model_id}/resolve/{commit}/"
        if path.startswith(start) and (folder / path.removeprefix(start)).is_file():
            payload = (folder / path.removeprefix(start)).read_bytes()
            etag = hashlib.sha256(payload).hexdigest()
            return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}, payload
    known = any(model_id in path for model_id, _ in repositories)
    return 404, {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"}, b""


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def entry(folder, file):
    payload = file.read_bytes()
    return {
        "type": "file",
        "path": file.relative_to(folder).as_posix(),
        "size": len(payload),
        "oid": hashlib.sha1(payload).hexdigest(),
    }
