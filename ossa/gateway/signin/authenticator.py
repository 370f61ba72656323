"""Who a bearer token belongs to: a person with a token of ours, or an agent with the cluster's."""

from __future__ import annotations

from uuid import UUID

from ossa.gateway.identity import Identity
from ossa.gateway.signin.agents import Agents
from ossa.gateway.signin.sessions import Sessions
from ossa.gateway.signin.tokens import TYPE, Tokens, header_of


class BearerTokens:
    """`ossa.gateway.identity.Authenticator`."""

    def __init__(self, *, tokens: Tokens, sessions: Sessions, agents: Agents) -> None:
        self._tokens, self._sessions, self._agents = tokens, sessions, agents

    async def identify(self, token: str) -> Identity:
        """Raises Problem: 401 where the token is none or its session is over, 503 where that cannot be known now."""
        identity = self._tokens.remembered(token)
        if identity is None:
            if header_of(token).get("typ") != TYPE:
                return await self._agents.identify(token)
            identity = await self._tokens.verify(token)
        await self._sessions.require_live(UUID(identity.session))
        return identity
