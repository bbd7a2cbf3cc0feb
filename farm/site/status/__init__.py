"""The status pages: static files below the publication root, made from facts alone.

Nothing here asks a ledger or a layer: `farm.showing` gathers the facts and says when to write.
"""
