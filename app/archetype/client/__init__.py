"""The HTTP client that the command line, the tests and other programs share.

It speaks the routes of a running server and knows nothing of its inside: answers come as typed
dictionaries just as the server sent them, tables as Arrow, and problems as the classes of `archetype.errors`.
"""

from archetype.client.http import ArchetypeClient

__all__ = ["ArchetypeClient"]
