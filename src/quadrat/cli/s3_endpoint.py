"""Which server s3:// addresses are on: said once in the environment, in the words of AWS or of GDAL, and known to all.

DVC, fsspec and Arrow take AWS_ENDPOINT_URL; GDAL, which reads most, takes AWS_S3_ENDPOINT and what goes with it.
"""

from collections.abc import MutableMapping

URLS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""What AWS calls the server's URL, the first that is set."""


def share_endpoint(environment: MutableMapping[str, str]) -> None:
    """Say the server also in the words in which it isn't said; what is set stays as it is.

    Buckets of a server that isn't Amazon's stand in the path, not in the host's name.
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
