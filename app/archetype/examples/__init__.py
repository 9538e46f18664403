"""Small worlds that the README, the tests and the benchmarks share.

Each module is loadable by a server: `archetype serve --module archetype.examples.movement`.
"""
