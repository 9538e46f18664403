"""The entity-component-system itself: pure values in, pure values out.

Components and processors are the user's classes; archetypes, states and batches are immutable Arrow
tables. Nothing here knows a database, a network or a clock: a tick is a function of the state before
it, its changes, its processors and its seed.
"""
