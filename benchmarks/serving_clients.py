"""Callers of a server, for `serving_load`: a process that imports little, so as to take little from the server."""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time

WARM_UP_S = 1


def main() -> None:
    """Ask as standard input says, and print what came of it."""
    content, parts = sys.stdin.buffer.read(), []
    while content:
        size = int.from_bytes(content[:8], "big")
        parts.append(content[8 : 8 + size])
        content = content[8 + size :]
    work, bodies = json.loads(parts[0]), parts[1:]
    seconds: list[tuple[float, float]] = []
    refused: list[float] = []
    start = time.perf_counter() + WARM_UP_S
    end = start + work["seconds"]

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", work["port"], timeout=120)
        turn = number
        while (begun := time.perf_counter()) < end:
            if work["rate"]:
                begun = start - WARM_UP_S + turn / work["rate"]
                time.sleep(max(0.0, begun - time.perf_counter()))
            connection.request("POST", "/invocations", bodies[turn % len(bodies)], {"Content-Type": work["kind"]})
            answer = connection.getresponse()
            text = answer.read()
            now = time.perf_counter()
            if start <= now < end:
                if answer.status == 200 and b'"label"' in text:
                    seconds.append((now, now - begun))
                else:
                    refused.append(now)
            turn += work["clients"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(work["clients"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = [taken for _, taken in sorted(seconds)]
    print(json.dumps({"seconds": spent, "refused": len(refused), "duration": work["seconds"]}))


if __name__ == "__main__":
    main()
