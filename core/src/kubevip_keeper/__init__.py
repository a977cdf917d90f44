"""The keeper: the parent process of a kubevip daemon, and where the command `kubevip` starts. Standard library only."""
