"""How do typed values and errors become bodies, and bodies values and errors?"""

from __future__ import annotations

from typing import Final, TypeVar, cast

from pydantic import ValidationError

from node.errors import EcnodeError, Invalid, Malformed, Problem, from_wire
from node.model.value import Value
from node.transport import limits
from node.transport.frames import Kind, Message, pack_body, unpack_body

V = TypeVar("V", bound=Value)

_REPORTED_FAULTS: Final = 8  # of one document; the rest is counted


def error_of(message: Message) -> EcnodeError:
    """The error that an error message carries.

    Raises:
        Malformed: it carries none.
    """
    return error_from(message.word, unpack_body(message.body))


def error_from(code: str, body: object) -> EcnodeError:
    """The error of that code whose body was unpacked.

    Raises:
        Malformed: the body is none of an error.
    """
    match body:
        case [str(text), str(hint)]:
            return from_wire(code, text[: limits.ERROR_CHARS], hint[: limits.HINT_CHARS])
        case _:
            raise Malformed("an error that does not say what is wrong", hint="[message, hint]")


def validated(model: type[V], value: object, what: str) -> V:
    """`value` as a `model`; `what` names the document in the error.

    Raises:
        Invalid: its fields are wrong.
    """
    try:
        return cast(V, model.__pydantic_validator__.validate_python(value))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        problems = [Problem(_path(fault["loc"]), fault["msg"][:200]) for fault in faults[:_REPORTED_FAULTS]]
        raise Invalid(f"{what} is wrong in {len(faults)} places", problems=problems) from error


def pack_value(value: Value) -> bytes:
    """A typed value as a body.

    Raises:
        TooLarge: a number, text or nesting that the wire does not carry.
    """
    return pack_body(vars(value))  # the packer takes the fields as they are: `model_dump` before it takes three times the time


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(step)[:63] for step in location[:8]) or "(whole)"


def complaint(error: EcnodeError) -> Message:
    """The message that says what is wrong with the link itself."""
    return Message(Kind.ERROR, 0, error.code, pack_error(error))


def pack_error(error: EcnodeError) -> bytes:
    """The body of an error message; the fields that are at fault become part of the text."""
    faults = "".join(f"; {problem.path}: {problem.message}" for problem in error.problems if problem.path not in error.message)
    return pack_body([(error.message + faults)[: limits.ERROR_CHARS], error.hint[: limits.HINT_CHARS]])
