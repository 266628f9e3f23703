"""Shares the S3 server between the environment variables of AWS and of GDAL.

DVC, fsspec and Arrow take AWS_ENDPOINT_URL; GDAL takes AWS_S3_ENDPOINT and related variables.
"""

from collections.abc import MutableMapping

URLS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""AWS's variables of the server's URL; the first that is set counts."""


def share_endpoint(environment: MutableMapping[str, str]) -> None:
    """Set the variables of GDAL from those of AWS, or the reverse; keep variables that are set.

    For servers other than Amazon's, the bucket is in the path, not in the host name.
    """
    url = next((environment[name] for name in URLS if environment.get(name)), None)
    host = environment.get("AWS_S3_ENDPOINT")
    if url and not host:
        scheme, _, rest = url.rstrip("/").rpartition("://")
        environment["AWS_S3_ENDPOINT"] = rest
        environment.setdefault("AWS_HTTPS", "NO" if scheme == "http" else "YES")
        if "amazonaws.com" not in rest:
            environment.setdefault("AWS_VIRTUAL_HOSTING", "FALSE")
    elif host and not url:
        secure = environment.get("AWS_HTTPS", "YES").upper() in {"YES", "TRUE", "ON", "1"}
        environment[URLS[0]] = host if "://" in host else f"{'https' if secure else 'http'}://{host}"
