"""What the OpenAPI document says is so: schemathesis asks each route for good and bad values."""

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)

ROUTES = 20
"""How many there are at least."""


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
def test_answers_are_those_that_the_document_names(mode: GenerationMode, client: TestClient) -> None:
    schema = schemathesis.openapi.from_dict(client.app.openapi())  # type: ignore[attr-defined] # it is FastAPI's
    seen = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode.is_negative and not (operation.query or operation.path_parameters or operation.body):
            continue  # there is nothing to be wrong

        @settings(max_examples=4, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            asked = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
            sent = client.build_request(str(asked.method), str(asked.url), content=asked.body, headers=asked.headers)
            sent.read()  # the checks look at it
            answer = client.send(sent, follow_redirects=False)
            case.validate_response(answer, checks=list(CHECKS))

        ask()
        seen += 1
    assert mode.is_negative or seen >= ROUTES
