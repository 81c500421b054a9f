"""The whole page over an engine without a model. Run as `python tests/browser/page_app.py PORT FOLDER [TICK_S]`."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import launch_demo
from app.config import Config


def main(port: int, folder: Path, tick_s: float) -> None:
    config = Config(checkpoint="fake", data_dir=folder, server_port=port)
    launch_demo.prepare_environment(config)
    from app.live.server import LiveServer
    from app.media.decode import probe
    from components.page import build_page
    from tests.fake_engine import fake_service

    service = fake_service(folder, upload_dirs=(launch_demo.upload_dir(config),), tick_s=tick_s)
    live = LiveServer(service)
    demo = build_page(service, probe, live)
    launch_demo.serve(demo, config, live)
    print("READY", flush=True)
    launch_demo.wait_for_end()
    demo.close(verbose=False)
    service.close()
    # Whatever thread of the server is left must not keep the test waiting.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.012)
