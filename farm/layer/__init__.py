"""What contributors push: recipes, sources, groups, owners."""
