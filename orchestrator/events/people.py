"""What people ask of a run."""

from __future__ import annotations

from typing import Literal

from orchestrator.dialogue import Value
from orchestrator.runs import Question
from orchestrator.settings import RunLimits


class RewindRequested(Value):
    """A person asked to go back to an earlier step; whoever carries the run does it before its next step.

    `why` is `denied` where what a step did needed a person's approval, and didn't get it.
    """

    type: Literal["rewind_requested"] = "rewind_requested"
    step: int
    why: Literal["rewind", "undo", "redo", "denied"] = "rewind"
    message: str = ""


class CancelRequested(Value):
    """A person asked to cancel."""

    type: Literal["cancel_requested"] = "cancel_requested"


class PauseRequested(Value):
    """A person asked to pause: at the end of the step, or `now`, which undoes a step that is under way."""

    type: Literal["pause_requested"] = "pause_requested"
    now: bool = False


class ResumeRequested(Value):
    """A person asked to go on: what is parked is put in line, a pause that hasn't come yet is taken back."""

    type: Literal["resume_requested"] = "resume_requested"


class Steered(Value):
    """A person has something to say to the agent: it's told at its next step, once."""

    type: Literal["steered"] = "steered"
    text: str


class RetryRequested(Value):
    """A person takes a run up again that is over: it goes on from its last step, within `limits` where they changed."""

    type: Literal["retry_requested"] = "retry_requested"
    limits: RunLimits | None = None


class Asked(Question):
    """The run has something to ask a person, and is parked with it."""

    type: Literal["asked"] = "asked"


class Answered(Value):
    """What was asked under this id has its answer, from a person or, at the deadline, from the default.

    `answer` is a question's, or of an approval `approved` or `denied`; `why` is what a person says to a denial.
    """

    type: Literal["answered"] = "answered"
    id: str
    answer: str
    by: Literal["person", "deadline"]
    why: str = ""
