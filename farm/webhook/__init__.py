"""Signed messages about finished builds and publications, to whoever asked for them.

The form is Standard Webhooks': JSON with `type`, `timestamp` and `data`, an id that stays the same
however often a message is sent, and HMAC-SHA256 over id, time of sending and body.

A message lies in an outbox in the state directory before it is sent, and stays there until it was
taken: by the run that made it, or by a later one. Sending happens beside a run; at its end it is
waited for no longer than the time-out.
"""
