"""How an answer leads to the next one."""

from __future__ import annotations

from urllib.parse import urlencode

__all__ = ["next_page"]


def next_page(path: str, **query: object) -> dict[str, str]:
    """Return the header `Link` to the next page; parameters that are None are left out."""
    given = {name: value for name, value in query.items() if value is not None}
    return {"Link": f'<{path}?{urlencode(given)}>; rel="next"'}
