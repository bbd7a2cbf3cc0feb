"""What contributors push: recipes, their sources, groups and owners."""
