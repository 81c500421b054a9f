"""What the player tells of what was heard: a reply's figures, and where a stop cuts it; starts nothing."""

import gradio as gr

from app.errors import DemoError, SessionGone
from components.pages import PageState
from components.player import PlaybackReport, read_report, read_told
from components.showing import Showing


class Hearing:
    def __init__(self, showing: Showing) -> None:
        self._showing, self._service, self._page = showing, showing.service, showing.page

    def stop(self, told: str, state: PageState, request: gr.Request) -> dict:
        """Ends what is being said, cut to what was heard of it. `told`: the player's last report."""
        report = read_told(told)
        try:
            if report is None:
                # Nobody knows what was heard: what was made stays.
                self._service.interrupt(state.session_id)
            else:
                self._note_playback(state, report)
                turn = dict(state.turns).get(report.generation, 0)
                self._service.stop(state.session_id, turn, report.played_samples)
        except SessionGone:
            return {self._page.timing: gr.skip()}
        except DemoError as error:
            return self._showing.refused(error, request)
        return self._showing.drawn(state, self._showing.texts(request))

    def report(self, event: gr.EventData, state: PageState, request: gr.Request) -> dict:
        """The browser tells what it played; it goes into the turn's waterfall."""
        report = read_report(event._data)
        try:
            if report is not None and self._note_playback(state, report):
                return self._showing.drawn(state, self._showing.texts(request))
        except DemoError:
            pass
        return {self._page.timing: gr.skip()}

    def _note_playback(self, state: PageState, report: PlaybackReport) -> bool:
        """False where it is of no reply of this page."""
        turn = dict(state.turns).get(report.generation)
        if turn is None or report.first_packet_epoch_ms is None:
            return False
        first_sound_s = report.first_sound_after_submit_s
        self._service.report_playback(
            state.session_id, turn, first_sound_s, report.num_underruns, report.played_samples
        )
        return True
