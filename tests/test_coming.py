"""A page that comes: it is told what the model can, whenever that is known."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.config import Config
from app.live.server import LiveServer
from app.service import Service
from components.page import build_page
from components.pages import PageState
from tests.fake_engine import FAKE_PIPELINE, FakeEngine, Script


def test_a_model_that_is_ready_just_as_a_page_comes_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It was loading when the first news was gathered and was there when they had been sent."""
    may_load = threading.Event()

    def load(progress) -> FakeEngine:
        may_load.wait()
        return FakeEngine(Script())

    service = Service(Config(checkpoint="fake", data_dir=tmp_path), load, pipeline=FAKE_PIPELINE)
    told = type(service).info.fget

    def told_late(self):
        info = told(self)
        may_load.set()
        self.ready.wait()
        return info

    monkeypatch.setattr(type(service), "info", property(told_late))
    demo = build_page(service, probe=lambda path: None, live=LiveServer(service))
    opened = next(event for event in demo.fns.values() if event.name == "open")
    request = SimpleNamespace(session_hash="a", username=None, headers={})
    news = list(opened.fn(None, "", PageState(), request))
    service.close()
    choices = [value.get("choices") for widget, value in news[-1].items() if widget.elem_id == "voice"]
    assert len(news) == 2 and choices and choices[0], news
