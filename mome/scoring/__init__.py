"""How good a trained model is, how its experts are used and what it costs; reports, figures."""
