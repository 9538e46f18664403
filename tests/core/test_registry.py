import sys
import types

import pytest

from archetype.core.registry import loaded_class, type_path


class RegistryTop:
    class Inner:
        pass


def module_of(name, **members):
    module = types.ModuleType(name)
    vars(module).update(members)
    return module


def test_a_class_is_found_by_its_full_name():
    for kind in (RegistryTop, RegistryTop.Inner):
        assert loaded_class(type_path(kind)) is kind


@pytest.mark.parametrize(
    "path",
    ["RegistryTop", f"{__name__}.Gone", f"{__name__}.pytest", "gone.RegistryTop", "sys.modules.get", ""],
    ids=["no module", "no such class", "a module", "not loaded", "no class", "empty"],
)
def test_what_is_no_loaded_class_is_none(path):
    assert loaded_class(path) is None


def test_nothing_is_imported_for_a_name(monkeypatch):
    lazy = module_of("registry_lazy", __getattr__=lambda name: pytest.fail(f"{name} was looked for"))
    monkeypatch.setitem(sys.modules, "registry_lazy", lazy)
    assert loaded_class("registry_lazy.Anything") is None


def test_a_scripts_own_class_comes_before_that_of_its_imported_twin(monkeypatch):
    class Own:
        __module__ = "__main__"
        __qualname__ = "RegistryOwn"

    twin, only = type("RegistryOwn", (), {}), type("RegistryOnly", (), {})
    main = module_of("__main__", __file__="/somewhere/registry_script.py", __spec__=None, RegistryOwn=Own)
    imported = module_of("registry_script", RegistryOwn=twin, RegistryOnly=only)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert type_path(Own) == "registry_script.RegistryOwn"
    assert loaded_class(type_path(Own)) is Own
    monkeypatch.setitem(sys.modules, "registry_script", imported)
    assert loaded_class(type_path(Own)) is Own
    assert loaded_class("registry_script.RegistryOnly") is only
