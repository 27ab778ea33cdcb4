"""One's own recordings to text (`mome transcribe`).

load.py finds and builds a trained model with its encoders, a recogniser.Recogniser; transcribe.py
gives it files; cascade.py says where a second, finer look pays, words.py when a word is said;
transcript.py writes the result.
"""
