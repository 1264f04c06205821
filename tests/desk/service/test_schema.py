"""The OpenAPI schema says what the service does: schemathesis calls every route with made-up requests."""

import pytest

from tests.desk.service.client import order, served

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

import httpx  # noqa: E402
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)


def rejection(context, response, case):
    """Data of the wrong form are rejected; too many of them before they are read (413)."""
    return None if response.status_code == 413 else negative_data_rejection(context, response, case)


# Not positive_data_acceptance: an order of the right form is refused where a rule of the desk forbids it.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    rejection,
]


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    with served(tmp_path_factory.mktemp("schema") / "desk.db", gather=0.01) as address:
        httpx.post(f"{address}/orders", json=order("0"))
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_route_answers_by_its_schema(schema, mode):
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=3,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def call(case):
            case.call_and_validate(checks=CHECKS)

        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
            continue  # nothing can be wrong
        call()
        count += 1
    assert count >= 15
