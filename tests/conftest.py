"""Fixtures of the road: a small profile in a folder of its own, and a fake engine in place of the real ones."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything reads it: no test asks the network

import pytest
from fakes import FakeEngine, small_profile

from a2r import load_problems


@pytest.fixture
def lab(tmp_path):
    """A profile with models a and b, three problems, 2 sets of 4 paths; its store and figures are in tmp_path."""
    return small_profile(tmp_path)


@pytest.fixture
def problems(lab):
    return load_problems(lab)


@pytest.fixture
def use(monkeypatch):
    """`use(engine)` makes the road open this engine; without an argument it is a new FakeEngine. Returns it."""

    def install(engine: FakeEngine | None = None) -> FakeEngine:
        engine = engine or FakeEngine()

        def opened(*_, **__):
            engine.opened += 1
            return engine

        monkeypatch.setattr("a2r.pipeline.open_engine", opened)
        return engine

    return install
