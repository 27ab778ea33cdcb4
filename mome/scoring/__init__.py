"""How good a trained model is and what it costs: error rates, parameters, reports, figures."""
