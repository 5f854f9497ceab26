"""What the tests' Hub keeps in memory: repositories with branches and commits, large files, and its rules of a card."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

# of the Hub's published list of tasks, those that a retrieval model might take
PIPELINE_TAGS = ("feature-extraction", "image-feature-extraction", "zero-shot-image-classification", "other")


class RefusalError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, code: str, message: str, body: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.body = status, code, message, body or {}


@dataclass
class Repository:
    """Branches by name, and the files of each commit."""

    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def head(self, revision: str) -> str:
        """The commit of a branch, or a commit itself."""
        commit = self.branches.get(revision, revision)
        if commit not in self.commits:
            raise RefusalError(404, "RevisionNotFound", f"revision {revision} does not exist")
        return commit

    def files(self, revision: str) -> dict[str, bytes]:
        return self.commits[self.head(revision)]

    def branch(self, name: str) -> None:
        if name in self.branches:
            raise RefusalError(409, "", f"branch {name} exists")
        self.branches[name] = self.branches["main"]

    def commit(self, branch: str, changed: dict[str, bytes]) -> str:
        """Add a commit to a branch; returns its name."""
        commit = hashlib.sha1(f"{len(self.commits)} {sorted(changed)}".encode()).hexdigest()
        before = self.files(branch) if branch in self.branches else {}
        self.commits[commit] = {**before, **changed}
        self.branches[branch] = commit
        return commit


class Store:
    """All repositories, and the large files that were put."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}

    def create(self, repo: str, private: bool, url: str) -> None:
        if repo in self.repositories:
            raise RefusalError(409, "", "You already created this model repo", {"url": url})
        self.repositories[repo] = Repository(private)
        self.repositories[repo].commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})

    def repository(self, repo: str) -> Repository:
        if repo not in self.repositories:
            raise RefusalError(404, "RepoNotFound", "Repository not found")
        return self.repositories[repo]

    def put(self, oid: str, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != oid:
            raise RefusalError(400, "", "content and name differ")
        self.large[oid] = data

    def etag(self, data: bytes) -> str:
        """As the Hub's: SHA-256 of a large file, git's blob name of any other."""
        oid = hashlib.sha256(data).hexdigest()
        return oid if oid in self.large else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def validate_card(content: str) -> list[str]:
    """What the Hub would say against the YAML block of a card: the rules that its documentation gives."""
    block = re.match(r"---\n(.*?)\n---\n", content, flags=re.DOTALL)
    if block is None:
        return ["no YAML block"]
    data = yaml.safe_load(block[1])
    errors = [f"{key} is empty" for key, value in data.items() if value in (None, "", [])]
    datasets = data.get("datasets", [])
    errors += [f"datasets: {name!r} is no id" for name in datasets if not re.fullmatch(r"[\w./-]+", name)]
    if data.get("pipeline_tag", PIPELINE_TAGS[0]) not in PIPELINE_TAGS:
        errors.append(f"pipeline_tag {data['pipeline_tag']!r} is not in the official list")
    if data.get("license") == "other" and not {"license_name", "license_link"} <= data.keys():
        errors.append("license: other wants license_name and license_link")
    results = [result for model in data.get("model-index", []) for result in model["results"]]
    if not all({"type", "name"} <= result["dataset"].keys() and "type" in result["task"] for result in results):
        errors.append("model-index: a task wants a type, a dataset type and name")
    if not all({"type", "value"} <= metric.keys() for result in results for metric in result["metrics"]):
        errors.append("model-index: a metric wants type and value")
    return errors
