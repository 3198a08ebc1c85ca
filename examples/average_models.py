"""What the cloud does after each round of joint_training.toml: averages what the edges learnt, by their numbers of images."""

import json
import os
from pathlib import Path

import numpy as np

told = json.loads(Path(os.environ["ECNODE_CONFIG"]).read_text())["joint"]
data, left = Path(os.environ["ECNODE_DATA"]), Path(os.environ["ECNODE_ARTIFACTS"])
scores = {node: json.loads((data / node / "score.json").read_text()) for node in told["nodes"]}
models = {node: np.load(data / node / "model.npz") for node in told["nodes"]}
images = sum(score["images"] for score in scores.values())
names = next(iter(models.values())).files
model = {name: sum(models[node][name] * (scores[node]["images"] / images) for node in models) for name in names}
np.savez(left / "model.npz", **model)
tests = sum(score["tests"] for score in scores.values())
before = sum(score["before"] * score["tests"] for score in scores.values()) / tests
print(f"round {told['round']}: {len(models)} models averaged, {before:.1%} of {tests} tests were right before it")
