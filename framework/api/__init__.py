"""What a plugin may import: components and schemas, the plan, records, protocols, texts.

Imports: `memory` and `util`; `commands`, `launching`, `prompts` and `registry` alone look up;
nothing in the core imports those four.
Start with `component.py`, then `schema.py`, `plan.py` and `protocols/`.
"""
