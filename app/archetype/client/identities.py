"""Calls about identities: who asks, and for administrators the actors and their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archetype.client import identity_answers
from archetype.client.calls import Calls, part_of, present

__all__ = ["IdentityCalls"]


class IdentityCalls(Calls):
    """The calls about actors and keys."""

    def me(self) -> identity_answers.Me:
        """Return as whom the server knows this client, and what it may do."""
        return self._read("/me")

    def create_actor(
        self,
        name: str,
        *,
        roles: Sequence[str] = (),
        world_roles: Mapping[str, Sequence[str]] | None = None,
        reason: str | None = None,
    ) -> identity_answers.Actor:
        """Make an actor; `world_roles` are by a world's name or id, and hold in that world alone."""
        given = {world: list(each) for world, each in (world_roles or {}).items()}
        body = {"name": name, "roles": list(roles), "world_roles": given} | present(reason=reason)
        return self._change("POST", "/actors", body)

    def actors(self) -> list[identity_answers.Actor]:
        """Return all actors in the order of their making."""
        return self._read("/actors")

    def disable_actor(self, name: str, *, reason: str | None = None) -> identity_answers.Actor:
        """Let none of an actor's keys hold any more."""
        return self._change("POST", f"/actors/{part_of(name)}/disable", present(reason=reason))

    def create_key(
        self,
        name: str,
        *,
        worlds: Sequence[str] | None = None,
        expires_in_s: int | None = None,
        reason: str | None = None,
    ) -> identity_answers.IssuedKey:
        """Give an actor a key, which this answer alone shows; `worlds` are the only ones it is good for.

        Where the answer is lost on its way, the call is repeated: then an unused key stays in the list.
        """
        named = None if worlds is None else list(worlds)
        body = present(worlds=named, expires_in_s=expires_in_s, reason=reason)
        return self._change("POST", f"/actors/{part_of(name)}/keys", body)

    def keys(self, actor: str | None = None) -> list[identity_answers.Key]:
        """Return all keys, or those of an actor, in the order of their making."""
        return self._read("/keys", actor=actor)

    def revoke_key(self, key_id: str, *, reason: str | None = None) -> identity_answers.Key:
        """End a key."""
        return self._change("DELETE", f"/keys/{part_of(key_id)}", params=present(reason=reason))

    def rotate_key(
        self, key_id: str, *, grace_s: int = 0, reason: str | None = None
    ) -> identity_answers.IssuedKey:
        """Replace a key by another one; the old one holds for `grace_s` seconds more."""
        body = {"grace_s": grace_s} | present(reason=reason)
        return self._change("POST", f"/keys/{part_of(key_id)}/rotate", body)

    def denials(self, *, limit: int = 100, before: str | None = None) -> list[identity_answers.Denial]:
        """Return the newest denials, older than the one of an id if it is given, the newest last."""
        return self._read("/denials", limit=limit, before=before)

    def acts(self, *, limit: int = 100, before: int | None = None) -> list[identity_answers.Act]:
        """Return the newest administrative acts, below a number if it is given, the newest last."""
        return self._read("/acts", limit=limit, before=before)

    def quota(self, name: str | None = None) -> identity_answers.Quota:
        """Return what an actor may ask for and has used up; without a name that of this client's own."""
        return self._read("/me/quota" if name is None else f"/actors/{part_of(name)}/quota")

    def quotas(self) -> list[identity_answers.Quota]:
        """Return the quotas of all actors in the order of their making."""
        return self._read("/quotas")

    def set_quota(
        self, name: str, change: Mapping[str, int | None], *, reason: str | None = None
    ) -> identity_answers.Quota:
        """Set `commands_per_tick`, `tokens_per_day` or both, None without a limit; the other stays."""
        return self._change("PATCH", f"/actors/{part_of(name)}/quota", {**change, **present(reason=reason)})
