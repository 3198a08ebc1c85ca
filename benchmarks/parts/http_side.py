"""The way of the original video system: the bytes of a picture as the text of a list in JSON, posted to Flask.

The original evaluates that text as a program. This one reads it as JSON, which is quicker: it flatters the original.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time

import requests
from flask import Flask, jsonify, request
from side import BODIES, figures, obey
from werkzeug.serving import make_server


def serve(_variant: str) -> None:
    """Answers until its input ends."""
    app = Flask(__name__)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    @app.post("/ask")
    def answer():
        return jsonify(length=len(json.loads(request.get_json()["image"])))

    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}/ask", flush=True)
    sys.stdin.read()


def ask(_variant: str, address: str) -> None:
    """Carries orders out, one request at a time as the original does."""
    session = requests.Session()

    def carry_out(case: str, seconds: float) -> dict[str, float]:
        spent: list[float] = []
        began = time.perf_counter()
        while (start := time.perf_counter()) - began < seconds:
            session.post(address, json={"image": str(list(BODIES[case]))}, timeout=30).raise_for_status()
            spent.append(time.perf_counter() - start)
        return figures(len(spent), time.perf_counter() - began, spent)

    obey(carry_out)
