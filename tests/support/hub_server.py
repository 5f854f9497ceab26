"""A Hub small enough for a test: what `huggingface_hub` asks of one to push and pull a model, over real HTTP.

It knows one token, refuses every other (401) and the namespace "forbidden" (403), and is as talkative as a server
should not be: its refusals repeat the Authorization header. Xet is not spoken: set HF_HUB_DISABLE_XET=1.
"""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from hub_store import RefusalError, Repository, Store, validate_card

TOKEN = "hf_SecretSecretSecretSecretSecret"


class Route(NamedTuple):
    """A request that the server answers, by the method of `Handler` that does."""

    method: str
    pattern: re.Pattern[str]
    answer: str
    writes: bool


def route(method: str, pattern: str, answer: str, writes: bool = False) -> Route:
    repo = r"(?P<repo>[\w.-]+/[\w.-]+?)"
    return Route(method, re.compile(pattern.replace("REPO", repo)), answer, writes)


ROUTES = (
    route("POST", r"/api/repos/create", "create", writes=True),
    route("POST", r"/api/validate-yaml", "validate"),
    route("POST", r"/api/models/REPO/preupload/(?P<revision>.+)", "preupload", writes=True),
    route("POST", r"/api/models/REPO/branch/(?P<revision>.+)", "branch", writes=True),
    route("POST", r"/api/models/REPO/commit/(?P<revision>.+)", "commit", writes=True),
    route("POST", r"/REPO\.git/info/lfs/objects/batch", "batch", writes=True),
    route("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "put"),
    route("GET", r"/api/models/REPO/revision/(?P<revision>[^/]+)", "info"),
    route("GET", r"/api/models/REPO/tree/(?P<revision>[^/]+)(/(?P<path>.+))?", "tree"),
    route("GET", r"/api/models/REPO", "info"),
    route("HEAD", r"/REPO/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    route("GET", r"/REPO/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
)


class Handler(BaseHTTPRequestHandler):
    """Answers `ROUTES`; an answer is JSON, or bytes with headers."""

    protocol_version = "HTTP/1.1"
    server: "HubServer"

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(self.chunks())
        try:
            for method, pattern, name, writes in ROUTES:
                match = pattern.fullmatch(path)
                if method == self.command and match:
                    found = {key: value for key, value in match.groupdict().items() if value is not None}
                    self.authorize(found.get("repo"), writes)
                    content, headers = getattr(self, name)(**found)
                    return self.send(200, content, headers)
            raise RefusalError(404, "EntryNotFound", f"no answer to {self.command} {path}")
        except RefusalError as refusal:
            said = f"{refusal.message} (got {self.headers.get('Authorization')})"
            return self.send(refusal.status, json.dumps({"error": said, **refusal.body}).encode(),
                             {"X-Error-Code": refusal.code} if refusal.code else {})  # fmt: skip

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - as http.server names them

    def chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def authorize(self, repo: str | None, writes: bool) -> None:
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {TOKEN}") or (writes and given is None):
            raise RefusalError(401, "", "Invalid credentials in Authorization header")
        if writes and repo is not None and repo.startswith("forbidden/"):
            raise RefusalError(403, "", "You may not write to this repository")
        known = self.server.store.repositories.get(repo or "")
        if known is not None and known.private and given is None:
            raise RefusalError(401, "RepoNotFound", "Repository not found")

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.server.requests.append((self.command, unquote(urlsplit(self.path).path), status))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: what the client says there is what is tested."""

    def create(self) -> tuple[bytes, dict[str, str]]:
        asked = json.loads(self.body)
        repo = f"{asked['organization'] or 'someone'}/{asked['name']}"
        if repo.startswith("forbidden/"):
            raise RefusalError(403, "", f"You don't have the rights to create a model under the namespace of {repo}")
        address = f"{self.server.endpoint}/{repo}"
        self.server.store.create(repo, private=asked.get("visibility") == "private", url=address)
        return as_json({"url": address})

    def validate(self) -> tuple[bytes, dict[str, str]]:
        errors = validate_card(json.loads(self.body)["content"])
        if errors:
            raise RefusalError(400, "", "invalid", {"errors": [{"message": error} for error in errors]})
        return as_json({"errors": [], "warnings": []})

    def preupload(self, repo: str, revision: str) -> tuple[bytes, dict[str, str]]:
        self.repository(repo).head(revision)
        files = [
            {"path": path, "shouldIgnore": False, "uploadMode": "lfs" if path.endswith(".safetensors") else "regular"}
            for path in (file["path"] for file in json.loads(self.body)["files"])
        ]
        return as_json({"files": files})

    def branch(self, repo: str, revision: str) -> tuple[bytes, dict[str, str]]:
        self.repository(repo).branch(revision)
        return as_json({})

    def batch(self, repo: str) -> tuple[bytes, dict[str, str]]:
        asked = json.loads(self.body)["objects"]
        return as_json({"transfer": "basic", "objects": [
            {**item, "actions": {"upload": {"href": f"{self.server.endpoint}/lfs/{item['oid']}"}}} for item in asked
        ]})  # fmt: skip

    def put(self, oid: str) -> tuple[bytes, dict[str, str]]:
        self.server.store.put(oid, self.body)
        return b"", {}

    def commit(self, repo: str, revision: str) -> tuple[bytes, dict[str, str]]:
        files: dict[str, bytes] = {}
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.store.large[value["oid"]]
        commit = self.repository(repo).commit(revision, files)
        return as_json({"commitOid": commit, "commitUrl": f"{self.server.endpoint}/{repo}/commit/{commit}"})

    def info(self, repo: str, revision: str = "main") -> tuple[bytes, dict[str, str]]:
        repository = self.repository(repo)
        commit = repository.head(revision)
        siblings = [{"rfilename": path} for path in repository.commits[commit]]
        return as_json({"id": repo, "sha": commit, "private": repository.private, "siblings": siblings, "tags": []})

    def tree(self, repo: str, revision: str, path: str = "") -> tuple[bytes, dict[str, str]]:
        files = self.repository(repo).files(revision)
        inside = {name: data for name, data in files.items() if not path or name.startswith(f"{path}/")}
        if path and not inside:
            raise RefusalError(404, "EntryNotFound", f"{path} does not exist")
        return as_json([{"type": "file", "path": name, "size": len(data), "oid": self.server.store.etag(data)}
                        for name, data in inside.items()])  # fmt: skip

    def resolve(self, repo: str, revision: str, path: str) -> tuple[bytes, dict[str, str]]:
        repository = self.repository(repo)
        data = repository.files(revision).get(path)
        if data is None:
            raise RefusalError(404, "EntryNotFound", f"{path} does not exist")
        return data, {"ETag": f'"{self.server.store.etag(data)}"', "X-Repo-Commit": repository.head(revision)}

    def repository(self, repo: str) -> Repository:
        return self.server.store.repository(repo)


def as_json(value: Any) -> tuple[bytes, dict[str, str]]:
    return json.dumps(value).encode(), {"Content-Type": "application/json"}


class HubServer(ThreadingHTTPServer):
    """Listens on a free port of this machine; what it was asked is in `requests`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.store = Store()
        self.requests: list[tuple[str, str, int]] = []


@contextmanager
def running_hub() -> Iterator[HubServer]:
    """A server for the time of a test."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def log_in(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process, whose environment was read before the server had an address, speak to it."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "no-login")
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # made once, for the endpoint of that time
    monkeypatch.setenv("HF_TOKEN", TOKEN)
