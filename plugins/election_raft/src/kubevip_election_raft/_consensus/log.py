"""The log of one member (Raft thesis 3.5, 3.6, 5): entries after a snapshot, and how far they are committed.

It keeps the log matching property: two logs that have an entry of the same index and term are equal up to it. Of the
entries it knows which were handed out to be saved and which are saved; only the latter count for a majority.
"""

from __future__ import annotations

from collections.abc import Sequence

from kubevip_election_raft._consensus.entries import Command, Entry, GroupState, MemberRecord, SetMembers, Snapshot


class Log:
    """A log. Indices count from 1; index 0 with term 0 is what every log has in common."""

    def __init__(self, snapshot: Snapshot, entries: Sequence[Entry]) -> None:
        """Start with what is on disk; nothing beyond the snapshot is known to be committed."""
        self.snapshot = snapshot
        self._entries = list(entries)
        self.commit = snapshot.index
        self.saved = self._handed_out = self.last_index
        self._is_snapshot_new = False

    @property
    def last_index(self) -> int:
        """The index of the last entry."""
        return self.snapshot.index + len(self._entries)

    @property
    def last_term(self) -> int:
        """The term of the last entry."""
        return self._entries[-1].term if self._entries else self.snapshot.term

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry at `index`; None when there is none, or it went into the snapshot."""
        if index == self.snapshot.index:
            return self.snapshot.term
        position = index - self.snapshot.index - 1
        return self._entries[position].term if 0 <= position < len(self._entries) else None

    def between(self, after: int, last: int) -> tuple[Entry, ...]:
        """Return the entries after index `after` up to and with `last`; those in the snapshot are not among them."""
        first = self.snapshot.index
        return tuple(self._entries[max(after - first, 0) : max(last - first, 0)])

    def members(self) -> tuple[int, tuple[MemberRecord, ...]]:
        """Return the newest list of members, committed or not, and the index of its entry; 0 and nothing if none is."""
        for entry in reversed(self._entries):
            if isinstance(entry.command, SetMembers):
                return entry.index, entry.command.members
        return self.snapshot.state.members_index, self.snapshot.state.members

    def is_behind(self, index: int, term: int) -> bool:
        """Return whether a log that ends with `index` and `term` is at least as up to date as this one (3.6.1)."""
        return (term, index) >= (self.last_term, self.last_index)

    def found(self, state: GroupState) -> None:
        """Begin with `state`, which those that found a group agree on; nothing is in this log yet."""
        assert self.last_index == 0
        self.snapshot, self._is_snapshot_new = Snapshot(state=state), True

    # Growing

    def append(self, term: int, command: Command) -> Entry:
        """Append a leader's own decision."""
        entry = Entry(term=term, index=self.last_index + 1, command=command)
        self._entries.append(entry)
        return entry

    def merge(self, previous_index: int, previous_term: int, entries: Sequence[Entry]) -> bool:
        """Take a leader's entries after `previous_index`; return whether this log had that entry (3.5).

        Entries of its own that conflict are removed with all that follow them. Of those that are committed none can
        conflict: whoever sends such a thing is no leader, and nothing is taken. The same goes for entries that do not
        follow one another.
        """
        if any(entry.index != index for index, entry in enumerate(entries, previous_index + 1)):
            return False
        if previous_index < self.snapshot.index:  # the snapshot has what comes before, and all of it is committed
            known = self.snapshot.index - previous_index
            if len(entries) < known:
                return True
            entries = entries[known:]
        elif self.term_at(previous_index) != previous_term:
            return False
        for entry in entries:
            own = self.term_at(entry.index)
            if own == entry.term:
                continue
            if own is not None:
                if entry.index <= self.commit:
                    return False
                self._cut(entry.index)
            self._entries.append(entry)
        return True

    def hint(self, previous_index: int) -> tuple[int, int]:
        """Return where the leader should try next: index and term of the first entry of the conflicting term (3.5)."""
        if previous_index > self.last_index:
            return self.last_index + 1, 0
        term = self.term_at(previous_index) or 0
        first = previous_index
        while first > self.snapshot.index + 1 and self.term_at(first - 1) == term:
            first -= 1
        return first, term

    def last_of_term(self, term: int, before: int) -> int | None:
        """Return the index of the last entry of `term` below `before`; None when there is none."""
        for index in range(min(before - 1, self.last_index), self.snapshot.index, -1):
            if (found := self.term_at(index)) is not None and found <= term:
                return index if found == term else None
        return None

    def commit_to(self, index: int) -> tuple[Entry, ...]:
        """Note that everything up to `index` is committed; return what newly is."""
        index = min(index, self.last_index)
        if index <= self.commit:
            return ()
        newly = self.between(self.commit, index)
        self.commit = index
        return newly

    # Snapshots

    def compact(self, index: int, state: GroupState) -> None:
        """Put everything up to `index`, which is committed and adds up to `state`, into the snapshot."""
        term = self.term_at(index)
        assert term is not None
        assert index <= self.commit
        del self._entries[: index - self.snapshot.index]
        self.snapshot = Snapshot(index=index, term=term, state=state)
        self._is_snapshot_new = True

    def restore(self, snapshot: Snapshot) -> bool:
        """Take a leader's snapshot in the place of what it covers; return whether it says anything new (5.3)."""
        if snapshot.index <= self.commit:
            return False
        if self.term_at(snapshot.index) == snapshot.term:  # what follows it here still stands
            del self._entries[: snapshot.index - self.snapshot.index]
        else:
            self._entries.clear()
        self.snapshot, self.commit = snapshot, snapshot.index
        self.saved, self._handed_out = min(self.saved, snapshot.index), min(self._handed_out, self.last_index)
        self._is_snapshot_new = True
        return True

    # Saving

    def take_unsaved(self) -> tuple[Snapshot | None, tuple[Entry, ...]]:
        """Return what is to be written next, once: a new snapshot, and entries, which replace what follows them.

        A new snapshot comes with all entries that follow it: they are written anew.
        """
        if self._is_snapshot_new:
            self._is_snapshot_new = False
            self._handed_out = self.last_index
            return self.snapshot, tuple(self._entries)
        last = self.last_index
        if self._handed_out == last:  # nearly always
            return None, ()
        entries = self.between(self._handed_out, last)
        self._handed_out = last
        return None, entries

    def note_saved(self, index: int, term: int) -> None:
        """Note that the log is on disk up to `index`, whose term was `term` when it was handed out."""
        if self.term_at(index) == term:
            self.saved = max(self.saved, index)

    def _cut(self, index: int) -> None:
        """Remove the entry at `index` and all that follow."""
        del self._entries[index - self.snapshot.index - 1 :]
        self.saved = min(self.saved, index - 1)
        self._handed_out = min(self._handed_out, index - 1)
