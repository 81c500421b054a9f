"""Starts the demo: flags to configuration, engine, sessions and page, then serves it. The only file that knows all."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.config import Config
from app.errors import BadConfig
from app.flags import parse_flags

if TYPE_CHECKING:
    import gradio as gr

    from app.live.server import LiveServer
    from app.service import Service


def main(argv: Sequence[str]) -> int:
    """Serves until interrupted. Exit code 0, or 2 with one sentence when the flags or the data folder cannot work."""
    try:
        config = parse_flags(argv, prog="launch_demo.py")
    except BadConfig as error:
        print(error.message, file=sys.stderr)
        return 2
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError:
        print(f"The folder {config.data_dir} cannot be made: choose another --data-dir.", file=sys.stderr)
        return 2
    prepare_environment(config)
    # Gradio reads its folders from the environment while it is imported.
    from app.building import build_service
    from app.live.server import LiveServer
    from app.media.decode import probe
    from components.page import build_page

    try:
        service = build_service(config, upload_dirs=(upload_dir(config),))
    except BadConfig as error:
        print(error.message, file=sys.stderr)
        return 2
    live = LiveServer(service)
    demo = build_page(service, probe, live)
    try:
        serve(demo, config, live)
        threading.Thread(target=tell_failure, args=(service,), daemon=True).start()
        wait_for_end()
    except OSError:
        # Gradio's own sentence goes on about its environment variables.
        print(
            f"The page cannot listen on {config.server_name}, port {config.server_port or 7860}: choose another "
            "--server-port or --server-name.",
            file=sys.stderr,
        )
        return 2
    finally:
        demo.close(verbose=False)
        live.close()
        service.close()
    return 0


def upload_dir(config: Config) -> Path:
    """The only folder whose files are ever opened."""
    return config.data_dir.absolute() / "uploads"


def prepare_environment(config: Config) -> None:
    """Tells Gradio where its files lie. It serves three folders of the data folder, the samples, and nothing else."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ["GRADIO_TEMP_DIR"] = str(upload_dir(config))
    # Files below Gradio's own cache folder are served as downloads unless their type is harmless, while those below
    # `allowed_paths` are shown whatever they hold; an uploaded page must not run in the demo's name.
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(config.data_dir.absolute() / "sessions")


def serve(demo: "gr.Blocks", config: Config, live: "LiveServer") -> None:
    from components.examples import SAMPLES
    from components.style import launch_options

    options = launch_options()
    options["app_kwargs"]["routes"] = [live.route]
    # Hosts like Spaces say in the environment where to listen.
    is_default = config.server_name == Config.server_name
    demo.queue(default_concurrency_limit=None, api_open=False).launch(
        **options,
        prevent_thread_lock=True,
        show_error=False,
        server_name=os.environ.get("GRADIO_SERVER_NAME", config.server_name) if is_default else config.server_name,
        server_port=config.server_port or None,
        share=config.share,
        inbrowser=config.inbrowser,
        auth=list(config.auth) or None,
        root_path=config.root_path or None,
        allowed_paths=[str(config.data_dir.absolute() / "previews"), str(SAMPLES)],
        max_file_size=int(config.limits.max_file_mb * 1e6),
        # Every page that waits for its reply holds a thread.
        max_threads=400,
    )


def tell_failure(service: "Service") -> None:
    """Waits until the checkpoint is loaded; where that fails the page says so too, to whoever looks."""
    service.ready.wait()
    if service.failure is not None:
        print(f"The model could not be loaded. {service.failure.message}", file=sys.stderr)


def wait_for_end() -> None:
    """Returns on Ctrl-C or when the process is asked to end."""
    ended = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: ended.set())
    ended.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
