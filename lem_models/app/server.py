"""Start the app: on this machine, or as a Space of the Hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lem_models.app.limits import LIMITS
from lem_models.errors import ConfigError

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["check_installed", "launch", "start"]

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Arial", "Liberation Sans", "sans-serif")
_MONOSPACE = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")
"""Fonts of the system: none is fetched."""
_ATTEMPTS = 3


def check_installed() -> None:
    """Refuse to start without the extra.

    Raises:
        ConfigError: Gradio is missing.
    """
    if find_spec("gradio") is None:
        raise ConfigError("the app needs gradio: pip install 'lem-models[app]'")


def start(uploads: Path, host: str | None = None, port: int | None = None) -> tuple[gr.Blocks, str]:
    """Start the app and return at once.

    Args:
        uploads: Folder for uploaded files and downloads, of this app alone.
        host: Address to listen on; ``None`` for ``GRADIO_SERVER_NAME``, which a Space sets, or this machine's own.
        port: Port; 0 for any free one, ``None`` for ``GRADIO_SERVER_PORT``, or the first free one from 7860.

    Returns:
        The app, and its address.

    Raises:
        ConfigError: Gradio is missing, or the port is taken.
    """
    check_installed()
    # Read when Gradio is imported, or with every upload.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    import gradio as gr
    from starlette.middleware import Middleware

    from lem_models.app.guard import Gate
    from lem_models.app.page import build
    from lem_models.app.view import CSS

    page = build(uploads)
    page.queue(max_size=LIMITS.waiting, api_open=False)
    theme = gr.themes.Default(
        primary_hue="blue",
        font=[gr.themes.Font(name) for name in _FONTS],
        font_mono=[gr.themes.Font(name) for name in _MONOSPACE],
    ).set(body_text_color_subdued="#5d6878", body_text_color_subdued_dark="#98a2b3")
    for attempt in range(_ATTEMPTS):
        try:
            _, local, _ = page.launch(
                server_name=host,
                server_port=_free_port(host or "127.0.0.1") if port == 0 else port,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                show_error=False,
                allowed_paths=[],
                max_file_size=LIMITS.upload_bytes,
                state_session_capacity=LIMITS.sessions,
                enable_monitoring=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                run_history=False,
                footer_links=[],
                app_kwargs={
                    "middleware": [Middleware(Gate)],
                    "docs_url": None,
                    "redoc_url": None,
                    "openapi_url": None,
                },
                theme=theme,
                css=CSS,
            )
        except OSError as error:
            # The server's own text proposes settings of its own, which this command does not have.
            raise ConfigError(
                f"the app cannot listen on port {port} of {host}: another program has it, or it may not be used; name "
                "another one (--port), or 0 for any free one"
            ) from error
        except ValueError as error:
            # Gradio asks itself for the page, and gives up after three seconds, which a busy machine may need.
            page.close(verbose=False)
            if attempt == _ATTEMPTS - 1:
                raise ConfigError(
                    f"the app was started and does not answer on this machine ({error}): the machine is very busy, or "
                    "a proxy is set for its own address (NO_PROXY=127.0.0.1,localhost takes that away)"
                ) from None
            continue
        return page, str(local)
    raise AssertionError  # the last attempt returns or raises


def launch(
    host: str | None = None, port: int | None = None, announce: Callable[[str], None] = lambda address: print(address)
) -> None:
    """Run the app until the process is interrupted.

    Args:
        host: See :func:`start`.
        port: See :func:`start`.
        announce: Called with the address once the app can be reached.

    Raises:
        ConfigError: See :func:`start`.
    """
    with tempfile.TemporaryDirectory(prefix="lem-app-") as folder:
        page, address = start(Path(folder), host, port)
        try:
            announce(address)
            page.block_thread()
        finally:
            page.close(verbose=False)


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])
