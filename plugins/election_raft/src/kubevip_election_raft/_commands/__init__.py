"""`kubevip raft ...`: one module for each group of verbs, which adds its own parser."""
