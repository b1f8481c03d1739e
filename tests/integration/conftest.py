"""One deployed server and one worker serve all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect import get_client

from tests.integration.platform import Platform, deploy


@pytest.fixture(scope="session")
def platform(server: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Everything deployed on the server, and a worker."""
    done = deploy(server | {"PLAYLISTS_HOME": "/nowhere"})  # what is set where people deploy stays there
    assert done.returncode == 0, done.stdout + done.stderr
    with get_client(sync_client=True) as client:
        platform = Platform(server, tmp_path_factory.mktemp("platform") / "home", client)
        platform.start_worker()
        try:
            yield platform
        finally:
            platform.stop()
