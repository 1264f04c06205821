"""``lem app``: one order in a browser."""

from __future__ import annotations

from pydantic import Field

from lem_models.cli.output import Output
from lem_models.guard.settings import Settings

__all__ = ["AppOptions", "start_app"]


class AppOptions(Settings):
    """Options of ``lem app``."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(7860, ge=0, description="Port to listen on; 0 for any free one.")


def start_app(options: AppOptions, out: Output) -> None:
    """Run the app: choose a model and bars, define an order, and watch it execute beside baselines, bar by bar.

    It prints its address once it can be reached, and runs until it is interrupted. Everything stays on this machine: no
    page asks another host for anything. Whoever reaches the address may upload bars and use the processor, so name
    another --host than this machine's own only where that is wanted.

    Example: lem app --port 7861
    """
    from lem_models.app import launch

    launch(
        options.host,
        options.port,
        announce=lambda address: out.event("address", {"address": address}, f"The app is at {address}"),
    )
