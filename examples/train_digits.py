"""A task: learns to read handwritten digits, alone or as one part of a joint task.

`ecnode tasks submit examples/train_digits.py --arg epochs=5` learns alone, from digits that it draws where it is given none;
`ecnode tasks submit examples/joint_training.toml` has every edge learn from its own and the cloud average what they learnt.
"""

import gzip
import json
import os
from pathlib import Path

import numpy as np

HIDDEN = 64
BATCH = 50


def handwritten(path):
    """MNIST's first 5,000: a row is 784 grey values and the digit."""
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return rows[:, :-1] / 255, rows[:, -1].astype(int)


def drawn(count=2000):
    """Digits of OpenCV's font, moved, turned and blurred by chance: they need no file."""
    import cv2

    chance = np.random.default_rng(0)
    labels = np.arange(count) % 10
    pictures = np.zeros((count, 28, 28), np.float32)
    for picture, label in zip(pictures, labels, strict=True):
        cv2.putText(picture, str(label), (6, 22), int(chance.integers(0, 4)), 0.75, 1.0, 2)
        turn = cv2.getRotationMatrix2D((14, 14), chance.uniform(-15, 15), chance.uniform(0.9, 1.2))
        turn[:, 2] += chance.uniform(-2, 2, 2)
        picture[:] = cv2.GaussianBlur(cv2.warpAffine(picture, turn, (28, 28)), (3, 3), 0)
    return pictures.reshape(count, -1), labels


def share(images, labels, part, parts):
    """What this part has of its own, a fifth of it for tests: on one machine all have one file, so each keeps to its share."""
    order = np.random.default_rng(1).permutation(len(labels))[part::parts]
    tests = len(order) // 5
    return (images[order[tests:]], labels[order[tests:]]), (images[order[:tests]], labels[order[:tests]])


def fresh():
    """A model that knows nothing; every part begins with the same."""
    chance = np.random.default_rng(2)
    return {
        "w1": chance.normal(0, 0.05, (784, HIDDEN)),
        "b1": np.zeros(HIDDEN),
        "w2": chance.normal(0, 0.1, (HIDDEN, 10)),
        "b2": np.zeros(10),
    }


def answer(model, images):
    """What the hidden layer makes of the images, and how likely each digit is."""
    hidden = np.maximum(images @ model["w1"] + model["b1"], 0)
    scores = hidden @ model["w2"] + model["b2"]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, scores / scores.sum(axis=1, keepdims=True)


def accuracy(model, images, labels):
    """The part of the images that is read right."""
    return float((answer(model, images)[1].argmax(axis=1) == labels).mean())


def learn(model, images, labels, rate):
    """One pass over the images, by gradient descent."""
    for start in range(0, len(labels), BATCH):
        some, right = images[start : start + BATCH], labels[start : start + BATCH]
        hidden, likely = answer(model, some)
        error = likely
        error[np.arange(len(right)), right] -= 1
        error /= len(right)
        below = (error @ model["w2"].T) * (hidden > 0)
        for name, step in (("w2", hidden.T @ error), ("b2", error.sum(0)), ("w1", some.T @ below), ("b1", below.sum(0))):
            model[name] -= rate * step


def main():
    """Learns from where the last round left off, and leaves the model and its score."""
    config = {"epochs": 3, "rate": 0.2} | json.loads(Path(os.environ["ECNODE_CONFIG"]).read_text())
    data, left = Path(os.environ["ECNODE_DATA"]), Path(os.environ["ECNODE_ARTIFACTS"])
    told = config.get("joint", {"part": 0, "parts": 1, "round": 1})
    own = data / "digits"
    images, labels = handwritten(own) if own.exists() else drawn()
    print(f"{len(labels)} {'handwritten' if own.exists() else 'drawn'} digits, share {told['part'] + 1} of {told['parts']}")
    mine, tests = share(images, labels, told["part"], told["parts"])
    model = dict(np.load(data / "model.npz")) if (data / "model.npz").exists() else fresh()
    before = accuracy(model, *tests)
    for epoch in range(config["epochs"]):
        learn(model, *mine, config["rate"])
        print(f"round {told['round']} epoch {epoch + 1}/{config['epochs']} accuracy {accuracy(model, *tests):.3f}")
    np.savez(left / "model.npz", **model)
    (left / "score.json").write_text(json.dumps({"images": len(mine[1]), "tests": len(tests[1]), "before": before}))
    os.write(int(os.environ["ECNODE_LOG_FD"]), f"accuracy {accuracy(model, *tests):.3f}\n".encode())


if __name__ == "__main__":
    main()
