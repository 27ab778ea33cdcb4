"""What goes into the model: sound and pictures, their tables and archives, noise, and batches.

Three rates hold everywhere: sound has 16,000 samples a second, the audio encoder gives 50 frames a
second, and video has 25 frames a second, before and after its encoder.
"""

SAMPLE_RATE = 16_000  # samples of sound in a second
AUDIO_FPS = 50  # frames of the audio encoder (Whisper) in a second
VIDEO_FPS = 25  # video frames in a second; the video encoder (AV-HuBERT) gives one for each
FPS = {"audio": AUDIO_FPS, "video": VIDEO_FPS}  # frames of a stream's encoder in a second
