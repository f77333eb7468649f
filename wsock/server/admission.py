"""A server's decision on one request for a WebSocket, whichever part has read it.

`wsock.server.opening` reads a request from a transport, and answers it there. Another reader, such as a web server that
has parsed the request already, decides by the same class and answers in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..application import Accept, Application, BuildApplication, Refuse, describeMistake, isApplication
from ..log import APPLICATION_ERRORS, CANCELLATIONS, letGo, release
from ..request import Request
from ..results import asDecision
from ..sansio import handshake
from ..sansio.errors import InvalidRequest
from ..sansio.extensions import DeflateParameters, Extension
from ..sansio.extensions import answer as answerExtensions
from ..sansio.handshake import Opening, ReadyFields
from ..sansio.http import RequestHead, ResponseHead
from ..wire.factory import SOFTWARE, addDefault
from . import refusal


class Policy(Protocol):
    """The rules and functions by which a server decides; the factory is one."""

    buildApplication: BuildApplication

    @property
    def subprotocols(self) -> Sequence[str]:
        """Those to choose from, the preferred first."""

    @property
    def allowedOrigins(self) -> Sequence[str] | None:
        """The pages that may connect."""

    @property
    def deflateParameters(self) -> DeflateParameters | None:
        """The wishes for permessage-deflate; None declines it."""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """More fields for each answer that accepts."""

    @property
    def answerFields(self) -> ReadyFields:
        """The same, with those that are always there."""

    def whyFull(self) -> str | None:
        """Why no connection is accepted now, or None."""


class AdmissionOwner(Protocol):
    """The opening handshake that asks for a decision."""

    def admitted(
        self, application: Application, subprotocol: str | None, extensions: Sequence[Extension], answer: ResponseHead
    ) -> None:
        """The connection is accepted, and to be answered with this 101; raises nothing."""

    def refused(self, answer: ResponseHead, why: str, isForHead: bool, isLogged: bool) -> None:
        """The connection is refused.

        Args:
            answer: the HTTP answer.
            why: the reason, for a log.
            isForHead: whether the request was for HEAD, and the answer is without its body.
            isLogged: whether the log has the reason already.
        """

    def logFailure(self, failure: Failure, callback: str) -> None:
        """Logs an exception of the application's."""


class Admission:
    """The decision on one request. It is told to the owner once, unless `cancel` comes before."""

    __slots__ = ("_deciding", "_isIgnored", "_opening", "_owner", "_policy")

    def __init__(self, policy: Policy, owner: AdmissionOwner) -> None:
        self._policy = policy
        self._owner = owner
        #: The owner wants to hear of no decision any more.
        self._isIgnored = False
        self._deciding: Deferred[Any] | None = None
        self._opening: Opening | None = None

    def decide(self, head: RequestHead, request: Request) -> None:
        """Checks a request, and asks ``buildApplication``."""
        policy = self._policy
        try:
            self._opening = handshake.handle_open(head, allowed_origins=policy.allowedOrigins)
        except InvalidRequest as error:
            if error.status == 403:
                self._refuse(*refusal.wrongOrigin(error, request, policy.allowedOrigins))
            else:
                self._refuse(*refusal.invalid(error), isForHead=head.method == "HEAD")
            return
        if self._isRefusedForRoom():
            return
        try:
            decision = policy.buildApplication(request)
        except APPLICATION_ERRORS:
            self._failed(Failure())
            return
        deciding = None if isinstance(decision, Accept) else asDecision(decision)
        if deciding is None:
            self._decided(decision)
        else:
            self._deciding = deciding
            deciding.addCallbacks(self._decided, self._failed)

    def ignore(self) -> None:
        """Keeps the decision from being reported."""
        self._isIgnored = True

    def cancel(self) -> Deferred[Any] | None:
        """Keeps the decision from being reported; returns the Deferred of ``buildApplication``, to be cancelled."""
        self.ignore()
        deciding, self._deciding = self._deciding, None
        return deciding

    def _isRefusedForRoom(self) -> bool:
        why = self._policy.whyFull()
        if why is not None:
            self._refuse(refusal.unavailable(why), why)
        return why is not None

    def _decided(self, decision: object) -> None:
        self._deciding = None
        # Others may have been faster.
        if self._isIgnored or self._isRefusedForRoom():
            return
        try:
            accepted = self._accept(decision)
        except Exception:
            self._failed(Failure())
            return
        self._owner.admitted(*accepted)

    def _accept(self, decision: object) -> tuple[Application, str | None, Sequence[Extension], ResponseHead]:
        opening, policy = self._opening, self._policy
        assert opening is not None
        application: Any = decision
        subprotocol: str | None = None
        more: Sequence[tuple[str, str]] = ()
        if isinstance(decision, Accept):
            # It has checked them.
            application, subprotocol, more = decision.application, decision.subprotocol, decision.headers
        elif not isApplication(application):
            raise TypeError(describeMistake("buildApplication returned", application))
        if subprotocol is None and opening.subprotocols:
            subprotocol = next((name for name in policy.subprotocols if name in opening.subprotocols), None)
        headers: Sequence[tuple[str, str]] | ReadyFields = policy.answerFields
        if more != ():
            headers = addDefault((*policy.headers, *more), "Server", SOFTWARE)
        offers = opening.extensions
        extensions = answerExtensions(offers, policy.deflateParameters) if offers else ()
        answer = handshake.response(opening, subprotocol=subprotocol, extensions=extensions, headers=headers)
        return application, subprotocol, extensions, answer

    def _failed(self, failure: Failure) -> None:
        self._deciding = None
        if self._isIgnored:
            if not failure.check(*CANCELLATIONS, Refuse):
                self._owner.logFailure(failure, "buildApplication")
            letGo(failure)
            return
        refuse = failure.value
        if isinstance(refuse, Refuse):
            try:
                answer = handshake.refuse(refuse.status, refuse.headers, refuse.body)
            except Exception:
                failure = Failure()
            else:
                # The application may raise the same one for all.
                release(refuse)
                self._refuse(answer, refusal.whyRefused(refuse))
                return
        self._owner.logFailure(failure, "buildApplication")
        self._refuse(handshake.refuse(500), "the application failed (buildApplication)", isLogged=True)

    def _refuse(self, answer: ResponseHead, why: str, isForHead: bool = False, isLogged: bool = False) -> None:
        self._owner.refused(answer, why, isForHead, isLogged)
