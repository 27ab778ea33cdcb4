"""What a trained model is worth: error rates, reports, figures, parameter counts."""
