"""The keys in use. They are read again when their files change; what cannot be used is not taken over."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from kubevip_election_raft._tls.channel import Channel, PlainChannel, TlsChannel
from kubevip_election_raft._tls.keys import Keys, KeysError, load_keys, stamp_of

if TYPE_CHECKING:
    from typing import Self

logger = logging.getLogger("kubevip.raft.keys")


class Keyring:
    """Makes the channels of a member: TLS with the newest good keys of its folder, or plain ones without a folder.

    `problem` says why the newest files are not in use; empty when they are.
    """

    def __init__(self, name: str, keys: Keys | None) -> None:
        """Prepare.

        :param keys: of the member called `name`; None for plain channels.
        """
        self._name, self._keys = name, keys
        self._in_use = self._seen = () if keys is None else stamp_of(keys.folder)
        self.problem = ""

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Return the keyring of a folder. May block.

        :raises KeysError: when the keys in it cannot be used.
        """
        keyring = cls(name, load_keys(folder, name))
        for warning in keyring.warnings:
            logger.warning("%s", warning)
        return keyring

    @property
    def is_plain(self) -> bool:
        """Whether nothing is proven and nothing is protected."""
        return self._keys is None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What ought to be put right."""
        problem = (self.problem,) if self.problem else ()
        return problem if self._keys is None else (*problem, *self._keys.warnings)

    def channel(self, *, is_server: bool) -> Channel:
        """Return a new channel for one side of a connection."""
        if self._keys is None:
            return PlainChannel()
        return TlsChannel(self._keys.server if is_server else self._keys.client, is_server=is_server)

    def refresh(self) -> bool:
        """Take over what is new in the folder; return whether there was something. May block.

        Files that changed since the last call are left alone until the next: whoever copies them has not finished.
        """
        if self._keys is None:
            return False
        seen, self._seen = self._seen, stamp_of(self._keys.folder)
        if self._seen == self._in_use or self._seen != seen:
            return False
        self._in_use = self._seen  # judged once, whatever comes of it
        try:
            self._keys = load_keys(self._keys.folder, self._name)
        except KeysError as error:
            self.problem = f"new keys are not used: {error}"
            logger.error("%s", self.problem)
            return False
        self.problem = ""
        logger.info("new keys from=%s", self._keys.folder)
        return True
