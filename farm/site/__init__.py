"""What sites see."""
