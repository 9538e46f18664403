from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel

from archetype.core.instances import copier_of, maker_of


class InsPlain(BaseModel):
    x: float
    tags: list[str] = []


class InsPrivate(BaseModel):
    x: float
    _hidden: int = PrivateAttr(default=7)


class InsDerived(BaseModel):
    x: float
    twice: float = 0.0

    def model_post_init(self, context):
        self.twice = self.x * 2


class InsOpen(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: float


class InsAliased(BaseModel):
    x: float = Field(alias="ex")

    def model_post_init(self, context):
        pass


class InsRoot(RootModel[int]):
    pass


def test_a_made_instance_is_what_the_constructor_gives():
    made = maker_of(InsPlain)({"x": 1.0, "tags": ["a"]})
    assert made == InsPlain(x=1.0, tags=["a"])
    assert made.model_fields_set == {"x", "tags"}
    assert made.model_dump() == {"x": 1.0, "tags": ["a"]}
    assert repr(made) == repr(InsPlain(x=1.0, tags=["a"]))


def test_a_made_instance_can_be_changed_and_copied():
    make = maker_of(InsPlain)
    first, second = make({"x": 1.0, "tags": []}), make({"x": 1.0, "tags": []})
    first.x = 2.0
    assert (first.x, second.x) == (2.0, 1.0)
    assert first.model_copy(update={"x": 3.0}) == InsPlain(x=3.0)
    assert first.model_fields_set == second.model_fields_set == {"x", "tags"}


def test_models_that_are_more_than_their_fields_are_made_whole():
    assert maker_of(InsPrivate)({"x": 1.0}) == InsPrivate(x=1.0)
    assert maker_of(InsPrivate)({"x": 1.0})._hidden == 7
    assert maker_of(InsDerived)({"x": 1.0, "twice": 0.0}) == InsDerived(x=1.0)
    assert maker_of(InsOpen)({"x": 1.0}) == InsOpen(x=1.0)
    assert maker_of(InsAliased)({"x": 1.0}) == InsAliased(ex=1.0)
    assert maker_of(InsRoot)({"root": 1}) == InsRoot(1)


def test_copies_share_nothing_that_can_be_changed():
    copy = copier_of(InsPlain, [("tags", list)])
    original = InsPlain(x=1.0, tags=["a"])
    copied = copy(original)
    copied.tags.append("b")
    copied.x = 2.0
    assert original == InsPlain(x=1.0, tags=["a"])


def test_a_copy_keeps_what_is_private_and_derives_nothing_again():
    original = InsPrivate(x=1.0)
    original._hidden = 8
    assert copier_of(InsPrivate, [])(original)._hidden == 8
    derived = InsDerived(x=1.0)
    derived.twice = 9.0
    assert copier_of(InsDerived, [])(derived).twice == 9.0
