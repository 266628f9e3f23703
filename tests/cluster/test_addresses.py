"""Addresses of Dask schedulers."""

import pytest

from quadrat.cluster.dask_cluster import DaskCluster
from quadrat.errors import ClusterError


@pytest.mark.parametrize("address", ["nonsense", "tcp://host", "ftp://host:8786"])
def test_a_wrong_address_is_an_error_before_a_client_is_made(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.Client", None)  # whose end would take ten seconds and print a traceback
    with pytest.raises(ClusterError, match=r"no scheduler answers\n  file: " + address):
        list(DaskCluster(address).map(str, range(3)))
