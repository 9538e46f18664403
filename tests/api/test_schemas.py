"""Numbers and flags of bodies are what JSON says: `true` is no 1, and `"1"` and 1.0 are no integers."""

import typing

import pytest
from pydantic import BaseModel, ValidationError

import archetype.api.application  # noqa: F401  so that all bodies are there
from archetype.api.schemas.bodies import Body
from archetype.core.scheduling.policy import RetryPolicy
from archetype.log.payload_fields import Payload

NOT_STRICT = {int: (True, "1", 1.0), bool: (1, "true", "yes"), float: (True, "1")}


def below(kind):
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


def types_in(annotation):
    """Return the plain types that a field may hold."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        parts = parts[:1]
    return {each for part in parts for each in types_in(part)} or {annotation}


MODELS: list[type[BaseModel]] = [*below(Body), *below(Payload), RetryPolicy]
FIELDS = [
    (model, name, kind)
    for model in MODELS
    for name, field in model.model_fields.items()
    for kind in NOT_STRICT
    if types_in(field.annotation) <= {kind, type(None)}
]


@pytest.mark.parametrize(
    ("model", "name", "kind"), FIELDS, ids=[f"{model.__name__}.{name}" for model, name, _ in FIELDS]
)
def test_no_field_takes_another_type_for_its_own(model, name, kind):
    for value in NOT_STRICT[kind]:
        with pytest.raises(ValidationError) as refused:
            model.model_validate({name: value})
        assert (name,) in {each["loc"][:1] for each in refused.value.errors()}, value


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/actors/ann/quota", {"commands_per_tick": True}),
        ("POST", "/actors/ann/keys", {"expires_in_s": True}),
        ("POST", "/worlds", {"seed": True}),
        ("POST", "/worlds/demo/step", {"debug": 1}),
        ("POST", "/worlds/demo/commands", {"priority": "1"}),
    ],
)
async def test_a_body_of_another_type_is_refused_where_it_is(lite, lite_world, problem, method, path, body):
    await lite.post("/actors", json={"name": "ann", "roles": ["player"]})
    refused = problem(await lite.request(method, path, json=body), 422, "invalid_input")
    assert [each["path"] for each in refused["errors"]] == list(body)
