"""The tests of the service need its extra."""

import pytest

for _package in ("fastapi", "uvicorn", "websockets", "prometheus_client", "httpx", "sqlalchemy"):
    pytest.importorskip(_package, reason="the extras serve and test are not installed")
