"""``demo``: a page in the browser on which a registered model can be tried."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from pipeline.config import DemoConfig as CONFIG
from pipeline.config import UserError


def run(config: CONFIG) -> None:
    """Serve the page until interrupted."""
    if not importlib.util.find_spec("streamlit"):
        raise UserError("demo needs Streamlit, got none (pip install -c constraints.txt -e '.[demo]')")
    from pipeline.demo import demo
    from pipeline.tracking import registry
    from pipeline import tracking
    from pipeline.serving.server import check_is_free

    tracking.connect()
    registry.classifier_folder(config.model_uri)  # a model that is not there is better told of here than on the page
    check_is_free(config.host, config.port)
    options = {
        "server.address": config.host,
        "server.port": config.port,
        "server.headless": "true",  # asks for no e-mail address and opens no browser
        "server.fileWatcherType": "none",
        "server.maxUploadSize": 32,  # MiB
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "logger.level": "warning",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    page = Path(demo.__file__).with_name("page.py")
    print(f"try {config.model_uri} on http://{config.host}:{config.port}", flush=True)
    command = [sys.executable, "-m", "streamlit", "run", str(page), *flags, "--", config.model_uri, config.data or ""]
    subprocess.run(command, check=False)
