"""The server of s3:// addresses is said once."""

import pytest

from quadrat.cli.s3_endpoint import share_endpoint


@pytest.mark.parametrize(
    ("said", "added"),
    [
        ({}, {}),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:8333/"},
            {"AWS_S3_ENDPOINT": "127.0.0.1:8333", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"},
        ),
        (
            {"AWS_ENDPOINT_URL": "http://one", "AWS_ENDPOINT_URL_S3": "https://two", "AWS_VIRTUAL_HOSTING": "TRUE"},
            {"AWS_S3_ENDPOINT": "two", "AWS_HTTPS": "YES"},
        ),
        (
            {"AWS_ENDPOINT_URL": "https://s3.eu-central-1.amazonaws.com"},
            {"AWS_S3_ENDPOINT": "s3.eu-central-1.amazonaws.com", "AWS_HTTPS": "YES"},
        ),
        ({"AWS_S3_ENDPOINT": "h:1", "AWS_HTTPS": "NO"}, {"AWS_ENDPOINT_URL_S3": "http://h:1"}),
        ({"AWS_S3_ENDPOINT": "h:1"}, {"AWS_ENDPOINT_URL_S3": "https://h:1"}),
        ({"AWS_S3_ENDPOINT": "one", "AWS_ENDPOINT_URL": "http://two"}, {}),
    ],
)
def test_what_is_said_one_way_is_said_the_other(said: dict[str, str], added: dict[str, str]) -> None:
    environment = dict(said)
    share_endpoint(environment)
    assert environment == {**said, **added}
