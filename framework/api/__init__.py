"""What a plugin may import: components and schemas, the plan, records, protocols, texts.

Imports: `memory` and `util`; `backend`, `commands` and `registry` alone look up, and nothing in the core imports them.
Start with `component.py`, then `schema.py`, `plan.py` and `protocols/`.
"""
