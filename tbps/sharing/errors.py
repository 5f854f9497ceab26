"""What can go wrong on the way to the Hub, in one line that never holds the token."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants, get_token

# HTTPError is that of the HTTP client, which huggingface_hub has changed before: its own import follows it
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

ADVICE = {
    401: "the Hub refused the token (401): it is wrong or has expired. Make one with write access and run "
    "`hf auth login`, or set HF_TOKEN.",
    403: "no permission (403): expected a token with write access, and a repository of yours or of an organisation "
    "that you may write to.",
    404: "no such repository or revision (404), or a private one that this token does not see.",
}


class SharingError(ValueError):
    """A model cannot be shared; the message is one line and says what to do."""


@contextmanager
def hub_errors(repo_id: str, token: str | None = None) -> Iterator[None]:
    """Turn what `huggingface_hub` raises within the block into a `SharingError`.

    Args:
        repo_id: named in the message. token: the one in use; None takes the one that the user logged in with.

    Raises:
        SharingError: a refusal by the Hub, an upload that broke off, no connection.
    """
    where, given = f"{repo_id} on {constants.ENDPOINT}", token or get_token()
    # from None: a traceback would show the answer of the server, which may repeat the token
    try:
        yield
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise SharingError(f"{where}: {explain(error, given)}") from None
    except RuntimeError as error:  # an upload to the large file storage wraps its cause
        if not isinstance(error.__cause__, HTTPError):
            raise
        raise SharingError(f"{where}: {error} {explain(error.__cause__, given)}") from None


def explain(error: Exception, token: str | None) -> str:
    """One line: what the status of the answer means, and what the server said, without the token."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    said = getattr(error, "server_message", None)
    if status == 401 and token is None:
        return "not logged in. Run `hf auth login`, or set HF_TOKEN, with a token that has write access."
    if status in ADVICE:
        line = ADVICE[status] + (f" The server said: {said}" if said else "")
    else:
        line = f"{type(error).__name__}: {error}"
    line = " ".join(line.split())
    return line.replace(token, "<token>") if token else line
