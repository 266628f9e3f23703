"""Put a report under a pull request on GitHub, or a merge request on GitLab: python scripts/comment.py FILE.

The comment of an earlier report is replaced. What it needs stands in the environment of their jobs, and a token:
GITHUB_TOKEN, which GitHub makes for each job, or GITLAB_TOKEN, of a user or project, with the scope api.
"""  # noqa: INP001 (a script)

import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST = 60_000
"""Characters that a comment may have, less some: 65,536 on GitHub."""


@dataclass(frozen=True)
class Thread:
    """The comments of a request: where they are listed and made, where each is changed and how, and who may."""

    comments: str
    comment: str
    change: str
    headers: Mapping[str, str]

    def put(self, body: str) -> str:
        """Make the comment, or change the earlier one that begins alike; return what was done."""
        mark = body.partition("\n")[0]
        for page in range(1, 100):
            found = self._ask("GET", f"{self.comments}?per_page=100&page={page}")
            for one in found:
                if one["body"].startswith(mark):
                    self._ask(self.change, f"{self.comment}/{one['id']}", body)
                    return f"changed comment {one['id']}"
            if len(found) < 100:
                break
        return f"made comment {self._ask('POST', self.comments, body)['id']}"

    def _ask(self, method: str, url: str, body: str | None = None) -> Any:
        data = None if body is None else json.dumps({"body": body}).encode()
        headers = {**self.headers, "Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 the server's own address
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)


def thread(environment: Mapping[str, str]) -> Thread:
    """Return the thread that a job's environment names; raise KeyError for what it lacks."""
    if "GITLAB_CI" in environment:
        project = f"{environment['CI_API_V4_URL']}/projects/{environment['CI_PROJECT_ID']}"
        notes = f"{project}/merge_requests/{environment['CI_MERGE_REQUEST_IID']}/notes"
        return Thread(notes, notes, "PUT", {"PRIVATE-TOKEN": environment["GITLAB_TOKEN"]})
    issues = f"{environment['GITHUB_API_URL']}/repos/{environment['GITHUB_REPOSITORY']}/issues"
    headers = {"Authorization": f"Bearer {environment['GITHUB_TOKEN']}", "Accept": "application/vnd.github+json"}
    return Thread(f"{issues}/{environment['PULL_REQUEST']}/comments", f"{issues}/comments", "PATCH", headers)


def shortened(page: str) -> str:
    """Return a page that a comment can hold, cut at the end of a line."""
    if len(page) <= MOST:
        return page
    return f"{page[:MOST].rpartition(chr(10))[0]}\n\n… the rest is in report.md, among the job's files.\n"


if __name__ == "__main__":
    print(thread(os.environ).put(shortened(Path(sys.argv[1]).read_text(encoding="utf-8"))))  # noqa: T201 its output
