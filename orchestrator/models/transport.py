"""Why an endpoint couldn't be reached: the SDKs say that it couldn't, the exceptions below theirs why."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic_ai.exceptions import ModelConnectionError, ModelTimeoutError

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.models.families import Choice


def untrusted(error: Exception, choice: Choice) -> ConfigError | None:
    """Return what is wrong with the endpoint's TLS, or None where nothing is. It won't be better a minute later."""
    root, host = _root(error), urlsplit(choice.base_url).hostname
    if isinstance(root, ssl.SSLCertVerificationError):
        hint = "ask by the name that the certificate is for, or name its authority's file: export SSL_CERT_FILE=PATH"
        return ConfigError(f"the certificate of {host} is not trusted", cause=root.verify_message, hint=hint)
    if isinstance(root, ssl.SSLError) and root.reason == "WRONG_VERSION_NUMBER":
        address = choice.base_url.replace("https:", "http:", 1)
        hint = f"is it plain http? --base-url {address}"
        return ConfigError(f"{host} doesn't speak TLS", cause=f"what it answers {choice.base_url} isn't TLS", hint=hint)
    return None


def reason(error: ModelConnectionError, choice: Choice) -> str:
    """Return how the connection failed, in the system's words."""
    url, root = urlsplit(choice.base_url), _root(error)
    if isinstance(root, socket.gaierror):
        return f"the name {url.hostname} can't be resolved: {root.strerror}"
    if isinstance(root, ConnectionRefusedError):
        return f"nothing listens at {url.netloc}: connection refused"
    if isinstance(error, ModelTimeoutError):
        return f"no {'connection to' if error.phase == 'connect' else 'answer from'} {url.netloc} in time"
    return (root.strerror if isinstance(root, OSError) else str(root)) or str(error)


def remedy(error: Exception, choice: Choice) -> str:
    """Return what to do about an endpoint that doesn't answer."""
    if choice.family.base_url or not isinstance(_root(error), socket.gaierror | ConnectionRefusedError):
        return "try again later, or another --model"
    return "start its server, or mend --base-url"


def _root(error: BaseException) -> BaseException:
    """Return the exception that the others were raised from; of several addresses that were tried, the first one's."""
    if isinstance(error, BaseExceptionGroup):
        return _root(error.exceptions[0])
    below = error.__cause__ or error.__context__
    return error if below is None else _root(below)
