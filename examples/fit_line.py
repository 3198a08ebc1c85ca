"""A task: fits a line to noisy points by gradient descent and leaves the model as an artifact.

`ecnode tasks submit examples/fit_line.py --arg epochs=20 --arg rate=0.05`, then `ecnode tasks artifacts --get model.json`
"""

import json
import os
import random
from pathlib import Path

config = {"epochs": 10, "rate": 0.05, "seed": 1} | json.loads(Path(os.environ["ECNODE_CONFIG"]).read_text())
chance = random.Random(config["seed"])
points = [(x / 50, 3 * x / 50 - 1 + chance.gauss(0, 0.1)) for x in range(100)]
slope = offset = 0.0
for epoch in range(1, config["epochs"] + 1):
    for x, y in points:
        error = slope * x + offset - y
        slope -= config["rate"] * error * x
        offset -= config["rate"] * error
    loss = sum((slope * x + offset - y) ** 2 for x, y in points) / len(points)
    print(f"epoch {epoch}/{config['epochs']} loss {loss:.4f}")
    os.write(int(os.environ["ECNODE_LOG_FD"]), f"loss {loss:.4f}\n".encode())  # becomes part of the task's history
model = Path(os.environ["ECNODE_ARTIFACTS"], "model.json")
model.write_text(json.dumps({"slope": slope, "offset": offset}))
