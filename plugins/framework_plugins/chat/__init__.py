"""`python -m framework chat`: a conversation with a trained model and its base, in a terminal or through pipes.

`session.py` is the conversation, `terminal.py` and `piped.py` its two faces. Who answers is a `protocols.Speaker`:
those of a run's own model are in `trained.py`, others come from plugins, as components with a `SpeakerConfig`.
"""
