"""The package ablation."""
