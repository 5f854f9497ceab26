"""Errors of the Hub, explained in one line that never contains the token."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants, get_token

# import HTTPError from here: it belongs to the HTTP client, which huggingface_hub has changed before
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

ADVICE = {
    401: "the Hub refused the token (401): it is wrong or has expired. Make one with write access and run "
    "`hf auth login`, or set HF_TOKEN.",
    403: "no permission (403): expected a token with write access, and a repository of yours or of an organisation "
    "that you may write to.",
    404: "no such repository or revision (404), or a private one that this token does not see.",
}


class SharingError(ValueError):
    """A model cannot be shared. The message is one line and says what to do."""


@contextmanager
def hub_errors(repo_id: str, token: str | None = None) -> Iterator[None]:
    """Convert errors of `huggingface_hub` to `SharingError`.

    Args:
        repo_id: The repository, for the message.
        token: The token in use; None for the token that the user logged in with.

    Raises:
        SharingError: The Hub refused a request, an upload was interrupted, or there is no connection.
    """
    where, used_token = f"{repo_id} on {constants.ENDPOINT}", token or get_token()
    # from None: a traceback would show the response of the server, which may contain the token
    try:
        yield
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise SharingError(f"{where}: {explain(error, used_token)}") from None
    except RuntimeError as error:  # an upload of large files wraps the cause
        if not isinstance(error.__cause__, HTTPError):
            raise
        raise SharingError(f"{where}: {error} {explain(error.__cause__, used_token)}") from None


def explain(error: Exception, token: str | None) -> str:
    """Explain the status of the response and quote the server in one line, with the token removed."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    server_message = getattr(error, "server_message", None)
    if status == 401 and token is None:
        return "not logged in. Run `hf auth login`, or set HF_TOKEN, with a token that has write access."
    if status in ADVICE:
        line = ADVICE[status] + (f" The server said: {server_message}" if server_message else "")
    else:
        line = f"{type(error).__name__}: {error}"
    line = " ".join(line.split())
    return line.replace(token, "<token>") if token else line
