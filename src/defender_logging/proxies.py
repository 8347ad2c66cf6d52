"""The proxy that the environment names: ``HTTPS_PROXY`` and ``NO_PROXY``, read when a handler is made.

``settings`` asks here when ``proxy_url`` is not given. Only for ``https://`` addresses: what goes through a proxy is
then a tunnel, and the key is inside it. This machine's own addresses are never sent to a proxy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from defender_logging import parsers
from defender_logging.secret import Url

__all__ = ["environment_proxy", "is_exempt"]

_PORT = re.compile("[0-9]{1,5}")


def environment_proxy(url: Url, environment: Mapping[str, str]) -> Url | None:
    """Return the proxy for ``url``, None for none. Lower case goes before upper case, as with curl.

    Raises:
        ValueError: the variable holds no address of a proxy that we can use; begins with its name.
    """
    if url.scheme != "https" or url.is_loopback:
        return None
    name = next((each for each in ("https_proxy", "HTTPS_PROXY") if environment.get(each, "").strip()), None)
    if name is None or is_exempt(url, environment.get("no_proxy") or environment.get("NO_PROXY") or ""):
        return None
    text = environment[name].strip()
    try:
        return parsers.proxy_url(text if "://" in text else f"http://{text}")
    except ValueError as error:
        raise ValueError(
            f"{name} of the environment {error}; set proxy_url, or name {url.host} in NO_PROXY"
        ) from None


def is_exempt(url: Url, no_proxy: str) -> bool:
    """Say whether ``NO_PROXY`` names the host: itself, a domain above it, an address range, or ``*``."""
    return any(_names(entry.strip().lower(), url) for entry in no_proxy.split(","))


def _names(entry: str, url: Url) -> bool:
    host, _, port = entry.rpartition(":")
    is_ipv6_alone = ":" in host and not host.endswith("]")
    if host and _PORT.fullmatch(port) and not is_ipv6_alone:
        return int(port) == url.port and _names(host, url)
    entry = entry.strip("[]")
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(url.host) in ipaddress.ip_network(entry, strict=False)
    except (TypeError, ValueError):  # One of the two is a name.
        domain = entry.removeprefix("*").removeprefix(".")
        return bool(domain) and (url.host == domain or url.host.endswith(f".{domain}"))
