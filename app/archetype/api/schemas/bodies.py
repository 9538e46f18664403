"""What all request bodies share."""

from __future__ import annotations

from typing import Any, Self

from litestar.enums import RequestEncodingType
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg
from pydantic import BaseModel, ConfigDict, ValidationError

from archetype.core.faults import too_many
from archetype.errors import InvalidInputError

__all__ = ["Body", "json_body"]


def json_body(example: Any) -> BodyKwarg:
    """Describe a JSON body by an example, for the API document."""
    return BodyKwarg(media_type=RequestEncodingType.JSON, examples=[Example(value=example)])


class Body(BaseModel):
    """The base of request bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Return the body; faults too many to be listed are one `InvalidInputError`."""
        # The framework asks for leniency, which would be stronger than the strictness of single fields.
        options["strict"] = None
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            if (many := too_many(error)) is None:
                raise
            raise InvalidInputError(many["message"], faults=[many]) from None
