"""Links of the documents: whether there is what they name."""

import re

__all__ = ["leads_somewhere"]


def leads_somewhere(path, link):
    """Tell whether a link of the document at `path` names a file that is there, and a heading in it."""
    name, _, anchor = link.partition("#")
    target = path.parent / name if name else path
    if not anchor or not target.exists():
        return target.exists()
    headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings}
