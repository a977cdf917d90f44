"""Raft election for kubevip: members elect the holder among themselves."""
