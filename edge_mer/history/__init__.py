"""History: hourly shares of labels and of reasons, kept only with a consent of its own, sealed and erasable."""
