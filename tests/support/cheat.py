"""A node whose party breaks the protocol: `python cheat.py FILE up …` is `ecnode up` that looks into FILE for what to do wrong.

Empty or absent: nothing. Once it has cheated, FILE.done is there.
"""

import sys
from pathlib import Path

from node.__main__ import main
from node.model.federated import SessionSpec
from node.roles.federated.party_run import PartyRun

FILE = Path(sys.argv.pop(1))
STEP = 40
say, start = PartyRun._say, PartyRun.start


def kind() -> str:
    return FILE.read_text() if FILE.exists() else ""


def done() -> None:
    FILE.with_suffix(".done").touch()


async def say_wrongly(self, header, content):
    wrong = {"shape": "G", "ring": "delta", "round": "F step"}.get(kind())
    if (header["what"], header["index"]) == (wrong, STEP):
        match kind():
            case "shape":
                content = content[8:]
            case "ring":
                content = b"\xff" * len(content)
            case _:
                header = {**header, "index": STEP + 1000}
        done()
    await say(self, header, content)


async def start_with_another_spec(self, spawner, settings):
    if kind() == "spec":
        spec = SessionSpec.model_validate_json(settings["spec"])
        settings = {**settings, "spec": spec.replace(round_timeout=spec.round_timeout + 1).model_dump_json()}
        done()
    await start(self, spawner, settings)


PartyRun._say = say_wrongly
PartyRun.start = start_with_another_spec

if __name__ == "__main__":
    main()
