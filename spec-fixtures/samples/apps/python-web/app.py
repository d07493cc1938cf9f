"""A web app that answers on $PORT with what it runs on."""

import os
import sys

from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def index():
    return jsonify(
        message="Hello from a buildpack-built image",
        python=sys.version.split()[0],
        greeting=os.environ.get("GREETING", ""),
        working_dir=os.getcwd(),
    )


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
