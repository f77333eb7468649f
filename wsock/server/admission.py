"""A server's decision on one request for a WebSocket, whichever part has read it.

`wsock.server.opening` reads a request from a transport, and answers it there. Another reader, such as a web server that
has parsed the request already, decides by the same class and answers in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure

from ..application import Accept, Application, Refuse, describeMistake, isApplication
from ..log import APPLICATION_ERRORS, CANCELLATIONS, letGo, release
from ..request import Request, leave, takeTokens
from ..results import asDecision
from ..sansio import handshake
from ..sansio.errors import InvalidRequest
from ..sansio.extensions import Extension
from ..sansio.extensions import answer as answerExtensions
from ..sansio.handshake import Opening, ReadyFields
from ..sansio.http import RequestHead, ResponseHead
from ..wire.factory import SOFTWARE, addDefault
from . import refusal
from .hosts import askHostRule
from .rules import Rules

#: Any origin, until the rules are known.
_ANY: Final = ("*",)


class Policy(Protocol):
    """The factory, as far as it decides."""

    def findRules(self, request: Request) -> Rules:
        """Returns the rules for a request; raises Refuse where its path leads nowhere."""

    def seconds(self) -> float:
        """The time."""

    def whyFull(self) -> str | None:
        """Why no connection is accepted now, or None."""


class PagePolicy(Policy, Protocol):
    """The same, for requests that are for no WebSocket."""

    @property
    def rules(self) -> Rules:
        """The rules for paths without a route."""


def refusePage(policy: PagePolicy, request: Request) -> tuple[ResponseHead, str] | None:
    """Returns the answer to a request for a page that the rules refuse, and why; None if they let it pass.

    The rules of its path count, or else the factory's: hosts, and the rate of an address.

    Raises:
        Exception: an ``allowedHosts`` of the user's raised it.
    """
    try:
        rules = policy.findRules(request)
    except Refuse:
        rules = policy.rules
    # Without a host it comes from no browser: a health check by HTTP/1.0.
    why = askHostRule(rules.hostRule, request) if rules.hostRule is not None and request.host else None
    if why is not None:
        return refusal.misdirected(why, request)
    limits = rules.addressLimits
    seconds = None if limits is None else limits.takeHandshake(request.getClientAddress(), policy.seconds())
    return None if seconds is None else refusal.tooManyHandshakes(seconds)


class AdmissionOwner(Protocol):
    """The opening handshake that asks for a decision."""

    def admitted(
        self,
        application: Application,
        subprotocol: str | None,
        extensions: Sequence[Extension],
        answer: ResponseHead,
        rules: Rules,
    ) -> None:
        """The connection is accepted, to be answered with this 101, and served by these rules; raises nothing."""

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

    __slots__ = ("_address", "_deciding", "_isIgnored", "_opening", "_owner", "_policy", "_request", "_rules")

    def __init__(self, policy: Policy, owner: AdmissionOwner) -> None:
        self._policy = policy
        self._owner = owner
        #: The owner wants to hear of no decision any more.
        self._isIgnored = False
        self._deciding: Deferred[Any] | None = None
        self._opening: Opening | None = None
        self._request: Request | None = None
        self._rules: Rules | None = None
        #: The client's, where there are limits for each.
        self._address: IAddress | None = None

    def decide(self, head: RequestHead, request: Request) -> None:
        """Checks a request, and asks ``buildApplication``."""
        isForHead = head.method == "HEAD"
        self._request = request
        try:
            # The route says which pages may connect.
            self._opening = opening = handshake.handle_open(head, allowed_origins=_ANY)
        except InvalidRequest as error:
            self._refuse(*refusal.invalid(error), isForHead=isForHead)
            return
        try:
            self._rules = rules = self._policy.findRules(request)
        except Refuse as refuse:
            self._refuse(*refusal.noRoute(refuse))
            return
        if rules.hostRule is not None:
            try:
                why = askHostRule(rules.hostRule, request)
            except APPLICATION_ERRORS:
                self._failed(Failure(), "allowedHosts")
                return
            if why is not None:
                self._refuse(*refusal.misdirected(why, request))
                return
        if opening.origin is not None:
            try:
                handshake.check_origin(opening.origin, request.host, rules.allowedOrigins)
            except InvalidRequest as error:
                self._refuse(*refusal.wrongOrigin(error, request, rules.allowedOrigins))
                return
        if rules.addressLimits is not None:
            self._address = address = request.getClientAddress()
            seconds = rules.addressLimits.takeHandshake(address, self._policy.seconds())
            if seconds is not None:
                self._refuse(*refusal.tooManyHandshakes(seconds))
                return
        if self._isRefusedForRoom():
            return
        try:
            decision = rules.buildApplication(request)
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
        if self._request is not None:
            leave(self._request)

    def cancel(self) -> Deferred[Any] | None:
        """Keeps the decision from being reported; returns the Deferred of ``buildApplication``, to be cancelled."""
        self.ignore()
        deciding, self._deciding = self._deciding, None
        return deciding

    def _isRefusedForRoom(self) -> bool:
        rules = self._rules
        # First those that one client has: it must not learn that by having the server full for all.
        limits = None if rules is None else rules.addressLimits
        seconds = None if limits is None else limits.whyFull(self._address)
        if seconds is not None:
            self._refuse(*refusal.tooManyConnections(seconds))
            return True
        why = self._policy.whyFull()
        if why is None and rules is not None and rules.isFull:
            why = f"as many connections are open as may be on this route, {rules.maxConnections} (maxConnections)"
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

    def _accept(self, decision: object) -> tuple[Application, str | None, Sequence[Extension], ResponseHead, Rules]:
        opening, request, rules = self._opening, self._request, self._rules
        assert opening is not None
        assert request is not None
        assert rules is not None
        application: Any = decision
        subprotocol: str | None = None
        more: Sequence[tuple[str, str]] = ()
        if isinstance(decision, Accept):
            # It has checked them.
            application, subprotocol, more = decision.application, decision.subprotocol, decision.headers
        elif not isApplication(application):
            raise TypeError(describeMistake("buildApplication returned", application))
        if opening.subprotocols:
            offered = opening.subprotocols
            # A token among them is never answered, nor named in an exception.
            spare = takeTokens(request, offered)
            if subprotocol is None:
                subprotocol = next((name for name in rules.subprotocols if name in offered), spare)
                if spare is not None and subprotocol == spare:
                    offered.append(spare)
        headers: Sequence[tuple[str, str]] | ReadyFields = rules.answerFields
        if more != ():
            headers = addDefault((*rules.headers, *more), "Server", SOFTWARE)
        offers = opening.extensions
        extensions = answerExtensions(offers, rules.deflateParameters) if offers else ()
        answer = handshake.response(opening, subprotocol=subprotocol, extensions=extensions, headers=headers)
        return application, subprotocol, extensions, answer, rules

    def _failed(self, failure: Failure, callback: str = "buildApplication") -> None:
        self._deciding = None
        if self._isIgnored:
            if not failure.check(*CANCELLATIONS, Refuse):
                self._owner.logFailure(failure, callback)
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
        self._owner.logFailure(failure, callback)
        self._refuse(handshake.refuse(500), f"the application failed ({callback})", isLogged=True)

    def _refuse(self, answer: ResponseHead, why: str, isForHead: bool = False, isLogged: bool = False) -> None:
        if self._request is not None:
            leave(self._request)
        self._owner.refused(answer, why, isForHead, isLogged)
