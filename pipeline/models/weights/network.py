"""Whether a server answers, found out once and within seconds, also where packets vanish.

Name resolution and proxies may take minutes to fail, whatever time limit a request has; so a process of its own asks,
and is ended in time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

ANSWER_TIMEOUT_S = 4.0
_ASK = "import sys, requests; requests.head(sys.argv[1], timeout=3.5)"


@cache
def answers(url: str) -> bool:
    """Return whether a server answers, with whatever status."""
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK, url],
            timeout=ANSWER_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return not asked.returncode


def wants_no_network() -> bool:
    """Return whether the user has said, by Hugging Face's variable, that there is no network."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in ("1", "ON", "YES", "TRUE")
