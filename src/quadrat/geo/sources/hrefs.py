"""Resolves hrefs in JSON files to paths and addresses."""

import os
import posixpath
from pathlib import Path
from urllib.parse import quote, unquote, urljoin


def resolved(href: str, base: str) -> str:
    """Return the path or address that an href in the file or address ``base`` means (RFC 3986).

    A local file may be written as a URL or as its name: with or without escapes (``%20``, taken literally if a file
    has that name), with ``file://``, and with backslashes.
    """
    base = _existing(_path(base), "") if base.startswith("file:") else base
    if href.lower().startswith("file:"):
        return _existing(_path(href), "")
    if href.startswith("/vsi"):  # a GDAL path
        return href
    if "://" in href:
        return _web(href) if href.startswith("http") else href
    if base.startswith("http"):
        return _web(urljoin(base, href))
    if "://" in base:  # a bucket's key, whose characters are literal
        scheme, _, place = base.partition("://")
        bucket, _, key = place.partition("/")
        found = posixpath.join("/", posixpath.dirname(key), unquote(href))
        return f"{scheme}://{bucket}{posixpath.normpath(found)}"
    return _existing(href, str(Path(base).parent))


def _web(address: str) -> str:
    """Return an address without its fragment, with characters such as blanks escaped."""
    return quote(address.partition("#")[0], safe="%/:?[]@!$&'()*+,;=")


def _path(address: str) -> str:
    """Return the path of an address of a file (RFC 8089)."""
    path = address[len("file:") :]
    if not path.startswith("//"):
        return path
    host, _, rest = path[2:].partition("/")
    return f"/{rest}" if host.lower() in {"", "localhost"} else path


def _existing(href: str, folder: str) -> str:
    """Return the existing file; if there is none, the href unescaped as in an address."""
    meant = unquote(href.partition("#")[0].partition("?")[0])
    readings = [href, unquote(href), meant, href.replace("\\", "/")]
    paths = [Path(os.path.normpath(Path(folder) / reading)) for reading in readings]
    return next((path for path in paths if path.is_file()), paths[2]).as_posix()
