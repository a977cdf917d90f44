"""Objects as YAML that people read: keys in the order in which they were written, texts line by line."""

from __future__ import annotations

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as such a one."""

    def ignore_aliases(self, data: object) -> bool:
        """Write equal parts out: nobody should have to look for an anchor."""
        return True


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)


def render(*documents: object) -> str:
    """Return documents one after the other, with a line feed at the end."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=100)
