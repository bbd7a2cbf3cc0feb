"""The same bits again."""
